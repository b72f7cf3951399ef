"""The git checkout of a project: its commit, and whether it holds what is in the working folder."""

from __future__ import annotations

import subprocess
from pathlib import Path


def head(root: Path) -> str | None:
    """Return the commit that is checked out; nothing outside a git checkout or before the first commit."""
    return git(root, "rev-parse", "--verify", "--quiet", "HEAD")


def dirty(root: Path) -> bool:
    """Tell whether a tracked file differs from the commit."""
    return bool(git(root, "status", "--porcelain", "--untracked-files=no"))


def changed(root: Path) -> bool:
    """Tell whether a tracked file other than `dvc.lock`, which the pipeline itself writes, differs from the commit."""
    return bool(git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)dvc.lock"))


def commit_with_lock(root: Path) -> str | None:
    """Return the commit if it is clean and holds the `dvc.lock` of this very model; else nothing."""
    tracked = git(root, "ls-files", "dvc.lock")
    return head(root) if tracked and not dirty(root) else None


def git(root: Path, *words: str) -> str | None:
    """Return what git says, or nothing where it says so, fails or is not there."""
    try:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None

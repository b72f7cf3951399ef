"""Which commit holds a version: the git history of a project, searched by what the version keeps."""

from __future__ import annotations

import re
from pathlib import Path

from likewise.config import PARAMS_FILE
from likewise.delivery.checkout import git
from likewise.delivery.dvc_lock import LOCK_FILE

SEARCHED = 1000
"""So many commits that changed dvc.lock are looked at."""


def resolve(root: Path, revision: str) -> str | None:
    """Return the commit that git knows by this name here, or nothing."""
    return git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")


def commit_holding(root: Path, kept: Path) -> str | None:
    """Return the newest commit in the history of this checkout that holds the dvc.lock and the params of a version.

    Args:
        root: the project's root.
        kept: the folder with what the version keeps.
    """
    wanted, params = locked(kept), kept / PARAMS_FILE
    if wanted is None or not params.is_file():
        return None
    listed = git(root, "log", f"--max-count={SEARCHED}", "--format=%H", "--", LOCK_FILE) or ""
    # A commit may change the params and leave the lock.
    for commit in listed.split():
        told = git(root, "show", f"{commit}:./{PARAMS_FILE}")
        if locked_at(root, commit) == wanted and told == params.read_text(encoding="utf-8").strip():
            return commit
    return None


def locked(kept: Path | None) -> str | None:
    """Return the text of the dvc.lock that a version keeps, but for its own registration, which ended after it."""
    path = None if kept is None else kept / LOCK_FILE
    return without_register(path.read_text(encoding="utf-8")) if path is not None and path.is_file() else None


def locked_at(root: Path, commit: str) -> str | None:
    """Return the same of the dvc.lock that a commit holds."""
    text = git(root, "show", f"{commit}:./{LOCK_FILE}")
    return None if text is None else without_register(text)


def without_register(text: str) -> str:
    r"""Return the text of a dvc.lock without what it says of the stage register.

    Example:
        >>> without_register("stages:\n  register:\n    cmd: x\n  train:\n    cmd: y\n")
        'stages:\n  train:\n    cmd: y'
    """
    return re.sub(r"^  register:\n(?:    .*\n?)*", "", text, flags=re.MULTILINE).strip()


def kept_by_git(root: Path, commit: str, path: str) -> list[str]:
    """Return the files that a commit holds of a path, and DVC's file beside it."""
    listed = git(root, "ls-tree", "-r", "--name-only", commit, "--", path, f"{path.rstrip('/')}.dvc") or ""
    return listed.splitlines()

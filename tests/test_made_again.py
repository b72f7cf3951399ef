"""What `likewise lineage` prints is run in another clone of the repository: out comes the version, byte for byte."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from likewise import artifacts
from likewise.delivery import lineage
from tests.projects import Project
from tests.small import empty_store

__all__ = ["empty_store"]

WHO = ("-c", "user.name=t", "-c", "user.email=t@example.org")


def test_the_commands_of_lineage_make_the_version_again_in_a_clone(
    copy_of_finished: Callable[[], Project], empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = copy_of_finished()
    shutil.copy2(empty_store, project.root)
    project.run("dvc", "remote", "add", "-d", "storage", str(tmp_path / "remote"))
    project.run("git", *WHO, "commit", "-qam", "A remote")
    project.run("dvc", "push")
    project.run("likewise", "register")
    told = json.loads(project.run("likewise", "lineage", "--json").stdout)
    assert told["commit"] is None
    assert told["commands"][-3:] == ["dvc pull", "dvc repro", "likewise register"]

    # The lock is in no commit yet: code, params and lock come out of the version itself.
    clone = Project(tmp_path / "elsewhere/clone", tmp_path / "no checkpoints")
    clone.root.parent.mkdir()
    project.run("git", "clone", "-q", str(project.root), str(clone.root))
    log = clone.run("bash", "-euc", "\n".join(told["commands"])).stdout
    assert "Running stage 'train'" not in log
    assert "likewise version 1" in log
    (registered,) = project.root.glob("mlartifacts/**/artifacts/model")
    for name in artifacts.DELIVERED:
        assert (clone.root / name).read_bytes() == (registered / Path(name).name).read_bytes(), name

    # Once a commit holds the lock, checking it out gives what those commands began with.
    project.run("git", "add", "-A")
    project.run("git", *WHO, "commit", "-qm", "Locked")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    commands = lineage.of_version(project.root, "champion", name="likewise").commands
    assert commands[1].startswith("git checkout ")
    assert commands[2:] == ("dvc pull", "dvc repro", "likewise register")
    clone.run("bash", "-euc", f"git fetch -q; git stash -q; git clean -fdq; {commands[1]}")
    for name in ("dvc.lock", "params.yaml", "dvc.yaml"):
        assert (clone.root / name).read_bytes() == (project.root / name).read_bytes()
    assert clone.run("dvc", "status", "train", "evaluate").stdout.strip().endswith("up to date.")

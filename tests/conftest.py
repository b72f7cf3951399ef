"""A finished project of 200 digits, made once a session by the README's own command."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from tests.prefect_server import prefect_server
from tests.projects import Project, make_project
from tests.stub import deployed, stub_project

__all__ = ["deployed", "prefect_server", "stub_project"]

# Read once, when PyTorch is imported: its threads then sleep while they wait, and the tests get along with neighbours.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Project:
    """Return a project in which `make repro` has run; tests may look at it and not change it.

    With several processes of pytest-xdist the first that needs it makes it, for all of them.
    """
    own = tmp_path_factory.getbasetemp()
    shared = (own if worker_id == "master" else own.parent) / "finished"
    with FileLock(f"{shared}.lock"):
        made = shared / "project.pickle"
        if made.exists():
            return pickle.loads(made.read_bytes())  # type: ignore[no-any-return]
        shutil.rmtree(shared, ignore_errors=True)
        shared.mkdir()
        project = make_project(shared)
        project.log = project.run("make", "-o", ".venv/installed", "repro").stdout
        made.write_bytes(pickle.dumps(project))
    return project


@pytest.fixture
def copy_of_finished(finished: Project, tmp_path: Path) -> Callable[[], Project]:
    """Return a function that gives a copy of the finished project to change, with a registry of its own."""

    def copy() -> Project:
        root = tmp_path / "copy"
        shutil.copytree(finished.root, root, symlinks=True, ignore=shutil.ignore_patterns("mlflow.db*", "mlartifacts"))
        return Project(root, tmp_path / "checkpoints")

    return copy

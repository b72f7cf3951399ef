"""A finished project of 200 digits, made once a session by the README's own command."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.projects import Project, make_project

# Read once, when PyTorch is imported: its threads then sleep while they wait, and the tests get along with neighbours.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project in which `make repro` has run; tests may look at it and not change it."""
    project = make_project(tmp_path_factory.mktemp("finished"))
    project.log = project.run("make", "-o", ".venv/installed", "repro").stdout
    return project


@pytest.fixture
def copy_of_finished(finished: Project, tmp_path: Path) -> Callable[[], Project]:
    """Return a function that gives a copy of the finished project to change, with a registry of its own."""

    def copy() -> Project:
        root = tmp_path / "copy"
        shutil.copytree(finished.root, root, symlinks=True, ignore=shutil.ignore_patterns("mlflow.db*", "mlartifacts"))
        return Project(root, tmp_path / "checkpoints")

    return copy

"""A small project in a folder of its own, and its commands run as a user runs them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
from PIL import Image

from likewise.data.sources import open_source

ROOT = Path(__file__).parents[1]
PER_CLASS = 20

SMALL = {
    "source: digits": "source: folder",
    "path: data/raw": "path: digits  ",
    "height: 28": "height: 16",
    "width: 28": "width: 16",
    "train: 20000": "train: 400",
    "val: 6000": "val: 60",
    "test: 20000": "test: 80",
    "count: 20000": "count: 400",
    "epochs: 12": "epochs: 4",
    "samples_per_class: 8": "samples_per_class: 4",
    "threads: 2": "threads: 1",
    "episodes: 2000": "episodes: 100",
}
"""What makes the default params.yaml small."""


OTHERS = ("MLFLOW_", "DVC_", "LIKEWISE_", "PREFECT_", "MAKE")
"""What variables of the caller begin with that must not reach a project."""


@dataclass
class Project:
    """A project's folder, and where its checkpoints go."""

    root: Path
    checkpoints: Path
    log: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its commands: this Python first, nothing of the caller's MLflow."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(OTHERS)}
        return {
            **kept,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "LIKEWISE_CHECKPOINTS": str(self.checkpoints),
            "LIKEWISE_DECODED": str(self.checkpoints.with_name("decoded")),
            "GIT_CONFIG_GLOBAL": os.devnull,
        }

    def start(self, *command: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a command in the project, in a group of its own."""
        return subprocess.Popen(
            command,
            cwd=self.root,
            env=self.environment | dict(environment or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(
        self, *command: str, code: int = 0, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the project to its end; the test fails with its output when the exit code is another."""
        with self.start(*command, environment=environment) as child:
            output, _ = child.communicate(timeout=240)
        assert child.returncode == code, f"{' '.join(command)}: exit code {child.returncode}\n{output}"
        return subprocess.CompletedProcess(command, child.returncode, output, "")


def over(process: psutil.Process) -> bool:
    """Tell whether a process has ended; one that nobody has waited for is still listed."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def make_project(folder: Path) -> Project:
    """Copy the project's own files into `folder`, with 200 digits as PNG files and small params, and commit them."""
    root = folder / "project"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "tmp", "cache")
    for name in ("src", "flows", ".dvc"):
        shutil.copytree(ROOT / name, root / name, ignore=ignored)
    for name in (
        "dvc.yaml",
        "Makefile",
        "requirements.lock",
        "pyproject.toml",
        ".gitignore",
        ".dvcignore",
        "prefect.toml",
        "prefect.yaml",
    ):
        shutil.copy2(ROOT / name, root / name)
    (root / "data").mkdir()
    shutil.copy2(ROOT / "data/tasks.txt", root / "data")
    (root / ".venv").symlink_to(sys.prefix, target_is_directory=True)
    write_digits(root / "digits")
    write_params(root, SMALL)
    project = Project(root, folder / "checkpoints")
    for words in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "A small project")):
        project.run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", *words)
    return project


def write_params(root: Path, changes: dict[str, str]) -> None:
    """Write the default params.yaml with some of its lines changed; each change must find its line."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new, 1)
    (root / "params.yaml").write_text(text, encoding="utf-8")


def write_digits(folder: Path) -> None:
    """Write the first digits of each class as PNG files, a folder a class."""
    source = open_source("digits", folder)
    counts: dict[str, int] = {}
    for raw in source:
        label = str(raw.label)
        counts[label] = counts.get(label, 0) + 1
        if counts[label] <= PER_CLASS:
            path = folder / label / f"{counts[label]:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(source.read(raw)).save(path)  # type: ignore[arg-type]

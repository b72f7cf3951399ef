from __future__ import annotations

import shutil
import sys
from collections import namedtuple
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import pytest

from likewise.delivery import machine_checks
from likewise.delivery.examination import Finding
from tests.projects import ROOT

Usage = namedtuple("Usage", "total used free")


def states(found: Iterable[Finding]) -> list[str]:
    return [each.state for each in found]


def pyproject(root: Path, *lines: str, lock: str = "") -> Path:
    (root / "pyproject.toml").write_text(f"[project]\ndependencies = {list(lines)!r}\n", encoding="utf-8")
    (root / "requirements.lock").write_text(lock, encoding="utf-8")
    return root


def test_python_is_new_enough_and_the_projects_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = machine_checks.python(None)
    assert (found.state, found.text) == ("ok", f"{sys.version.split()[0]} in {sys.prefix}")
    (tmp_path / ".venv").mkdir()
    (found,) = machine_checks.python(tmp_path)
    assert (found.state, "not the project's .venv" in found.text) == ("note", True)
    monkeypatch.setattr(machine_checks, "PYTHON", (99, 0))
    (found,) = machine_checks.python(None)
    assert (found.state, found.do) == ("problem", "install Python 99.0 or newer; `make setup`")


def test_the_libraries_here_are_within_the_ranges_of_the_project() -> None:
    assert states(machine_checks.libraries(ROOT))[0] == "ok"
    assert states(machine_checks.libraries(None))[0] in ("ok", "problem")


def test_a_library_outside_its_range_is_a_problem_with_the_reason(tmp_path: Path) -> None:
    here = version("fastapi")
    found = list(machine_checks.libraries(pyproject(tmp_path, "fastapi>=0.1,<0.2", "not-there>=1", "numpy>=1")))
    assert found == [
        Finding(
            "libraries",
            "problem",
            f"fastapi {here} is outside <0.2,>=0.1 (later ones break Prefect 3.8's server)",
            "pip install 'fastapi<0.2,>=0.1', or `make setup` anew",
        ),
        Finding(
            "libraries",
            "problem",
            "not-there is not installed; >=1 is asked for",
            "pip install 'not-there>=1', or `make setup` anew",
        ),
    ]


def test_what_is_not_as_the_lock_pins_it_is_noted(tmp_path: Path) -> None:
    lock = "\n".join(f"{name}==0.0.1" for name in ("numpy", "pandas", "pillow", "typer", "rich", "pydantic"))
    exact = f"\npyarrow=={version('pyarrow')}  # a comment\n# only a comment\nnot-there==1\n"
    found = list(machine_checks.libraries(pyproject(tmp_path, lock=lock + exact)))
    assert states(found) == ["ok", "note"]
    assert found[1].text.startswith(f"not as requirements.lock pins them: numpy {version('numpy')} for 0.0.1, ")
    assert found[1].text.endswith(" and 1 more")


def test_a_build_for_the_cpu_is_as_the_lock_pins_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_checks, "installed", lambda name: "2.13.0+cpu")
    assert states(machine_checks.libraries(pyproject(tmp_path, lock="torch==2.13.0"))) == ["ok"]


def smi(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str, torch: str) -> Finding:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(machine_checks, "installed", lambda name: torch)
    (found,) = machine_checks.gpu()
    return found


def test_gpus_are_named_and_a_build_for_cpus_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = "echo 'GPU 0: A100 (UUID: x)'; echo 'GPU 1: A100 (UUID: y)'"
    found = smi(tmp_path, monkeypatch, two, "2.13.0")
    assert (found.state, found.text) == ("ok", "GPU 0: A100, GPU 1: A100")
    found = smi(tmp_path, monkeypatch, two, "2.13.0+cpu")
    assert (found.state, found.text) == ("note", "2 GPUs, but PyTorch 2.13.0+cpu is a build for CPUs")
    assert smi(tmp_path, monkeypatch, "exit 9", "2.13.0").state == "note"
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    (found,) = machine_checks.gpu()
    assert (found.state, found.text) == ("ok", "none; PyTorch 2.13.0 uses the CPU")


@pytest.mark.parametrize(("free", "state"), [(0.5, "problem"), (3, "note"), (50, "ok")])
def test_a_disk_that_fills_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: float, state: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1e12, 0, free * 1e9))
    found = list(machine_checks.disk(tmp_path / "not-there"))
    assert states(found) == [state] * 3
    assert found[0].text == f"{free:,.1f} GB left for project files ({tmp_path / 'not-there'})"
    assert bool(found[0].do) == (state != "ok")


def test_trainings_that_were_cut_short_are_counted(tmp_path: Path) -> None:
    (found,) = machine_checks.checkpoints(str(tmp_path / "checkpoints"))
    assert found.state == "ok"
    file = tmp_path / "checkpoints" / "key" / "checkpoint.pt"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x" * 3_000_000)
    (found,) = machine_checks.checkpoints(str(tmp_path / "checkpoints"))
    assert (found.state, found.text.split(",")[1]) == ("note", f" 3 MB in {tmp_path / 'checkpoints'}")
    assert states(machine_checks.checkpoints("s3://bucket/checkpoints")) == ["ok"]

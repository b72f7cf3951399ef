"""Checks of this machine: Python, libraries, GPU, disk, and what trainings have left."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires
from importlib.metadata import version as installed
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import Version

from likewise.config import cache_folder
from likewise.delivery.examination import Finding, within

PYTHON = (3, 11)
GIGABYTE = 1e9
SCARCE, FEW = 1.0, 5.0
"""Gigabytes left on a disk: less is a problem, or to be known."""
SHOWN = 5
TRAPS = {"fastapi": "later ones break Prefect 3.8's server"}
"""Why a range is as it is, where that is a surprise."""


def python(root: Path | None) -> Iterator[Finding]:
    """Look at the Python that runs, and whether it is the project's."""
    told = f"{sys.version.split()[0]} in {sys.prefix}"
    if sys.version_info[:2] < PYTHON:
        yield Finding("python", "problem", told, f"install Python {'.'.join(map(str, PYTHON))} or newer; `make setup`")
        return
    own = root / ".venv" if root else None
    if own is not None and own.exists() and own.resolve() != Path(sys.prefix).resolve():
        yield Finding("python", "note", f"{told}, not the project's .venv", 'export PATH="$PWD/.venv/bin:$PATH"')
    else:
        yield Finding("python", "ok", told)


def libraries(root: Path | None) -> Iterator[Finding]:
    """Compare the libraries that are installed with the ranges of pyproject.toml and the pins of requirements.lock."""
    wrong = [each for each in (_outside(wanted) for wanted in _ranges(root)) if each]
    for told, wanted in wrong:
        yield Finding("libraries", "problem", told, f"pip install '{wanted}', or `make setup` anew")
    if not wrong:
        yield Finding("libraries", "ok", f"within the ranges of {'pyproject.toml' if root else 'the package'}")
    other = [] if root is None else list(_unlike(root / "requirements.lock"))
    if other:
        more = f" and {len(other) - SHOWN} more" if len(other) > SHOWN else ""
        told = f"not as requirements.lock pins them: {', '.join(other[:SHOWN])}{more}"
        yield Finding("libraries", "note", told, "`make setup` anew installs the pins")


def gpu() -> Iterator[Finding]:
    """Look for GPUs and whether the PyTorch that is installed can use them; PyTorch itself is not imported."""
    program = shutil.which("nvidia-smi")
    done = None
    if program:
        done = subprocess.run([program, "-L"], capture_output=True, text=True, check=False, timeout=3)
    names = [line.split(" (")[0] for line in done.stdout.splitlines() if line] if done and not done.returncode else []
    try:
        torch = installed("torch")
    except PackageNotFoundError:
        torch = "none"
    if program and not names:
        yield Finding("gpu", "note", "nvidia-smi finds no GPU", "look at the driver; until then the CPU is used")
    elif names and "+cpu" in torch:
        do = "install PyTorch's CUDA build of the same version"
        yield Finding("gpu", "note", f"{len(names)} GPUs, but PyTorch {torch} is a build for CPUs", do)
    else:
        yield Finding("gpu", "ok", ", ".join(names) if names else f"none; PyTorch {torch} uses the CPU")


def disk(root: Path | None) -> Iterator[Finding]:
    """Look at how much room there is for the project, the caches and temporary files."""
    import tempfile

    places = {"project": root, "cache": cache_folder(), "temporary": Path(tempfile.gettempdir())}
    for name, folder in places.items():
        if folder is None:
            continue
        left = shutil.disk_usage(within(folder)).free / GIGABYTE
        told = f"{left:,.1f} GB left for {name} files ({folder})"
        if left < FEW:
            yield Finding(
                "disk", "problem" if left < SCARCE else "note", told, "make room; `dvc gc -w` drops old results"
            )
        else:
            yield Finding("disk", "ok", told)


def checkpoints(url: str) -> Iterator[Finding]:
    """Look for trainings that were cut short, in the folder where checkpoints are kept."""
    if "://" in url:
        yield Finding("checkpoints", "ok", f"kept at {url}, which was not asked")
        return
    folders = [each for each in sorted(Path(url).glob("*")) if each.is_dir()]
    size = sum(file.stat().st_size for each in folders for file in each.rglob("*") if file.is_file()) / 1e6
    if folders:
        told = f"{len(folders)} trainings were cut short or are running, {size:,.0f} MB in {url}"
        yield Finding(
            "checkpoints", "note", told, "`dvc repro` with the same params goes on; else delete their folders"
        )
    else:
        yield Finding("checkpoints", "ok", f"none left in {url}")


def _ranges(root: Path | None) -> list[Requirement]:
    if root is not None and (root / "pyproject.toml").is_file():
        told = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
        lines = told.get("project", {}).get("dependencies", [])
    else:
        lines = [line for line in requires("likewise") or [] if "extra ==" not in line]
    return [Requirement(line) for line in lines]


def _outside(wanted: Requirement) -> tuple[str, str] | None:
    """Return what is wrong with a library and what is asked for, or None where nothing is."""
    if wanted.marker is not None and not wanted.marker.evaluate():
        return None
    asked = f"{wanted.name}{wanted.specifier}"
    why = f" ({TRAPS[wanted.name]})" if wanted.name in TRAPS else ""
    try:
        here = installed(wanted.name)
    except PackageNotFoundError:
        return f"{wanted.name} is not installed; {wanted.specifier} is asked for{why}", asked
    if wanted.specifier.contains(here, prereleases=True):
        return None
    return f"{wanted.name} {here} is outside {wanted.specifier}{why}", asked


def _unlike(lock: Path) -> Iterator[str]:
    """Yield the libraries that are installed in another version than a lock pins; builds for CPU or CUDA are alike."""
    for line in lock.read_text(encoding="utf-8").splitlines() if lock.is_file() else ():
        try:
            pin = Requirement(line.partition("#")[0].strip())
            here = installed(pin.name)
        except (InvalidRequirement, PackageNotFoundError):
            continue
        if not pin.specifier.contains(Version(here).public, prereleases=True):
            yield f"{pin.name} {here} for {str(pin.specifier).removeprefix('==')}"

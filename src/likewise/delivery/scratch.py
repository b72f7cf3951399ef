"""A project in a temporary folder: what a version's lineage gives, without a change to the user's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from likewise.config import PARAMS_FILE, main_checkout
from likewise.delivery import rebuilding
from likewise.delivery.dvc_lock import LOCK_FILE, Item

WANTED = ("models/train", "reports/evaluate")
"""What is made again."""
LAST = 15
"""So many lines of a command that failed are shown."""


class MissingError(ValueError):
    """What is needed to make a version again is not there."""


def from_cache(root: Path, project: Path, pipeline: Path, wanted: Sequence[str] = WANTED) -> None:
    """Take what the stages wrote from DVC's cache, or from its remote.

    Args:
        root: the user's project, whose cache and remote are used.
        project: the folder to make.
        pipeline: the folder with the version's dvc.yaml, dvc.lock and params.yaml.
        wanted: the outputs, or files in them, that are taken.

    Raises:
        MissingError: when neither has it.
    """
    _bare(project, pipeline)
    (project / ".dvc/config").write_text(_dvc_config(root, own_cache=False), encoding="utf-8")
    verb = "pull" if rebuilding.has_remote(root) else "checkout"
    done = _run(project, "dvc", verb, "--quiet", "--force", *wanted)
    missing = [path for path in wanted if not (project / path).exists()]
    if done.returncode or missing:
        lacked = " and ".join(missing or wanted)
        where = "neither DVC's cache nor its remote has" if verb == "pull" else "DVC's cache lacks"
        raise MissingError(f"{where} {lacked}")


def clone(root: Path, project: Path, *, commit: str | None, parent: str | None, version: Path, pipeline: Path) -> str:
    """Make a project with the code and the params of a version, and return in words where they came from.

    Args:
        root: the user's project.
        project: the folder to make; what is in it goes.
        commit: the commit that holds the version's dvc.lock, if it is known.
        parent: the commit that was checked out when it was registered, if it is known.
        version: the folder of the version's files.
        pipeline: the folder with the version's dvc.yaml, dvc.lock and params.yaml.

    Raises:
        MissingError: when there is no git, or the version has no code.
    """
    shutil.rmtree(project, ignore_errors=True)
    base = next((each for each in (commit, parent) if each and _cloned(root, project, each)), None)
    if base is not None and base == commit:
        told = f"commit {commit}"
    else:
        _overlaid(project, version, pipeline)
        told = "the version's own code and params" + (f", over its parent commit {parent}" if base else "")
    (project / ".dvc").mkdir(exist_ok=True)
    (project / ".dvc/config").write_text(_dvc_config(root, own_cache=True), encoding="utf-8")
    shutil.copy2(pipeline / LOCK_FILE, project)
    return told


def take_inputs(root: Path, project: Path, inputs: Iterable[Item]) -> None:
    """Put what the stages read and none wrote into the project, as links to the user's files; they are only read.

    Raises:
        MissingError: when the user's project lacks one, too.
    """
    for item in inputs:
        if Path(item.path).is_absolute() or "://" in item.path:
            continue
        mine, theirs = root / item.path, project / item.path
        if not mine.exists() and not theirs.exists():
            raise MissingError(f"{item.path}: neither the commit nor this project has it (DVC's hash {item.md5})")
        for file in _files(mine):
            place = theirs / file.relative_to(mine) if mine.is_dir() else theirs
            if not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                _linked(file, place)


def rerun(project: Path, say: Callable[[str], None]) -> None:
    """Run every stage up to the evaluation anew: nothing is taken from a cache, a checkpoint or a registry.

    Raises:
        MissingError: when a stage fails; the end of its output is in the message.
    """
    command = [sys.executable, "-m", "dvc", "repro", "--force", "--no-run-cache", "evaluate"]
    lines: list[str] = []
    with subprocess.Popen(
        command, cwd=project, env=_environment(project), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            lines.append(line.rstrip())
            say(line.rstrip())
    if child.returncode:
        raise MissingError(f"the stages could not be run anew: {' | '.join(line for line in lines[-LAST:] if line)}")


def _bare(project: Path, pipeline: Path) -> None:
    (project / ".dvc").mkdir(parents=True)
    for name in ("dvc.yaml", LOCK_FILE, PARAMS_FILE):
        if not (pipeline / name).is_file():
            raise MissingError(f"the version keeps no {name}")
        shutil.copy2(pipeline / name, project)


def _cloned(root: Path, project: Path, commit: str) -> bool:
    """Tell whether git could check this commit out of the user's repository into `project`."""
    if shutil.which("git") is None:
        return False
    done = _run(root, "git", "clone", "--quiet", "--no-checkout", "--shared", str(root), str(project))
    if done.returncode == 0:
        done = _run(project, "git", "checkout", "--quiet", "--detach", commit)
    if done.returncode:
        shutil.rmtree(project, ignore_errors=True)
    return done.returncode == 0


def _overlaid(project: Path, version: Path, pipeline: Path) -> None:
    code = version / "code/likewise"
    if not code.is_dir():
        raise MissingError("no commit is known that holds this version, and it has no code of its own")
    shutil.rmtree(project / "src/likewise", ignore_errors=True)
    shutil.copytree(code, project / "src/likewise")
    for name in ("dvc.yaml", PARAMS_FILE):
        if (pipeline / name).is_file():
            shutil.copy2(pipeline / name, project)


def _dvc_config(root: Path, *, own_cache: bool) -> str:
    """Return a configuration of DVC that knows the user's cache and remote wherever it lies."""
    main = main_checkout(root)
    lines = ["[core]", "analytics = false", "check_update = false", "no_scm = true"]
    remote = rebuilding.remote(main)
    if remote is not None and not own_cache:
        name, url = remote
        place = url if "://" in url else str((main / ".dvc" / url).resolve())
        lines += [f"remote = {name}", f"['remote \"{name}\"']", f"url = {place}"]
        lines += [f"{key} = {value}" for key, value in rebuilding.remote_options(main).items()]
    if not own_cache:
        lines += ["[cache]", f"dir = {rebuilding.cache(main)}", "type = copy"]
    return "\n".join([*lines, ""])


def _environment(project: Path) -> dict[str, str]:
    """Return the environment of a run that begins with nothing and leaves nothing behind."""
    dropped = ("DVC_", "MLFLOW_", "LIKEWISE_", "GIT_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return kept | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "LIKEWISE_CHECKPOINTS": str(project.with_name("checkpoints")),
        "LIKEWISE_DECODED": str(project.with_name("decoded")),
        "PYTHONPATH": str(project / "src"),
    }


def _run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", *command] if command[0] == "dvc" else list(command)
    return subprocess.run(words, cwd=folder, env=_environment(folder), capture_output=True, text=True, check=False)


def _files(top: Path) -> Iterator[Path]:
    if top.is_dir():
        yield from (path for path in sorted(top.rglob("*")) if path.is_file())
    elif top.is_file():
        yield top


def _linked(file: Path, place: Path) -> None:
    try:
        place.hardlink_to(file.resolve())
    except OSError:
        shutil.copy2(file, place)

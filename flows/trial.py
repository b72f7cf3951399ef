"""One trial of a sweep: some settings of train, trained as a DVC experiment of its own.

The target is `train`, not `evaluate`: a choice among trials must not see the test split, and the EER on val is known
when training ends. What was trained stays in the run cache, so that who applies the best settings need not train again.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from csv import DictReader
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from prefect import State, flow
from prefect.artifacts import create_table_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.states import Completed
from pydantic import Field
from ruamel.yaml import YAML

from flows import ready_dvc, remote, stages
from flows.beginning import Commit, Hours, begin, in_seconds
from flows.train import BEFORE, run_and_push
from likewise.delivery import dvc_lock
from likewise.stages.settings import shown

EPOCH = re.compile(r"train: epoch +(\d+)/\d+ .*val EER +([\d.]+)%.*")
COURSE, RESULT = "trial-course", "trial-result"
"""The artifacts that a trial's run shows: the EER on val after each epoch, and what came of it."""

Watch = Callable[[int, float], None]


@dataclass(frozen=True)
class Outcome:
    """What came of a trial: the EER on val of the weights kept, of which epoch, of each epoch, and the train key."""

    val_eer: float
    epoch: int
    course: dict[int, float]
    train_key: str


@flow(name="trial", persist_result=False)
def trial(
    experiment: Annotated[str, Field(pattern="^[0-9a-zA-Z-]{1,60}$")],
    settings: dict[str, Any],
    commit: Commit = "",
    sources: dict[str, str] | None = None,
    stage_hours: Hours | None = None,
) -> State[None]:
    """Train with some settings, as a DVC experiment; the sweep calls it.

    Args:
        experiment: The experiment's name.
        settings: Keys of train and what each is to be, such as margin 0.3.
        commit: Git commit to train; empty is the head of the deployment's branch.
        sources: The .dvc files of the raw data as the run that calls has them, by path.
        stage_hours: How many hours a stage may take before it is ended; empty is any.
    """
    root, seconds = begin(commit, sources), in_seconds(stage_hours)
    with ready_dvc.ready(root):
        for stage in BEFORE:
            run_and_push(stage, root, seconds=seconds)
    course = Course()
    done = attempt(root, experiment, settings, watch=course.add, seconds=seconds)
    # What comes out of the run cache was not seen while it trained.
    course.fill(done.course)
    if remote.is_set(root):
        stages.push(root)
    result = {"val_eer": done.val_eer, "epoch": done.epoch, "train_key": done.train_key}
    create_table_artifact(table=[result], key=RESULT, description=json.dumps(settings))
    return Completed(message=said(done))


def attempt(
    root: Path, experiment: str, settings: Mapping[str, Any], *, watch: Watch, seconds: float | None = None
) -> Outcome:
    """Train in a temporary copy of the project, as the DVC experiment of that name.

    Args:
        root: the project's root, where the stages before train are up to date.
        experiment: its name; one of that name that was made before makes way.
        settings: keys of train and their values.
        watch: is given the EER on val after each epoch, while the network trains; what it raises ends the training.
        seconds: how long it may take.

    Raises:
        StageError: when it fails, with its own last lines.
    """

    def look(line: str) -> None:
        seen = epoch_in(line)
        if seen is not None:
            watch(*seen)

    _forget(root, experiment)
    try:
        stages.run(command(experiment, settings), root, seconds=seconds, watch=look)
    finally:
        _tidy(root, experiment)
    return outcome(root, experiment)


def command(experiment: str, settings: Mapping[str, Any]) -> list[str]:
    """Return the command of an experiment; `dvc.lock` is copied too, for git may not know it yet."""
    changes = [word for key, value in settings.items() for word in ("--set-param", f"++train.{key}={shown(value)}")]
    names = ["--name", experiment, "--message", f"train with {told(settings)}"]
    apart = ["--temp", "--copy-paths", dvc_lock.LOCK_FILE]
    return ["dvc", "--wait-for-lock", "exp", "run", *apart, *names, *changes, "--single-item", "train"]


def outcome(root: Path, experiment: str) -> Outcome:
    """Read what an experiment made, from git and the DVC cache: nothing of it is in the working folder.

    Raises:
        StageError: when there is no such experiment, or the cache lacks what it made.
    """
    # Only here: it imports pandas, for which a run would seem not to have begun.
    from likewise import artifacts

    names = refs(root, experiment)
    if not names:
        raise stages.StageError(f"DVC has no experiment {experiment}")
    lock = stages.run(["git", "show", f"{names[0]}:{dvc_lock.LOCK_FILE}"], root, quiet=True)
    cache = _cache(root)
    try:
        (folder,) = YAML(typ="safe").load(lock)["stages"]["train"]["outs"]
        held = json.loads(_cached(cache, folder["md5"]))
        hashes = {str(each["relpath"]): str(each["md5"]) for each in held}
        summary = json.loads(_cached(cache, hashes[Path(artifacts.TRAIN.path).name]))
        history = _cached(cache, hashes[Path(artifacts.HISTORY.path).name])
    except (OSError, KeyError) as error:
        raise stages.StageError(f"the DVC cache lacks what experiment {experiment} made ({error})") from None
    course = {int(row["epoch"]): float(row["val_eer"]) for row in DictReader(history.splitlines())}
    return Outcome(summary["best_val_eer"], summary["best_epoch"], course, summary["train_key"])


def told(settings: Mapping[str, Any]) -> str:
    """Return settings in a line."""
    return ", ".join(f"{key} {shown(value)}" for key, value in settings.items()) or "no change"


def said(done: Outcome) -> str:
    """Return what came of a trial, in a line."""
    return f"val EER {done.val_eer:.3%} after epoch {done.epoch} of {len(done.course)}"


def refs(root: Path, experiment: str) -> list[str]:
    """Return the git refs of the experiments of that name: one for each commit that it was run from."""
    names = stages.run(["git", "for-each-ref", "--format=%(refname)", "refs/exps"], root, quiet=True).splitlines()
    return [name for name in names if name.endswith(f"/{experiment}")]


class Course:
    """The EER on val after each epoch, as a table of this run that grows while the network trains."""

    def __init__(self) -> None:
        self._rows: list[dict[str, float]] = []
        self._artifact: Any = None

    def add(self, epoch: int, val_eer: float) -> None:
        """Put an epoch on the table."""
        self._rows.append({"epoch": epoch, "val_eer": val_eer})
        self._show()

    def fill(self, course: Mapping[int, float]) -> None:
        """Put the epochs on the table that nobody saw."""
        seen = {row["epoch"] for row in self._rows}
        missing = [{"epoch": epoch, "val_eer": course[epoch]} for epoch in sorted(course.keys() - seen)]
        if missing:
            self._rows += missing
            self._show()

    def _show(self) -> None:
        if self._artifact is None:
            self._artifact = create_table_artifact(table=self._rows, key=COURSE, description="EER on val by epoch")
            return
        with get_client(sync_client=True) as client:
            client.update_artifact(self._artifact, ArtifactUpdate(data=json.dumps(self._rows)))


def epoch_in(line: str) -> tuple[int, float] | None:
    """Return the epoch and the EER on val that a line of the stage tells of, if it does.

    Example:
        >>> epoch_in("train: epoch   2/12  loss 0.1  val EER  5.000%  zero-loss 1.0%")
        (2, 0.05)
    """
    found = EPOCH.fullmatch(line.strip())
    return (int(found[1]), float(found[2]) / 100) if found else None


@lru_cache
def _cache(root: Path) -> Path:
    return Path(stages.run(["dvc", "cache", "dir"], root, quiet=True)) / "files" / "md5"


def _cached(cache: Path, md5: str) -> str:
    return (cache / md5[:2] / md5[2:]).read_text(encoding="utf-8")


def _forget(root: Path, experiment: str) -> None:
    for name in refs(root, experiment):
        stages.run(["git", "update-ref", "-d", name], root, quiet=True)


def _tidy(root: Path, experiment: str) -> None:
    """Remove the copy of the project that DVC leaves behind when it is ended."""
    for file in (root / ".dvc" / "tmp" / "exps" / "run").glob("*/*.run"):
        try:
            told = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        copy = Path(told.get("root_dir") or root)
        if told.get("name") == experiment and copy.is_relative_to(root / ".dvc" / "tmp" / "exps"):
            shutil.rmtree(copy, ignore_errors=True)
            shutil.rmtree(file.parent, ignore_errors=True)

"""The search for better settings of train: trials one after another here, or side by side on the GPU pool."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from optuna.trial import TrialState
from prefect import State, flow
from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger
from prefect.states import Completed
from pydantic import Field

from flows import arguments, changes, elsewhere, ready_dvc, stages, sweep_pool, sweep_record, trial
from flows.beginning import Commit, Hours, begin, in_seconds
from flows.study import Asked, Study, StudyError, early, experiment_name, held
from flows.train import BEFORE, run_and_push
from likewise import artifacts
from likewise.config import load_params
from likewise.stages import resume, sweep_params

TABLES = {"classes": artifacts.CLASSES, "pairs": artifacts.PAIRS["train"], "triplets": artifacts.TRIPLETS}
"""What each feed reads."""


class Pruned(Exception):  # noqa: N818
    """Ends a training whose trial is not worth going on with."""


@flow(name="sweep", persist_result=False)
def sweep(
    commit: Commit = "",
    trials: Annotated[int, Field(ge=0, le=100_000)] = 0,
    train_on: Literal["auto", "gpu", "here"] = "auto",
    stage_hours: Hours | None = None,
) -> State[None]:
    """Try settings of train by the EER on val, as the sweep block of params.yaml says; goes on where it was cut short.

    Args:
        commit: Git commit to run; empty is the head of the deployment's branch.
        trials: How many settings are tried in all; 0 is what params.yaml says.
        train_on: Where the network is trained, gpu (waits for workers), here, or auto (gpu where a worker is there).
        stage_hours: How many hours a training may take before it is ended; empty is any.

    Raises:
        ConfigError: when params.yaml is wrong.
        StageError: when a stage fails, or the trials do.
    """
    root, seconds = begin(commit), in_seconds(stage_hours)
    params = sweep_params.Params.model_validate(load_params(root)["sweep"].model_dump())
    with ready_dvc.ready(root):
        stages.pull(root)
        for stage in BEFORE:
            run_and_push(stage, root, seconds=seconds)
    train = load_params(root)["train"].model_dump()
    study = Study(params, train, key=key_of(params, train, root))
    subject = changes.subject(root)
    elsewhere.rename(f"sweep {subject}: {study.name}")
    try:
        with held(study.name):
            run(study, root, subject=subject, total=trials or params.trials, train_on=train_on, seconds=seconds)
    except StudyError as error:
        raise stages.StageError(str(error), lasting=True) from None
    best = study.best()
    if best is None:
        raise stages.StageError(f"{study.name}: no trial came to its end", lasting=True)
    return Completed(message=f"{study.name}: trial {best.number} is the best of {study.counted()}, {best.value:.3%}")


def key_of(params: sweep_params.Params, train: dict[str, Any], root: Path) -> str:
    """Return what the figures of all trials depend on: code, data, libraries; one key for each feed that is tried."""
    feeds = sorted({train["feed"]} | {variant["feed"] for variant in params.variants if "feed" in variant})
    return " ".join(resume.train_key({}, artifacts.present(root / TABLES[feed].path), root) for feed in feeds)


def run(study: Study, root: Path, *, subject: str, total: int, train_on: str, seconds: float | None) -> None:
    """Run the trials that are missing, and leave a summary, whatever ends them."""
    left = study.retry()
    pool = elsewhere.pool_for(train_on)
    sweep_pool.end(left)
    if study.counted():
        get_run_logger().info("%s goes on: %d of %d trials are there", study.name, study.counted(), total)
    record = sweep_record.Record(root, study, subject=subject)
    status = "KILLED"
    try:
        if pool is None:
            run_here(study, root, record, total=total, seconds=seconds)
        else:
            hours = None if seconds is None else seconds / 3600
            sweep_pool.run(study, root, record, total=total, pool=pool, hours=hours)
        status = "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        summary = sweep_record.summary(study, run_id=record.run_id)
        files = {sweep_record.SUMMARY: summary, sweep_record.BEST: sweep_record.best_file(study)}
        sweep_record.write(root, files)
        record.end(status, {name: text for name, text in files.items() if text})
        create_markdown_artifact(key="sweep-summary", markdown=summary, description="What the sweep found")


def run_here(
    study: Study, root: Path, record: sweep_record.Record, *, total: int, seconds: float | None = None
) -> None:
    """Run trials one after another in this process, each a subflow."""
    while (asked := study.ask(total)) is not None:
        one(study, root, record, asked, seconds)


def one(study: Study, root: Path, record: sweep_record.Record, asked: Asked, seconds: float | None) -> None:
    """Run one trial as a subflow, and tell the study what came of it."""
    number, name = asked.number, experiment_name(study.name, asked.settings)
    course = trial.Course()

    def watch(epoch: int, val_eer: float) -> None:
        course.add(epoch, val_eer)
        prune = study.report(number, epoch, val_eer)
        if prune:
            raise Pruned(early(epoch, val_eer))
        if len(study.trial(number).intermediate_values) == 1:
            record.trial(number)

    @flow(name="trial", flow_run_name=f"trial {number}: {trial.told(asked.settings)}", persist_result=False)
    def attempted() -> State[None]:
        try:
            done = trial.attempt(root, name, asked.settings, watch=watch, seconds=seconds)
        except Pruned as ended:
            study.prune(number, str(ended))
            record.trial(number, pruned=str(ended))
            return Completed(name="Pruned", message=str(ended))
        except stages.StageError as error:
            study.fail(number, str(error))
            raise
        conclude(study, record, number, done.course, done.val_eer)
        return Completed(message=trial.said(done))

    state = attempted(return_state=True)
    if study.trial(number).state == TrialState.RUNNING:
        study.fail(number, str(state.message))


def conclude(study: Study, record: sweep_record.Record, number: int, course: dict[int, float], val_eer: float) -> None:
    """Tell the study of a whole trial: epochs that nobody saw, where it came out of the run cache, and its result."""
    for epoch in course.keys() - study.trial(number).intermediate_values.keys():
        study.report(number, epoch, course[epoch])
    study.complete(number, val_eer)
    record.trial(number)


if __name__ == "__main__":
    arguments.call(sweep)

"""A sweep's trials on the GPU pool: side by side up to its limit, watched and ended through the Prefect server."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from optuna.trial import FrozenTrial
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_run_logger
from prefect.states import Cancelling

from flows import elsewhere, late_cancel, stages, trial
from flows.study import REASON, Asked, Study, early, experiment_name
from flows.sweep_record import Record

TRIAL = "trial/trial"
CRASHED_SECONDS = 60.0
"""How long a crashed trial may take to be started again by the automation, before it counts as failed."""


@dataclass
class Running:
    """A trial's run: since when it has been crashed, and why it is being ended early, if it is."""

    run: FlowRun
    crashed: float | None = None
    pruned: str = ""
    seen: set[int] = field(default_factory=set)


def run(study: Study, root: Path, record: Record, *, total: int, pool: str, hours: float | None) -> None:
    """Run trials on a pool, as many at once as it allows; all are cancelled when the sweep is."""
    commit = stages.run(["git", "rev-parse", "HEAD"], root, quiet=True)
    texts = {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in stages.sources(root)}
    same = {"commit": commit, "sources": texts, "stage_hours": hours}
    running: dict[int, Running] = {}
    with get_client(sync_client=True) as client:
        most = client.read_work_pool(pool).concurrency_limit or 1
        try:
            while True:
                while len(running) < most and (asked := study.ask(total)) is not None:
                    running[asked.number] = start(study, asked, same)
                if not running:
                    break
                for number in [n for n, each in running.items() if look(client, study, record, n, each)]:
                    del running[number]
                    get_run_logger().info("trial %d: %s", number, told(study.trial(number)))
                if late_cancel.missed():
                    raise stages.StageError(late_cancel.missed(), lasting=True)
                time.sleep(elsewhere.POLL_SECONDS)
        except BaseException:
            for each in running.values():
                elsewhere.cancel(client, each.run)
            raise


def told(done: FrozenTrial) -> str:
    """Return what came of a trial."""
    return str(done.user_attrs.get(REASON) or f"EER on val {done.value:.3%}")


def start(study: Study, asked: Asked, same: dict[str, Any]) -> Running:
    """Start a trial's run on the pool, shown below the sweep's."""
    name = experiment_name(study.name, asked.settings)
    title = f"trial {asked.number}: {trial.told(asked.settings)}"
    started = elsewhere.run(TRIAL, {"experiment": name, "settings": asked.settings, **same}, name=title)
    study.runs(asked.number, str(started.id))
    get_run_logger().info("%s", title)
    return Running(started)


def look(client: SyncPrefectClient, study: Study, record: Record, number: int, one: Running) -> bool:
    """Tell the study what is new of a trial, end it early if it is to be, and tell whether it is over."""
    state = client.read_flow_run(one.run.id).state
    assert state is not None
    found = shown(client, one.run.id)
    for row in found.get(trial.COURSE, []):
        epoch, val_eer = int(row["epoch"]), float(row["val_eer"])
        if epoch in one.seen or one.pruned:
            continue
        one.seen.add(epoch)
        prune = study.report(number, epoch, val_eer)
        if len(one.seen) == 1:
            record.trial(number)
        if prune and not state.is_final():
            one.pruned = early(epoch, val_eer)
            client.set_flow_run_state(one.run.id, Cancelling(message=one.pruned))
    if not state.is_crashed():
        one.crashed = None
    return state.is_final() and over(study, record, number, one, state, found)


def over(
    study: Study, record: Record, number: int, one: Running, state: State[Any], found: dict[str, list[dict[str, Any]]]
) -> bool:
    """Tell the study what came of a run that has ended, and tell whether that is the last word."""
    if state.is_completed():
        study.complete(number, float(found[trial.RESULT][0]["val_eer"]))
        record.trial(number)
    elif one.pruned:
        study.prune(number, one.pruned)
        record.trial(number, pruned=one.pruned)
    elif state.is_crashed() and not _given_up(one):
        return False
    else:
        study.fail(number, f"the run {one.run.name} ended as {state.name}: {state.message}")
    return True


def _given_up(one: Running) -> bool:
    if one.crashed is None:
        one.crashed = time.monotonic()
    return time.monotonic() - one.crashed > CRASHED_SECONDS


def shown(client: SyncPrefectClient, run_id: UUID) -> dict[str, list[dict[str, Any]]]:
    """Return the tables that a run shows, by their keys."""
    of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]))
    tables = [each for each in client.read_artifacts(artifact_filter=of_run) if each.type == "table"]
    return {str(each.key): json.loads(str(each.data)) for each in tables}


def end(runs: Sequence[str]) -> None:
    """End the runs that a sweep before this one left behind."""
    if not runs:
        return
    with get_client(sync_client=True) as client:
        for each in runs:
            try:
                run = client.read_flow_run(UUID(each))
            except ObjectNotFound:
                continue
            if run.state is not None and not run.state.is_final():
                get_run_logger().info("ends run %s, which the sweep before this one left behind", run.name)
                elsewhere.cancel(client, run)

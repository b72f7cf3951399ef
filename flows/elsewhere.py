"""Runs of another deployment on another pool, waited for: what passes between them is git and the DVC remote."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from prefect import runtime
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, WorkPoolStatus
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_run_logger
from prefect.states import Cancelling

from flows import late_cancel, stages

POOL = "gpu"
POLL_SECONDS = 1.0
TRAIN = "train/train"


def rename(name: str) -> None:
    """Give the run that this is called in a name that says what and why."""
    run = runtime.flow_run.id
    if run is not None:
        with get_client(sync_client=True) as client:
            client.update_flow_run(run, name=name)


def has_pools(wanted: str) -> bool:
    """Tell whether a run may train on another pool: one of a deployment, unless it is to train here."""
    return wanted != "here" and runtime.deployment.id is not None


def pool_for(wanted: str) -> str | None:
    """Return the pool that trains, or nothing where this process does.

    Args:
        wanted: `gpu`, `here`, or `auto`, which is `gpu` where a worker of the pool is there.
    """
    if not has_pools(wanted):
        return None
    if wanted == "gpu":
        return POOL
    with get_client(sync_client=True) as client:
        try:
            pool = client.read_work_pool(POOL)
        except ObjectNotFound:
            return None
    if pool.status != WorkPoolStatus.READY:
        get_run_logger().warning("no worker of pool %s is there: train runs here", POOL)
        return None
    return POOL


def train(root: Path, *, pool: str, seconds: float | None) -> None:
    """Train on a worker of another pool, on this commit and this state of the raw data, and wait for it.

    Raises:
        StageError: when it did not complete.
    """
    commit = stages.run(["git", "rev-parse", "HEAD"], root, quiet=True)
    texts = {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in stages.sources(root)}
    hours = None if seconds is None else seconds / 3600
    get_run_logger().info("train: on pool %s", pool)
    wait(run(TRAIN, {"commit": commit, "sources": texts, "stage_hours": hours}, name=f"train {commit[:7]}"))


def run(deployment: str, parameters: dict[str, Any], *, name: str | None = None) -> FlowRun:
    """Start a run of a deployment, shown below this one, and return it."""
    started = run_deployment(deployment, parameters=parameters, flow_run_name=name, timeout=0)
    assert isinstance(started, FlowRun)
    return started


def wait(started: FlowRun) -> None:
    """Wait for a run; it is cancelled when this one is.

    Raises:
        StageError: when it did not complete.
    """
    with get_client(sync_client=True) as client:
        try:
            while not (run := client.read_flow_run(started.id)).state.is_final():  # type: ignore[union-attr]
                if late_cancel.missed():
                    raise stages.StageError(late_cancel.missed(), lasting=True)
                time.sleep(POLL_SECONDS)
        except BaseException:
            cancel(client, started)
            raise
    assert run.state is not None
    if not run.state.is_completed():
        raise stages.StageError(f"the run {run.name} ended as {run.state.name}: {run.state.message}", lasting=True)


def cancel(client: SyncPrefectClient, run: FlowRun) -> None:
    """Ask the worker of a run to end it."""
    client.set_flow_run_state(run.id, Cancelling())

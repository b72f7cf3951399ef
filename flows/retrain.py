"""The pipeline as a Prefect flow: every stage a task, train on the GPU pool where there is one, then the registry."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from prefect import State, flow
from prefect.logging import get_run_logger
from prefect.states import Completed
from pydantic import Field

from flows import arguments, changes, elsewhere, ready_dvc, remote, stages, summary
from flows.beginning import Commit, Hours, begin, in_seconds
from flows.train import run_and_push
from likewise.config import STAGES


@flow(name="retrain", persist_result=False)
def retrain(
    commit: Commit = "",
    why: Annotated[str, Field(max_length=80)] = "",
    train_on: Literal["auto", "gpu", "here"] = "auto",
    stage_hours: Hours | None = None,
) -> State[None]:
    """Run the pipeline from the raw data to the registry; nothing but the registry when nothing changed.

    Args:
        commit: Git commit to run; empty is the head of the deployment's branch.
        why: Why, for the run's name; empty is what changed.
        train_on: Where the network is trained, gpu (waits for a worker), here, or auto (gpu where a worker is there).
        stage_hours: How many hours a stage may take before it is ended; empty is any.

    Raises:
        ConfigError: when params.yaml is wrong.
        StageError: when a stage fails, with its own last lines.
    """
    root, seconds = begin(commit), in_seconds(stage_hours)
    with ready_dvc.ready(root):
        stages.pull(root)
        changed = changes.reason(changes.status(root), changes.outputs(root))
        reasons = [why or changed, "" if changed else "nothing changed"]
        elsewhere.rename(f"retrain {changes.subject(root)}: {', '.join(filter(None, reasons))}")
        said = run_stages(root, train_on=train_on, seconds=seconds) if changed else ""
        if not changed and remote.is_set(root) and remote.owes(root):
            stages.push(root)
    done = summary.as_said(stages.register(root), said)
    summary.publish(done, root, changed=changed)
    if changed:
        return Completed(message=summary.in_a_line(done))
    get_run_logger().info("nothing changed: no stage ran")
    return Completed(message=f"nothing changed since version {done['version']}")


def run_stages(root: Path, *, train_on: str, seconds: float | None) -> str:
    """Run what is stale, in order, and return what the last said; others get what a stage made before the next runs."""
    said = ""
    for stage in STAGES:
        may_leave = stage == "train" and elsewhere.has_pools(train_on)
        if may_leave and stages.must_run(stage, root) and (pool := elsewhere.pool_for(train_on)):
            elsewhere.train(root, pool=pool, seconds=seconds)
        said = run_and_push(stage, root, seconds=seconds)
    if not remote.is_set(root):
        get_run_logger().warning(stages.NO_REMOTE)
    return said


if __name__ == "__main__":
    arguments.call(retrain)

"""The stage train alone, on a worker of the GPU pool: what it reads and makes passes through the DVC remote."""

from __future__ import annotations

from pathlib import Path

from prefect import flow
from prefect.logging import get_run_logger

from flows import arguments, ready_dvc, remote, stages
from flows.beginning import Commit, Hours, begin, in_seconds
from likewise.config import STAGES

BEFORE = STAGES[: STAGES.index("train")]
"""The stages whose outputs train reads."""


@flow(name="train", persist_result=False)
def train(commit: Commit = "", sources: dict[str, str] | None = None, stage_hours: Hours | None = None) -> None:
    """Train, after the stages before it were restored from the run cache.

    Args:
        commit: Git commit to train; empty is the head of the deployment's branch.
        sources: The .dvc files of the raw data as the run that calls has them, by path.
        stage_hours: How many hours a stage may take before it is ended; empty is any.
    """
    root, seconds = begin(commit, sources), in_seconds(stage_hours)
    with ready_dvc.ready(root):
        for stage in (*BEFORE, "train"):
            run_and_push(stage, root, seconds=seconds)


def run_and_push(stage: str, root: Path, *, seconds: float | None) -> str:
    """Run a stage if it is stale, hand what it made to other clones, and return what it said."""
    said = stages.run_stage(stage, root, seconds)
    if remote.is_set(root) and (said or remote.owes(root)):
        stages.push(root)
    elif said and stage == "train":
        get_run_logger().warning(stages.NO_REMOTE)
    return said


if __name__ == "__main__":
    arguments.call(train)

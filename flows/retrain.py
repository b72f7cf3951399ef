"""The pipeline as a Prefect flow: every stage a task, then the registry, the remote and a summary."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import State, Task, flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.logging import get_run_logger
from prefect.tasks import exponential_backoff

from flows import process
from likewise.config import STAGES, load_params, project_root

REFUSED = 2
"""What a stage exits with on bad input, which trying again does not mend."""


class StageError(RuntimeError):
    """A stage that failed, with its own last lines."""


def worth_retrying(task: Task[Any, Any], run: TaskRun, state: State[Any]) -> bool:  # noqa: ARG001
    """Tell whether a stage may do better when it is run again: not when it refused its input."""
    error = state.result(raise_on_failure=False)
    return f"exited with {REFUSED}" not in str(error)


@task(
    task_run_name="{stage}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_delay_seconds=exponential_backoff(backoff_factor=2),
    retry_jitter_factor=0.5,
    retry_condition_fn=worth_retrying,
)
def run_stage(stage: str, root: Path) -> None:
    """Run one stage if it is stale; DVC decides.

    Raises:
        StageError: when it fails, with its own last lines.
    """
    _run(["dvc", "--wait-for-lock", "repro", "--single-item", stage], root)


@task(cache_policy=NO_CACHE, persist_result=False, retries=2, retry_delay_seconds=exponential_backoff(2))
def register(root: Path) -> dict[str, Any]:
    """Make sure that the evaluated model is in the registry, also where no stage had to run."""
    result: dict[str, Any] = json.loads(_run(["likewise", "register", "--json"], root, quiet=True))
    return result


@task(cache_policy=NO_CACHE, persist_result=False, retries=2, retry_delay_seconds=exponential_backoff(2))
def push(root: Path) -> bool:
    """Push the data and the run cache to the DVC remote, so that another clone restores instead of running."""
    remotes = _run(["dvc", "remote", "list"], root, quiet=True).strip()
    if not remotes:
        get_run_logger().warning("no DVC remote is set up: nothing is pushed (`dvc remote add -d NAME URL`)")
        return False
    _run(["dvc", "--wait-for-lock", "push", "--run-cache"], root)
    return True


@flow(name="retrain", persist_result=False)
def retrain(project: str | None = None) -> dict[str, Any]:
    """Run the pipeline from the raw data to the registry.

    Args:
        project: folder of the project; by default the one this runs in.

    Raises:
        ConfigError: when params.yaml is wrong.
        StageError: when a stage fails, with its own last lines.
    """
    root = project_root(Path(project) if project else None)
    load_params(root)
    for stage in STAGES:
        run_stage(stage, root)
    done = register(root)
    push(root)
    create_markdown_artifact(key="retrain-summary", markdown=summarise(done), description="What retrain made")
    return done


def summarise(done: dict[str, Any]) -> str:
    """Return the registered version and its figures in Markdown."""
    shown = {name: value for name, value in sorted(done["metrics"].items()) if not name.endswith(("_low", "_high"))}
    rows = "\n".join(f"| {name} | {value:.4g} |" for name, value in shown.items())
    aliases = ", ".join(done["aliases"]) or "none"
    made = "new" if done["created"] else "already there"
    return (
        f"# {done['name']} version {done['version']} ({made})\n\nAliases: {aliases}\n\n"
        f"| metric | value |\n|---|---|\n{rows}\n"
    )


def _run(command: Sequence[str], root: Path, *, quiet: bool = False) -> str:
    logger = get_run_logger()
    output = []
    try:
        for line in process.lines(command, folder=root, environment=process.environment()):
            output.append(line)
            if not quiet:
                logger.info(line)
    except process.ProcessError as error:
        raise StageError(str(error)) from None
    return "\n".join(output)


if __name__ == "__main__":
    retrain()

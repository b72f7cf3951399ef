"""The stages as Prefect tasks: DVC decides what is stale, a task runs it as a child process and passes its words on."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from prefect import State, Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.logging import get_run_logger
from prefect.tasks import exponential_backoff

from flows import late_cancel, process, progress, ready_dvc, remote
from likewise.config import ConfigError, read_yaml

CHATTER = re.compile(
    r"\s*(To (track|enable|apply)|git add|dvc (config|exp apply)|run:|Use `dvc push`|(Updating|Generating) lock file).*"
    r"|Data and pipelines are up to date\.|Having any troubles\?.*|\s*"
)
"""What DVC says after each stage or error, which is for a person at a terminal."""

RUNNING = "Running stage '{}'"
"""What DVC says before it runs a stage, and not where it restores one."""

OWN_FAULT = "failed to run: "
"""What DVC says when the stage's own command failed; what else fails under `--pull` may be the remote's."""

REFUSED = 2
"""What a stage exits with on bad input, which trying again does not mend."""

RETRY_SECONDS = remote.retry_seconds()
"""How long a task that failed waits before its second try; twice as long before each further one."""

NO_REMOTE = "no DVC remote is set up: nothing is pushed (`dvc remote add -d NAME URL`)"


class StageError(RuntimeError):
    """A command that failed, with its own last lines.

    Attributes:
        lasting: whether it would fail again, so that nobody need try.
    """

    def __init__(self, message: str, *, lasting: bool = False) -> None:
        super().__init__(message)
        self.lasting = lasting


OWN = (StageError, ConfigError)
"""Errors whose own lines say what happened."""

WRAPPED = re.compile(r"(?:Flow|Task) run encountered an exception: (?:\w+: )?")
"""What Prefect puts before them."""


class OwnLines(logging.Filter):
    """Says once, and with no stack, what an error's own lines say: Prefect says it in three ways."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Pass every record, those of our errors as their own lines."""
        if record.exc_info and isinstance(record.exc_info[1], OWN):
            record.msg, record.args = str(record.exc_info[1]), ()
            record.exc_info = record.exc_text = None
        elif WRAPPED.search(record.getMessage()):
            record.msg, record.args = record.getMessage().partition("(")[0], ()
        return True


def say_own_lines() -> None:
    """Let Prefect log a command that failed without a stack of ours."""
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logger = logging.getLogger(name)
        if not any(isinstance(each, OwnLines) for each in logger.filters):
            logger.addFilter(OwnLines())


def worth_retrying(task: Task[Any, Any], run: TaskRun, state: State[Any]) -> bool:  # noqa: ARG001
    """Tell whether a command may do better when it is run again: not when it refused its input, or took too long."""
    error = state.result(raise_on_failure=False)
    return not (isinstance(error, StageError) and error.lasting)


@task(
    task_run_name="{stage}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_delay_seconds=exponential_backoff(backoff_factor=RETRY_SECONDS),
    retry_jitter_factor=0.5,
    retry_condition_fn=worth_retrying,
)
def run_stage(stage: str, root: Path, seconds: float | None = None) -> str:
    """Run one stage if it is stale and no other clone has run it; DVC decides.

    Args:
        stage: its name.
        root: the project's root.
        seconds: how long it may take.

    Returns:
        What it said, if it ran; nothing where it is up to date, or another clone has run it.

    Raises:
        StageError: when it fails, with its own last lines.
    """
    pull = ["--pull"] if remote.is_set(root) else []
    begins = RUNNING.format(stage)
    shown = progress.Shown() if stage == "train" else None

    def watch(line: str) -> None:
        if line.startswith(begins):
            remote.owe(root)
        if shown is not None:
            shown(line)

    try:
        said = run(
            ["dvc", "--wait-for-lock", "repro", "--single-item", *pull, stage], root, seconds=seconds, watch=watch
        )
    except StageError as error:
        if not pull or error.lasting or OWN_FAULT in str(error):
            raise
        raise StageError(f"{error}\n{stage}: its DVC remote is {remote.name(root)}") from None
    return said if begins in said else ""


@task(
    task_run_name="look into the registry",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_delay_seconds=exponential_backoff(RETRY_SECONDS),
)
def register(root: Path) -> dict[str, Any]:
    """Make sure that the evaluated model is in the registry, also where no stage had to run."""
    result: dict[str, Any] = json.loads(run(["likewise", "register", "--json"], root, quiet=True))
    return result


@task(
    task_run_name="push",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=3,
    retry_delay_seconds=exponential_backoff(RETRY_SECONDS),
)
def push(root: Path) -> None:
    """Push the data and the run cache to the DVC remote, so that another clone restores instead of running."""
    with_remote("push to", ["dvc", "--wait-for-lock", "push", "--run-cache"], root)
    remote.paid(root)


@task(
    task_run_name="pull the raw data",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=3,
    retry_delay_seconds=exponential_backoff(RETRY_SECONDS),
)
def pull(root: Path) -> None:
    """Bring the raw data that DVC tracks up to date: what was imported from elsewhere is looked up there again."""
    for file in sources(root):
        imported = "deps" in read_yaml(file)
        name = file.relative_to(root).as_posix()
        if imported:
            run(["dvc", "--wait-for-lock", "update", name], root)
        elif remote.is_set(root):
            with_remote(f"{name}: pull from", ["dvc", "--wait-for-lock", "pull", name], root)
        else:
            run(["dvc", "--wait-for-lock", "checkout", name], root)


def must_run(stage: str, root: Path) -> bool:
    """Tell whether a stage is stale here; another clone may have run it all the same, which a dry run does not see."""
    said = run(["dvc", "--wait-for-lock", "repro", "--dry", "--single-item", stage], root, quiet=True)
    return RUNNING.format(stage) in said


def sources(root: Path) -> list[Path]:
    """Return the project's `.dvc` files: what `dvc add` and `dvc import-url` track."""
    names = run(["git", "ls-files", "*.dvc"], root, quiet=True).splitlines()
    return [root / name for name in names if (root / name).is_file()]


def with_remote(doing: str, command: Sequence[str], root: Path) -> None:
    """Run a command that only talks to the DVC remote.

    Raises:
        StageError: when it fails, in one line that names the remote.
    """
    try:
        run(command, root)
    except StageError as error:
        raise StageError(remote.complaint(doing, root, str(error))) from None


def run(
    command: Sequence[str],
    root: Path,
    *,
    quiet: bool = False,
    seconds: float | None = None,
    watch: Callable[[str], None] | None = None,
) -> str:
    """Run a command in the project, its lines in this run's log as they come, and return them.

    Raises:
        StageError: when it fails, with its own last lines.
    """
    logger = None if quiet else get_run_logger()
    output = []
    try:
        lines = ready_dvc.lines(command, root, seconds=seconds, stop=late_cancel.missed)
        # Closed at once, and the command ended with it, when `watch` has seen enough.
        with closing(lines):
            for line in lines:
                output.append(line)
                if logger is not None and not CHATTER.fullmatch(line):
                    logger.info(line)
                if watch is not None:
                    watch(line)
    except process.ProcessError as error:
        said = "\n".join(line for line in str(error).splitlines() if not CHATTER.fullmatch(line))
        refused = re.search(rf"exited with {REFUSED}\b", said) is not None
        lasting = refused or error.code in (process.TIMED_OUT, process.STOPPED)
        raise StageError(said or str(error), lasting=lasting) from None
    return "\n".join(output)

"""Where a worker runs a flow: a checkout of the deployment's git URL, which it keeps for the next run.

Prefect calls `prepare` before it loads the flow. A checkout is held by one run at a time, by a lock that the system
frees when the run's process ends; a second run at the same time gets a second checkout. All checkouts of a machine
share one DVC cache, and keep what they hold: data that has not changed is neither fetched nor hashed again.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from uuid import UUID

from likewise.config import cache_folder

REMOTE = "worker"
"""What the DVC remote is called that the worker's environment names."""


class WorkspaceError(RuntimeError):
    """A checkout that cannot be made; says what git or DVC said."""


class WantedError(WorkspaceError):
    """What is to be checked out is not there, or the git URL does not answer: nothing is wrong with the checkout."""


def prepare(repository: str, branch: str) -> dict[str, str]:
    """Check the project out for this run, and let the run use its code; where that fails, the run has failed.

    Args:
        repository: the git URL.
        branch: which branch; a run that is given a `commit` gets that commit.

    Returns:
        `directory`: where the flow runs.

    Raises:
        WorkspaceError: when git or DVC fails.
    """
    from prefect.client.orchestration import get_client
    from prefect.logging.loggers import flow_run_logger
    from prefect.states import Failed

    # Prefect shows nothing of what goes wrong here, only that the process has ended.
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(UUID(os.environ["PREFECT__FLOW_RUN_ID"]))
        try:
            folder = check_out(repository, branch, str(run.parameters.get("commit") or ""))
        except WorkspaceError as error:
            flow_run_logger(run).error("no checkout: %s", error)
            client.set_flow_run_state(run.id, Failed(message=f"no checkout: {error}"))
            raise
    # Stages import what lies in src/; so must the flow, or it would be another version's.
    os.environ["PYTHONPATH"] = str(folder / "src")
    return {"directory": str(folder)}


def check_out(repository: str, branch: str, commit: str) -> Path:
    """Claim a checkout, bring it up to date, and return its folder."""
    places = places_of(repository)
    folder = claim(places)
    try:
        update(folder, repository, branch, commit)
    except WantedError:
        raise
    except WorkspaceError:
        _ask(places, repository, branch)
        # A run that was killed while git wrote leaves a checkout that git refuses.
        shutil.rmtree(folder, ignore_errors=True)
        update(folder, repository, branch, commit)
    configure(folder, cache=places / "cache", remote=os.environ.get("LIKEWISE_DVC_REMOTE", ""))
    return folder


def places_of(repository: str) -> Path:
    """Return the folder of this machine's checkouts of a repository: in `LIKEWISE_WORKSPACES`, or the cache folder."""
    base = os.environ.get("LIKEWISE_WORKSPACES") or cache_folder() / "workspaces"
    name = repository.rstrip("/").removesuffix(".git").rpartition("/")[2]
    return Path(base) / f"{name}-{hashlib.sha256(repository.encode()).hexdigest()[:8]}"


def claim(places: Path) -> Path:
    """Return the first checkout's folder that no run holds, and hold it until this process ends.

    The lock outlives `exec`: Prefect prepares the checkout and runs the flow in one process.
    """
    places.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        lock = os.open(places / f"{number}.lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            number += 1
            continue
        os.set_inheritable(lock, True)
        return places / str(number)


def update(folder: Path, repository: str, branch: str, commit: str) -> None:
    """Check out a commit, or the head of a branch, cloning first where nothing is; files that git ignores stay.

    `dvc.lock` stays too: it says what the data in this checkout were made from, which is what DVC has to compare with.

    Raises:
        WantedError: when the repository has no such commit.
        WorkspaceError: when git fails.
    """
    if not (folder / ".git").exists():
        _run(folder.parent, "git", "clone", "--quiet", "--no-checkout", repository, str(folder))
    _run(folder, "git", "remote", "set-url", "origin", repository)
    # In one go, which begins FETCH_HEAD with the branch; the others are there for a commit of theirs.
    _run(folder, "git", "fetch", "--quiet", "origin", branch, "+refs/heads/*:refs/remotes/origin/*")
    if commit:
        _find(folder, repository, commit)
    lock = folder / "dvc.lock"
    kept = lock.read_bytes() if lock.exists() else None
    _run(folder, "git", "checkout", "--quiet", "--force", "--detach", commit or "FETCH_HEAD")
    _run(folder, "git", "clean", "--quiet", "--force", "-d")
    if kept is not None:
        lock.write_bytes(kept)


def configure(folder: Path, *, cache: Path, remote: str) -> None:
    """Let a checkout use the machine's DVC cache and the worker's remote, unless it does: each word to DVC is a second.

    Args:
        folder: the checkout.
        cache: the DVC cache.
        remote: the default remote's URL; nothing is the one in the project's own configuration.
    """
    told, wanted = folder / ".dvc/tmp/likewise-configured", f"{cache}\n{remote}\n"
    if (folder / ".dvc/config.local").exists() and told.exists() and told.read_text(encoding="utf-8") == wanted:
        return
    _run(folder, "dvc", "config", "--local", "cache.dir", str(cache))
    if remote:
        _run(folder, "dvc", "remote", "add", "--local", "--force", "--default", REMOTE, remote)
    told.parent.mkdir(parents=True, exist_ok=True)
    told.write_text(wanted, encoding="utf-8")


def _ask(folder: Path, repository: str, branch: str) -> None:
    """Raise WantedError when the URL does not answer or has no such branch: a new checkout would be no better."""
    try:
        found = _run(folder, "git", "ls-remote", repository, branch)
    except WorkspaceError as error:
        raise WantedError(str(error)) from None
    if not found:
        raise WantedError(f"{repository} has no branch {branch}")


def _find(folder: Path, repository: str, commit: str) -> None:
    try:
        _run(folder, "git", "cat-file", "-e", f"{commit}^{{commit}}")
    except WorkspaceError:
        raise WantedError(f"{repository} has no commit {commit}; was it pushed?") from None


def _run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise WorkspaceError(f"{' '.join(command)}: {' '.join((done.stderr or done.stdout).split())}")
    return done.stdout.strip()

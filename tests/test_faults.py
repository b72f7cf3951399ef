"""What goes wrong on a real server with a real worker, and what is left afterwards (docs/faults.md)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import deploy
from likewise import artifacts
from tests import stub
from tests.prefect_server import PYTHON, PrefectServer, Worker, wait_until, working
from tests.projects import Project, over

pytestmark = pytest.mark.timeout(900)

TRAIN = "train/train"
ROOM = 100_000
"""Bytes that are left on a full disk: less than a stage needs."""

PAUSE = 10.0
"""Seconds before a crashed run is started again: the least that Prefect allows."""

NUMBERS = count(100_000)
"""Epochs of a training that no test waits for; each another, so that DVC has not seen it before."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def workers(folder: Path, deployed: Project, prefect_server: PrefectServer) -> Iterator[Workers]:
    with Workers(prefect_server, folder) as one_after_another:
        one_after_another.current()
        yield one_after_another


class Workers(ExitStack):
    """A worker of pool gpu, and after its end another, as on another machine: it has but the checkpoints in common."""

    def __init__(self, server: PrefectServer, folder: Path) -> None:
        super().__init__()
        self._server, self._folder = server, folder
        self._started: list[Worker] = []

    def current(self) -> Worker:
        """Return the worker that runs, started if there is none."""
        if not self._started or self._started[-1].group.child.poll() is not None:
            folder = self._folder / f"worker{len(self._started)}"
            one = working(self._server, "gpu", folder, environment=stub.environment(self._folder))
            self._started.append(self.enter_context(one))
        return self._started[-1]


class Training:
    """A run of the stub's training, of a commit of its own, and the processes that it is made of."""

    def __init__(self, server: PrefectServer, project: Project, folder: Path, *, epochs: int) -> None:
        self.server, self.epochs = server, epochs
        self.checkpoint = folder / "checkpoints" / f"{epochs}.txt"
        self.run = server.start(TRAIN, {"commit": stub.variant(project, epochs=epochs)})

    def processes(self, worker: Worker, *, resumed: int = 0) -> list[psutil.Process]:
        """Return flow, dvc, shell, stage and guard, once the stage trains and has gone on so many times."""
        wait_until(self.checkpoint.exists, "the stage trains")
        wait_until(lambda: self.server.log(self.run).count("goes on after") == resumed, f"it goes on {resumed} times")
        found = list(psutil.Process(worker.pid).children(recursive=True))
        assert len(found) >= 4
        return found

    def finish(self) -> None:
        """Let the stage end with its next epoch, now or when it goes on."""
        self.checkpoint.with_suffix(".enough").touch()

    def completes(self) -> None:
        run = self.server.ended(self.run)
        assert run["state_type"] == "COMPLETED", self.server.log(self.run)


@pytest.fixture
def train(prefect_server: PrefectServer, deployed: Project, folder: Path) -> Iterator[Callable[..., Training]]:
    """Return what starts a training; one that a failed test leaves behind is cancelled."""
    started: list[Training] = []

    def start(*, epochs: int | None = None) -> Training:
        number = next(NUMBERS) if epochs is None else epochs
        started.append(Training(prefect_server, deployed, folder, epochs=number))
        return started[-1]

    yield start
    for training in started:
        if prefect_server.run(training.run)["state_type"] in ("RUNNING", "PENDING", "SCHEDULED"):
            prefect_server.cancel(training.run)


def named(processes: list[psutil.Process], argument: str) -> psutil.Process:
    """Return the process with this argument: not the shell, whose line has it and whose stage goes on without it."""
    return next(each for each in processes if argument in each.cmdline())


def gone(processes: list[psutil.Process], *, seconds: float = 10) -> float:
    """Wait until all have ended, and return how long that took; the test fails when one is left."""
    begin = time.monotonic()

    def none_left() -> bool:
        return all(map(over, processes))

    wait_until(none_left, "all processes of the run have ended", seconds=seconds)
    return time.monotonic() - begin


def test_cancel_ends_everything_and_the_next_run_is_clean(
    prefect_server: PrefectServer, workers: Workers, train: Callable[..., Training]
) -> None:
    training = train()
    processes = training.processes(workers.current())
    prefect_server.cancel(training.run)
    print(f"cancel: all gone after {gone(processes):.1f} s")
    assert prefect_server.ended(training.run)["state_type"] == "CANCELLED"
    training.finish()
    training.run = prefect_server.start(TRAIN, prefect_server.run(training.run)["parameters"])
    training.completes()
    wait_until(lambda: "goes on after epoch" in prefect_server.log(training.run), "the log tells that it went on")


def test_a_killed_stage_is_tried_again_and_goes_on_from_the_checkpoint(
    prefect_server: PrefectServer, workers: Workers, train: Callable[..., Training]
) -> None:
    training = train()
    processes = training.processes(workers.current())
    named(processes, "stub.py").kill()
    training.finish()
    training.completes()
    assert prefect_server.run(training.run)["run_count"] == 1
    assert {task["name"]: task["run_count"] for task in prefect_server.tasks(training.run)}["train"] == 2
    wait_until(lambda: "goes on after epoch" in prefect_server.log(training.run), "the log tells that it went on")


def test_a_poisoned_stage_says_its_own_line_and_does_not_block_the_pool(
    prefect_server: PrefectServer, deployed: Project, workers: Workers, train: Callable[..., Training]
) -> None:
    workers.current()
    commit = stub.variant(deployed, epochs=5, poison="yes")
    poisoned = prefect_server.start(TRAIN, {"commit": commit})
    healthy = train(epochs=2)
    run = prefect_server.ended(poisoned)
    assert run["state_type"] == "FAILED"
    assert "pairs: poisoned.png: not an image; take it out" in run["state"]["message"]
    assert "Traceback" not in prefect_server.log(poisoned)
    healthy.completes()


def test_a_stage_that_takes_too_long_is_ended_with_its_group(
    prefect_server: PrefectServer, deployed: Project, workers: Workers, folder: Path
) -> None:
    workers.current()
    commit = stub.variant(deployed, epochs=next(NUMBERS))
    run = prefect_server.start(TRAIN, {"commit": commit, "stage_hours": 6 / 3600})
    ended = prefect_server.ended(run)
    assert ended["state_type"] == "FAILED"
    assert "ended after 6 seconds, which is all it was given" in ended["state"]["message"]
    stages = [each for each in psutil.process_iter(["cmdline", "environ"]) if "stub.py" in (each.info["cmdline"] or [])]
    ours = stub.environment(folder)["STUB_LOG"]
    assert not [stage for stage in stages if (stage.info["environ"] or {}).get("STUB_LOG") == ours]


def test_a_run_outlives_its_workers_and_is_started_three_times_at_most(
    prefect_server: PrefectServer, workers: Workers, train: Callable[..., Training]
) -> None:
    # A run that lives says so every 30 seconds.
    set_automations(prefect_server, silence=33, pause=PAUSE)
    training = train()
    processes = training.processes(workers.current())
    first = workers.current()
    os.kill(first.pid, signal.SIGTERM)
    print(f"worker stopped: all gone after {gone(processes):.1f} s")
    assert prefect_server.run(training.run)["state_type"] == "RUNNING", "nobody has told the server"
    first.group.child.wait(20)

    processes = training.processes(workers.current(), resumed=1)
    os.kill(workers.current().pid, signal.SIGKILL)
    print(f"worker killed: all gone after {gone(processes):.1f} s")

    processes = training.processes(workers.current(), resumed=2)
    named(processes, "prefect.engine").kill()
    print(f"flow killed: all gone after {gone(processes):.1f} s")
    wait_until(lambda: prefect_server.run(training.run)["state_type"] == "CRASHED", "it counts as crashed")
    # What would start it again has had the time to.
    time.sleep(PAUSE + 3)
    run = prefect_server.run(training.run)
    assert (run["state_type"], run["run_count"]) == ("CRASHED", 3)


def test_the_server_may_be_away_in_mid_run(
    prefect_server: PrefectServer, workers: Workers, train: Callable[..., Training]
) -> None:
    training = train()
    training.processes(workers.current())
    prefect_server.end()
    # The stage ends while nobody can be told.
    training.finish()
    time.sleep(5)
    prefect_server.begin()
    training.completes()
    assert prefect_server.run(training.run)["run_count"] == 1
    assert {task["name"]: task["run_count"] for task in prefect_server.tasks(training.run)}["train"] == 1


def test_an_unreachable_remote_is_tried_again_named_and_made_up_for(
    prefect_server: PrefectServer, tmp_path: Path
) -> None:
    project = stub.make_stub(tmp_path / "stub", epochs=1)
    variables = prefect_server.environment | stub.environment(tmp_path, LIKEWISE_RETRY_SECONDS="0.2")
    variables["PYTHONPATH"] = str(project.root / "src")
    project.run("dvc", "repro", "-q", "triplets", environment=variables)
    config = project.root / ".dvc/config.local"
    config.write_text("[core]\n    remote = nowhere\n['remote \"nowhere\"']\n    url = http://127.0.0.1:9/\n")
    log = project.run(PYTHON, "-m", "flows.train", code=1, environment=variables).stdout
    assert log.count("will start") == 3, log
    last = log.strip().splitlines()[-1]
    assert "push to the DVC remote nowhere (http://127.0.0.1:9/) failed: Cannot connect to host" in last, log
    assert "Traceback" not in log

    config.unlink()
    log = project.run(PYTHON, "-m", "flows.train", environment=variables).stdout
    assert "files pushed" in log
    assert stub.ran(tmp_path) == ["ingest", "pairs", "triplets", "train"], "the second run only pushes"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 40 MB, which only root can mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"a disk that can be filled has to be mounted, which is not allowed here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path) -> Path:
    """Fill a disk but for what DVC notes down, and return the file that does it."""
    balloon = disk / "balloon"
    with balloon.open("wb") as file:
        file.write(bytes(shutil.disk_usage(disk).free - ROOM))
    return balloon


def test_a_full_disk_is_said_in_a_line_and_the_next_run_is_clean(
    prefect_server: PrefectServer, finished: Project, small_disk: Path
) -> None:
    root = small_disk / "project"
    shutil.copytree(finished.root, root, symlinks=True, ignore=shutil.ignore_patterns("mlflow.db*", "mlartifacts"))
    project = Project(root, small_disk / "checkpoints")
    params = root / "params.yaml"
    text = params.read_text(encoding="utf-8").replace("count: 400", "count: 100000")
    params.write_text(text, encoding="utf-8")
    before = {path for path in root.rglob("*") if path.is_file()}
    balloon = fill(small_disk)
    # Else Python's compiled code takes the rest, and DVC has no room to begin with.
    variables = prefect_server.environment | {"PYTHONDONTWRITEBYTECODE": "1"}
    log = project.run(PYTHON, "-m", "flows.retrain", code=1, environment=variables).stdout
    assert "triplets: [Errno 28]" in log
    assert "No space left on device" in log.strip().splitlines()[-2], log
    assert "Traceback" not in log
    left = {path.relative_to(root) for path in root.rglob("*") if path.is_file() and path not in before}
    assert not [path for path in left if path.parts[0] not in (".dvc",) and "__pycache__" not in path.parts]

    balloon.unlink()
    project.run("dvc", "repro", "--single-item", "triplets")
    assert project.run("dvc", "status", "triplets").stdout.strip() == "Data and pipelines are up to date."
    assert artifacts.TRIPLETS.read(root).shape == (100_000, 3)


def set_automations(server: PrefectServer, *, silence: float, pause: float) -> None:
    """Put the automations with other times in the place of those that were deployed."""
    with temporary_settings({PREFECT_API_URL: server.api}), get_client(sync_client=True) as client:
        for automation in deploy.automations(silence=silence, pause=pause, webhook=uuid4())[:2]:
            deploy.make_automation(client, automation)

"""What goes wrong on a real server with a real worker, and what is left afterwards (docs/faults.md)."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import deploy
from tests import stub
from tests.prefect_server import PrefectServer, Worker, wait_until, working
from tests.projects import Project

TRAIN = "train/train"
RETRAIN = "retrain/retrain"
NUMBERS = count(100_000)
"""Epochs of a training that no test waits for; each another, so that DVC has not seen it before."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def project(folder: Path, prefect_server: PrefectServer) -> Project:
    made = stub.make_stub(folder / "stub")
    prefect_server.deploy(made)
    return made


@pytest.fixture(scope="module")
def worker(folder: Path, project: Project, prefect_server: PrefectServer) -> Iterator[Worker]:
    with working(prefect_server, "gpu", folder / "worker", environment=stub.environment(folder)) as one:
        yield one


class Training:
    """A run of the stub's training, of a commit of its own, and the processes that it is made of."""

    def __init__(self, server: PrefectServer, project: Project, folder: Path, *, epochs: int, pool: str) -> None:
        self.server, self.epochs = server, epochs
        self.checkpoint = folder / "checkpoints" / f"{epochs}.txt"
        commit = {"commit": stub.variant(project, epochs=epochs)}
        self.run = server.start(*(TRAIN, commit) if pool == "gpu" else (RETRAIN, commit | {"train_on": "here"}))

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
def train(prefect_server: PrefectServer, project: Project, folder: Path) -> Iterator[Callable[..., Training]]:
    """Return what starts a training; one that a failed test leaves behind is cancelled."""
    started: list[Training] = []

    def start(*, epochs: int | None = None, pool: str = "gpu") -> Training:
        number = next(NUMBERS) if epochs is None else epochs
        started.append(Training(prefect_server, project, folder, epochs=number, pool=pool))
        return started[-1]

    yield start
    for training in started:
        if prefect_server.run(training.run)["state_type"] in ("RUNNING", "PENDING", "SCHEDULED"):
            prefect_server.cancel(training.run)


def named(processes: list[psutil.Process], words: str) -> psutil.Process:
    """Return the process whose command holds these words."""
    return next(each for each in processes if words in " ".join(each.cmdline()))


def gone(processes: list[psutil.Process], *, seconds: float = 10) -> float:
    """Wait until all have ended, and return how long that took; the test fails when one is left."""
    begin = time.monotonic()

    def none_left() -> bool:
        return not [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]

    wait_until(none_left, "all processes of the run have ended", seconds=seconds)
    return time.monotonic() - begin


def test_cancel_ends_everything_and_the_next_run_is_clean(
    prefect_server: PrefectServer, worker: Worker, train: Callable[..., Training]
) -> None:
    training = train()
    processes = training.processes(worker)
    prefect_server.cancel(training.run)
    print(f"cancel: all gone after {gone(processes):.1f} s")
    assert prefect_server.ended(training.run)["state_type"] == "CANCELLED"
    training.finish()
    training.run = prefect_server.start(TRAIN, prefect_server.run(training.run)["parameters"])
    training.completes()
    wait_until(lambda: "goes on after epoch" in prefect_server.log(training.run), "the log tells that it went on")


def test_a_killed_flow_is_started_again_but_not_for_ever(
    prefect_server: PrefectServer, worker: Worker, train: Callable[..., Training]
) -> None:
    pause = 10.0
    set_automations(prefect_server, pause=pause, tries=2)
    training = train()
    for attempt in range(2):
        processes = training.processes(worker, resumed=attempt)
        named(processes, "prefect.engine").kill()
        print(f"flow killed: all gone after {gone(processes):.1f} s")
    wait_until(lambda: prefect_server.run(training.run)["state_type"] == "CRASHED", "it counts as crashed")
    # What would start it again has had the time to.
    time.sleep(pause + 5)
    run = prefect_server.run(training.run)
    assert (run["state_type"], run["run_count"]) == ("CRASHED", 2)


def test_a_killed_stage_is_tried_again_and_goes_on_from_the_checkpoint(
    prefect_server: PrefectServer, worker: Worker, train: Callable[..., Training]
) -> None:
    training = train()
    processes = training.processes(worker)
    named(processes, "stub.py train").kill()
    training.finish()
    training.completes()
    assert prefect_server.run(training.run)["run_count"] == 1
    assert {task["name"]: task["run_count"] for task in prefect_server.tasks(training.run)}["train"] == 2
    wait_until(lambda: "goes on after epoch" in prefect_server.log(training.run), "the log tells that it went on")


def test_a_poisoned_stage_says_its_own_line_and_does_not_block_the_pool(
    prefect_server: PrefectServer, project: Project, worker: Worker, train: Callable[..., Training]
) -> None:
    commit = stub.variant(project, epochs=5, poison="yes")
    poisoned = prefect_server.start(TRAIN, {"commit": commit})
    healthy = train(epochs=2)
    run = prefect_server.ended(poisoned)
    assert run["state_type"] == "FAILED"
    assert "pairs: poisoned.png: not an image; take it out" in run["state"]["message"]
    assert "Traceback" not in prefect_server.log(poisoned)
    healthy.completes()


def test_a_stage_that_takes_too_long_is_ended_with_its_group(
    prefect_server: PrefectServer, project: Project, worker: Worker
) -> None:
    commit = stub.variant(project, epochs=next(NUMBERS))
    run = prefect_server.start(TRAIN, {"commit": commit, "stage_hours": 6 / 3600})
    ended = prefect_server.ended(run)
    assert ended["state_type"] == "FAILED"
    assert "ended after 6 seconds, which is all it was given" in ended["state"]["message"]
    assert not [each for each in psutil.process_iter(["cmdline"]) if "stub.py" in (each.info["cmdline"] or [])]


def test_a_killed_worker_loses_its_run_to_another(
    prefect_server: PrefectServer, folder: Path, train: Callable[..., Training]
) -> None:
    set_automations(prefect_server, pause=10)
    with working(prefect_server, "cpu", folder / "killed", environment=stub.environment(folder)) as first:
        training = train(pool="cpu")
        processes = training.processes(first)
        os.kill(first.pid, signal.SIGKILL)
        print(f"worker killed: all gone after {gone(processes, seconds=30):.1f} s")
    wait_until(lambda: prefect_server.run(training.run)["state_type"] != "RUNNING", "it is noticed")
    training.finish()
    with working(prefect_server, "cpu", folder / "heir", environment=stub.environment(folder)):
        wait_until(lambda: "goes on after epoch" in prefect_server.log(training.run), "it goes on", seconds=200)
    assert prefect_server.run(training.run)["run_count"] == 2


def set_automations(
    server: PrefectServer, *, silence: float = 600, pause: float = deploy.PAUSE_SECONDS, tries: int = deploy.TRIES
) -> None:
    """Put the automations with other times in the place of those that were deployed."""
    with temporary_settings({PREFECT_API_URL: server.api}), get_client(sync_client=True) as client:
        for automation in deploy.automations(silence=silence, pause=pause, webhook=uuid4(), tries=tries)[:2]:
            deploy.make_automation(client, automation)

"""Retrain on a real Prefect server, by two workers of one pool and one of another, each with checkouts of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from likewise.config import STAGES
from tests import stub
from tests.prefect_server import PrefectServer, wait_until, working
from tests.projects import Project

pytestmark = pytest.mark.timeout(900)

RETRAIN = "retrain/retrain"
EPOCHS = 90_000
"""Of a training that nobody waits for, nor any other test has run."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workers")


@pytest.fixture(scope="module")
def workers(folder: Path, deployed: Project, prefect_server: PrefectServer) -> Iterator[list[int]]:
    """Three machines, as it were: nothing is shared but git, the DVC remote and the servers."""
    variables = stub.environment(folder)
    machines = [
        working(prefect_server, "cpu", folder / "one", environment=variables, limit=1),
        working(prefect_server, "cpu", folder / "two", environment=variables, limit=1),
        working(prefect_server, "gpu", folder / "three", environment=variables),
    ]
    with ExitStack() as stack, ThreadPoolExecutor() as at_once:
        yield [worker.pid for worker in at_once.map(stack.enter_context, machines)]


def test_two_retrains_at_once_run_every_stage_once(
    prefect_server: PrefectServer, deployed: Project, workers: list[int], folder: Path
) -> None:
    commit = {"commit": stub.variant(deployed, epochs=3, data="that nobody has run")}
    runs = [prefect_server.start(RETRAIN, commit) for _ in range(2)]
    ended = [prefect_server.ended(run) for run in runs]
    logs = [prefect_server.log(run) for run in runs]
    assert [run["state_type"] for run in ended] == ["COMPLETED", "COMPLETED"], logs
    assert sorted(stub.ran(folder)) == sorted(STAGES), logs
    assert any("train: on pool gpu" in log for log in logs)
    first, second = sorted(ended, key=lambda run: str(run["start_time"]))
    assert second["start_time"] >= first["end_time"]
    assert first["name"] == "retrain digits: first run"
    shown = prefect_server.artifacts(first["id"])
    assert "| verification.eer | 0.0125 | 0.01 to 0.02 |" in shown["retrain-summary"]["data"]
    assert shown["retrain-roc"]["data"].startswith("data:image/svg+xml,")


def test_cancelling_retrain_ends_its_training_on_the_other_pool(
    prefect_server: PrefectServer, deployed: Project, workers: list[int], folder: Path
) -> None:
    commit = stub.variant(deployed, epochs=EPOCHS)
    run = prefect_server.start(RETRAIN, {"commit": commit})
    wait_until((folder / "checkpoints" / f"{EPOCHS}.txt").exists, "the stage trains")
    trainer = wait_until(lambda: stub_processes(workers), "it is seen")
    name = f"train {commit[:7]}"
    (child,) = prefect_server.post("flow_runs/filter", {"flow_runs": {"name": {"any_": [name]}}})
    prefect_server.cancel(run)
    begin = time.monotonic()
    wait_until(lambda: not any(each.is_running() for each in trainer), "the stage has ended")
    print(f"retrain cancelled: the stage on the other pool ended after {time.monotonic() - begin:.1f} s")
    assert prefect_server.ended(run)["state_type"] == "CANCELLED"
    assert prefect_server.ended(child["id"])["state_type"] == "CANCELLED"


def stub_processes(workers: list[int]) -> list[psutil.Process]:
    """Return the stages that these workers run."""
    children = [child for pid in workers for child in psutil.Process(pid).children(recursive=True)]
    return [child for child in children if "stub.py" in child.cmdline()]

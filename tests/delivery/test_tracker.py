from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from likewise.delivery import tracker, tracking
from likewise.delivery.labels import Labels
from likewise.delivery.tracker import Tracker
from likewise.delivery.tracking import KEY_TAG
from tests.delivery.stores import HISTORY, PARAMS, client, only_run, root, steps
from tests.delivery.test_tracking import layers

__all__ = ["client", "root"]


def test_a_training_becomes_a_finished_run(root: Path, client: MlflowClient) -> None:
    with Tracker(root, "key", params=PARAMS) as tracker:
        assert only_run(client, root).info.status == "RUNNING"
        for done in (1, 2, 3):
            tracker.log_epochs(HISTORY[:done])
    run = only_run(client, root)
    assert (run.info.status, run.data.tags[KEY_TAG]) == ("FINISHED", "key")
    assert run.data.params == {"train.loss": "triplet", "train.margin": "None"}
    assert steps(client, run, "loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert [step for step, _ in steps(client, run, "val_eer")] == [1, 2, 3]
    assert "epoch" not in run.data.metrics
    assert "likewise.experiment" not in run.data.tags


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "KILLED"), (ValueError, "FAILED")])
def test_a_training_that_ends_early_is_taken_up_in_its_run(
    root: Path, client: MlflowClient, error: type[BaseException], status: str
) -> None:
    with pytest.raises(error), Tracker(root, "key", params=PARAMS) as tracker:
        tracker.log_epochs(HISTORY[:2])
        raise error
    first = only_run(client, root)
    assert first.info.status == status
    with Tracker(root, "key", params=PARAMS) as tracker:
        tracker.log_epochs(HISTORY)
    again = only_run(client, root)
    assert again.info.run_id == first.info.run_id
    assert (again.info.status, again.data.tags["likewise.resumed"]) == ("FINISHED", "true")
    assert [step for step, _ in steps(client, again, "loss")] == [1, 2, 3]


def test_another_key_and_a_finished_one_get_a_run_of_their_own(root: Path, client: MlflowClient) -> None:
    for key in ("one", "two", "one"):
        with Tracker(root, key, params=PARAMS):
            pass
    experiment = tracking.experiment_id(client, root)
    found = client.search_runs([experiment], order_by=["attributes.start_time ASC"])
    assert [run.data.tags[KEY_TAG] for run in found] == ["one", "two", "one"]
    newest = tracking.find_run(client, experiment, "one")
    assert newest is not None
    assert newest.info.run_id == found[2].info.run_id
    assert tracking.find_run(client, experiment, "three") is None


def test_epochs_that_are_there_are_not_logged_again_and_gaps_are_filled(root: Path, client: MlflowClient) -> None:
    with Tracker(root, "key", params=PARAMS) as tracker:
        tracker.log_epochs([HISTORY[1]])
        tracker.log_epochs(HISTORY)
        tracker.log_epochs(HISTORY)
    assert steps(client, only_run(client, root), "loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]


def test_what_was_before_the_first_epoch_is_logged_once(root: Path, client: MlflowClient) -> None:
    seen = tracking.records(pd.DataFrame(HISTORY), layers())
    with Tracker(root, "key", params=PARAMS) as tracker:
        for done in (2, 3, 4):
            tracker.log_epochs(seen[:done])
    run = only_run(client, root)
    assert steps(client, run, "layers/activation_var/head") == [(e, e + 0.5) for e in range(4)]
    assert steps(client, run, "loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]


def test_a_run_carries_its_labels_from_the_start(root: Path, client: MlflowClient) -> None:
    with Tracker(root, "key", params=PARAMS, labels=Labels("digits conv", {"likewise.kind": "image"})):
        run = only_run(client, root)
    assert (run.info.run_name, run.data.tags["likewise.kind"]) == ("digits conv", "image")


def test_the_machine_is_read_with_every_epoch(root: Path, client: MlflowClient) -> None:
    with Tracker(root, "key", params=PARAMS) as tracking_it:
        for done in (1, 2, 3):
            tracking_it.log_epochs(HISTORY[:done])
    run = only_run(client, root)
    for name in ("system/cpu_utilization_percentage", "system/process_memory_usage_megabytes"):
        assert [step for step, _ in steps(client, run, name)] == [1, 2, 3]


@pytest.mark.parametrize("ended", ["refused", "silent"])
def test_a_server_that_is_dead_from_the_start_costs_less_than_ten_seconds_in_all(
    ended: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import mlflow  # noqa: F401 - what importing it takes is not the server's fault

    before = dict(os.environ)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        if ended == "refused":
            server.close()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        start = time.monotonic()
        with Tracker(tmp_path, "key", params=PARAMS) as tracking_it:
            for done in range(1, 13):
                tracking_it.log_epochs([{"epoch": epoch, "loss": 1.0} for epoch in range(1, done + 1)])
        assert time.monotonic() - start < (10 if ended == "silent" else 3)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert dict(os.environ) == before
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"train: MLflow cannot be reached (API request to {address}")
    assert line.endswith("; training goes on, and `likewise register` fills the run in when it is back")


class Broken:
    """A store whose `log_batch` does what it is told: fails, or hangs until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls, self.broken, self.hanging = 0, False, False
        self.go_on = threading.Event()
        sound = MlflowClient.log_batch

        def log_batch(*args: Any, **named: Any) -> Any:
            self.calls += 1
            if self.hanging:
                self.go_on.wait(60)
                raise MlflowException("too late")
            if self.broken:
                raise MlflowException("the server\nis gone")
            return sound(*args, **named)

        monkeypatch.setattr(MlflowClient, "log_batch", log_batch)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Iterator[Broken]:
    made = Broken(monkeypatch)
    yield made
    made.go_on.set()


def settle(tracking_it: Tracker) -> None:
    """Wait until the writer has done what it was asked."""
    assert tracking_it._ask(wait=30)


def test_what_failed_is_logged_when_the_server_is_back(
    root: Path, client: MlflowClient, broken: Broken, capsys: pytest.CaptureFixture[str]
) -> None:
    with Tracker(root, "key", params=PARAMS) as tracking_it:
        broken.broken = True
        for done in (1, 2):
            tracking_it.log_epochs(HISTORY[:done])
            settle(tracking_it)
        broken.broken = False
        tracking_it.log_epochs(HISTORY)
    run = only_run(client, root)
    assert run.info.status == "FINISHED"
    assert steps(client, run, "loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert capsys.readouterr().err.splitlines() == [
        "train: MLflow cannot be reached (the server); training goes on, and `likewise register` fills the run in when "
        "it is back",
        "train: MLflow is back, and the run is whole again",
    ]


def test_a_run_that_could_not_be_begun_is_one_run_and_not_a_resumed_one(
    root: Path, client: MlflowClient, broken: Broken
) -> None:
    broken.broken = True
    with Tracker(root, "key", params=PARAMS) as tracking_it:
        tracking_it.log_epochs(HISTORY[:1])
        settle(tracking_it)
        broken.broken = False
        tracking_it.log_epochs(HISTORY)
    run = only_run(client, root)
    assert (run.info.status, run.data.params) == ("FINISHED", {"train.loss": "triplet", "train.margin": "None"})
    assert "likewise.resumed" not in run.data.tags
    assert steps(client, run, "loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]


def test_a_call_that_hangs_in_mid_training_delays_its_end_alone_and_no_more_than_allowed(
    root: Path,
    client: MlflowClient,
    broken: Broken,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(tracker, "EMBEDDED_WAIT_SECONDS", 1.5)
    with Tracker(root, "key", params=PARAMS) as tracking_it:
        tracking_it.log_epochs(HISTORY[:1])
        settle(tracking_it)
        broken.hanging = True
        start = time.monotonic()
        for done in (2, 3):
            tracking_it.log_epochs(HISTORY[:done])
        assert time.monotonic() - start < 0.5
    assert 1 < time.monotonic() - start < 4
    assert broken.calls == 3
    assert (
        capsys.readouterr().err == "train: MLflow does not answer; `likewise register` fills the run in when it does\n"
    )
    broken.hanging = False
    run = only_run(client, root)
    assert run.info.status == "RUNNING"
    tracking.log_history(client, run.info.run_id, HISTORY, logged=tracking.logged_epochs(client, run.info.run_id))
    assert steps(client, run, "loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]


def test_the_writer_is_waited_for_within_the_ten_seconds() -> None:
    assert 2 * tracker.WAIT_SECONDS <= 9


def test_a_writer_that_breaks_down_holds_nobody_up(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    seen: list[type[BaseException]] = []
    monkeypatch.setattr(threading, "excepthook", lambda broken: seen.append(broken.exc_type))
    monkeypatch.setattr(tracking, "find_run", bug)
    start = time.monotonic()
    with Tracker(root, "key", params=PARAMS) as tracking_it:
        tracking_it.log_epochs(HISTORY)
    assert time.monotonic() - start < tracker.EMBEDDED_WAIT_SECONDS / 4
    assert seen == [ZeroDivisionError]

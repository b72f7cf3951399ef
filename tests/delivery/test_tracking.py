from __future__ import annotations

import os
import shutil
import socket
import time
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from likewise.delivery import tracking
from likewise.delivery.tracking import KEY_TAG, Tracker

HISTORY = [{"epoch": epoch, "loss": 1 / epoch, "val_eer": 0.1 * epoch} for epoch in (1, 2, 3)]
PARAMS = {"train.loss": "triplet", "train.margin": None}


@pytest.fixture
def root(tmp_path: Path, empty_store: Path) -> Path:
    made = tmp_path / "project"
    made.mkdir()
    shutil.copy2(empty_store, made)
    return made


@pytest.fixture
def client(root: Path) -> MlflowClient:
    return tracking.connect(tracking.tracking_uri(root))


def only_run(client: MlflowClient, root: Path) -> Run:
    (run,) = client.search_runs([tracking.experiment_id(client, root)])
    return run


def steps(client: MlflowClient, run: Run, name: str) -> list[tuple[int, float]]:
    return sorted((metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name))


def test_the_store_is_the_variables_or_a_file_in_the_main_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tracking.tracking_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    assert tracking.tracking_uri(Path("/p/.dvc/tmp/exps/tmpabc")) == "sqlite:////p/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://there:5000")
    assert tracking.tracking_uri(tmp_path) == "http://there:5000"


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


def test_an_experiment_is_named(root: Path, client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "tried-it")
    with Tracker(root, "key", params=PARAMS):
        pass
    assert only_run(client, root).data.tags["likewise.experiment"] == "tried-it"


def test_epochs_that_are_there_are_not_logged_again_and_gaps_are_filled(root: Path, client: MlflowClient) -> None:
    with Tracker(root, "key", params=PARAMS) as tracker:
        tracker.log_epochs([HISTORY[1]])
        tracker.log_epochs(HISTORY)
        tracker.log_epochs(HISTORY)
    assert steps(client, only_run(client, root), "loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]


def test_a_long_history_is_logged_whole(root: Path, client: MlflowClient) -> None:
    experiment = tracking.experiment_id(client, root)
    run = client.create_run(experiment)
    tracking.log_history(client, run.info.run_id, [{"epoch": e, "loss": 0.5, "x": 1.0} for e in range(1, 701)])
    assert len(steps(client, run, "loss")) == len(steps(client, run, "x")) == 700


def test_artifacts_lie_beside_the_store_wherever_one_stands(
    root: Path, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = client.get_experiment(tracking.experiment_id(client, root))
    assert found.artifact_location == (root / "mlartifacts").as_uri()
    assert tracking.experiment_id(client, root) == found.experiment_id


def test_a_server_that_goes_away_is_said_once_and_left_alone(
    root: Path, client: MlflowClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = 0

    def gone(*_: object, **__: object) -> None:
        nonlocal calls
        calls += 1
        raise MlflowException("the server\nis gone")

    with Tracker(root, "key", params=PARAMS) as tracker:
        tracker.log_epochs(HISTORY[:1])
        monkeypatch.setattr(MlflowClient, "log_batch", gone)
        for done in (2, 3):
            tracker.log_epochs(HISTORY[:done])
    assert calls == 1
    assert capsys.readouterr().err == (
        "train: MLflow cannot be reached (the server); training goes on, and `likewise register` fills the run in "
        "when it is back\n"
    )


def test_a_server_that_never_answers_costs_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        with Tracker(tmp_path, "key", params=PARAMS) as tracker:
            tracker.log_epochs(HISTORY)
        assert time.monotonic() - start < 8


def test_in_use_points_mlflow_there_and_back(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = tracking.tracking_uri(root)
    with tracking.in_use(uri) as client:
        assert mlflow.get_tracking_uri() == uri
        assert client.tracking_uri == uri
    assert "MLFLOW_TRACKING_URI" not in os.environ
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://there:5000")
    with pytest.raises(RuntimeError), tracking.in_use(uri):
        raise RuntimeError
    assert mlflow.get_tracking_uri() == os.environ["MLFLOW_TRACKING_URI"] == "http://there:5000"
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]


def test_the_users_patience_is_kept(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    tracking.connect(tracking.tracking_uri(root))
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "0"


def layers() -> pd.DataFrame:
    rows = [(epoch, layer, epoch + 0.5, None) for epoch in range(4) for layer in ("a.0", "head")]
    return pd.DataFrame(rows, columns=["epoch", "layer", "activation_var", "gradient_var"])


def test_records_are_plain_numbers_an_epoch_with_its_layers_and_one_before_it() -> None:
    records = tracking.records(pd.DataFrame(HISTORY), layers())
    before = {"epoch": 0.0, "layers/activation_var/a.0": 0.5, "layers/activation_var/head": 0.5}
    assert records[0] == before
    for row, record in zip(HISTORY, records[1:], strict=True):
        seen = {f"layers/activation_var/{layer}": row["epoch"] + 0.5 for layer in ("a.0", "head")}
        assert record == {key: float(value) for key, value in row.items()} | seen


def test_what_was_before_the_first_epoch_is_logged_once(root: Path, client: MlflowClient) -> None:
    seen = tracking.records(pd.DataFrame(HISTORY), layers())
    with Tracker(root, "key", params=PARAMS) as tracker:
        for done in (2, 3, 4):
            tracker.log_epochs(seen[:done])
    run = only_run(client, root)
    assert steps(client, run, "layers/activation_var/head") == [(e, e + 0.5) for e in range(4)]
    assert steps(client, run, "loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError(""), "ValueError"),
        (OSError(" with an end. "), "with an end"),
        (ValueError("x" * 900), "x" * 300),
    ],
)
def test_a_reason_is_one_short_line(error: Exception, said: str) -> None:
    assert tracking.reason(error) == said

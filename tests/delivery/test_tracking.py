from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient

from likewise.delivery import tracking
from likewise.delivery.labels import Labels
from tests.delivery.stores import HISTORY, PARAMS, client, only_run, root, steps

__all__ = ["client", "root"]


def test_the_store_is_the_variables_or_a_file_in_the_main_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tracking.tracking_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    assert tracking.tracking_uri(Path("/p/.dvc/tmp/exps/tmpabc")) == "sqlite:////p/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://there:5000")
    assert tracking.tracking_uri(tmp_path) == "http://there:5000"


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


def test_settings_leave_the_environment_as_it_was_and_the_users_patience_alone(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    before = dict(os.environ)
    with tracking.settings(tracking.IMPATIENT):
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
        assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "0"
        assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert dict(os.environ) == before
    with pytest.raises(RuntimeError), tracking.settings(tracking.PATIENT):
        raise RuntimeError
    assert dict(os.environ) == before
    tracking.connect(tracking.tracking_uri(root))
    assert dict(os.environ) == before


def test_a_store_in_use_is_given_time_and_leaves_no_trace(root: Path) -> None:
    before = dict(os.environ)
    with tracking.in_use(tracking.tracking_uri(root)):
        assert int(os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"]) >= 30
        assert int(os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]) >= 1
    assert dict(os.environ) == before


def test_a_server_that_never_answers_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "KNOCKING", tracking.IMPATIENT)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        with (
            pytest.raises(tracking.failures(), match="timed out"),
            tracking.in_use(f"http://127.0.0.1:{silent.getsockname()[1]}"),
        ):
            pytest.fail("it was never there")
        assert 2 < time.monotonic() - start < 15


def test_figures_logged_again_at_their_time_are_no_second_ones(root: Path, client: MlflowClient) -> None:
    run = client.create_run(tracking.experiment_id(client, root))
    for _ in range(2):
        tracking.log_history(client, run.info.run_id, HISTORY, times={1: 1000, 2: 2000, 3: 3000})
    assert steps(client, run, "loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    times = [metric.timestamp for metric in client.get_metric_history(run.info.run_id, "loss")]
    assert sorted(times) == [1000, 2000, 3000]


def test_more_params_than_mlflow_takes_at_once_are_all_there(root: Path, client: MlflowClient) -> None:
    run = tracking.create_run(client, tracking.experiment_id(client, root), "key", Labels("a name", {"a": "b"}))
    tracking.log_params(client, run.info.run_id, PARAMS | {f"p.{number}": number for number in range(150)})
    found = only_run(client, root)
    assert len(found.data.params) == 152
    assert (found.info.run_name, found.data.tags["a"], found.data.tags[tracking.KEY_TAG]) == ("a name", "b", "key")

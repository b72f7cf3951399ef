"""The MLflow run of a training: found by its train key, filled an epoch at a time, never in training's way."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from likewise.config import main_checkout

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

EXPERIMENT = "likewise"
KEY_TAG = "likewise.train_key"
WEIGHTS_TAG = "likewise.weights_sha256"
"""Of a model's version: what `weights_sha256` is in its `model.json`."""

SQLITE = "sqlite:///"

# A tracking server that is down may cost a training seconds, not MLflow's default of many minutes.
_IMPATIENT = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "3", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}


def tracking_uri(root: Path) -> str:
    """Return the tracking store: `MLFLOW_TRACKING_URI`, or the SQLite file in the (main) checkout."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{main_checkout(root) / 'mlflow.db'}"


def connect(uri: str) -> MlflowClient:
    """Return a client of a tracking store and its registry."""
    for name, value in (_IMPATIENT | _QUIET).items():
        os.environ.setdefault(name, value)
    import logging

    for name in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)
    import mlflow

    return mlflow.MlflowClient(uri)


@contextmanager
def in_use(uri: str) -> Iterator[MlflowClient]:
    """Give a client of a store, and point MLflow's own calls at it until the block ends."""
    client = connect(uri)
    import mlflow

    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    try:
        yield client
    finally:
        # MLflow keeps it in the environment, where it would outlive this project.
        mlflow.set_tracking_uri(before)  # type: ignore[arg-type]


def failures() -> tuple[type[Exception], ...]:
    """Return what a store raises that is down, broken or lacks its driver."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError, ImportError, OSError


def reason(error: Exception) -> str:
    """Return what an error says in one short line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300].rstrip(".")


def experiment_id(client: MlflowClient, root: Path) -> str:
    """Return the id of the project's experiment, made where it is missing."""
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    # A server knows where its artifacts go; for a SQLite file they go beside it, and not where this process runs.
    store = tracking_uri(root).removeprefix(SQLITE)
    location = (Path(store).parent / "mlartifacts").as_uri() if store != tracking_uri(root) else None
    return client.create_experiment(EXPERIMENT, artifact_location=location)


def find_run(client: MlflowClient, experiment: str, key: str) -> Run | None:
    """Return the newest run of this train key, or nothing."""
    runs = client.search_runs(
        [experiment], f"tags.`{KEY_TAG}` = '{key}'", order_by=["attributes.start_time DESC"], max_results=1
    )
    return runs[0] if runs else None


def logged_epochs(client: MlflowClient, run_id: str) -> set[int]:
    """Return the epochs that a run has; what was seen before the first has no loss, and goes with it."""
    logged = {metric.step for metric in client.get_metric_history(run_id, "loss")}
    return logged | {0} if logged else logged


def log_history(
    client: MlflowClient, run_id: str, history: Iterable[Mapping[str, float]], *, logged: Container[int] = ()
) -> None:
    """Log the epochs of `history` that are not `logged`, in one call."""
    from mlflow.entities import Metric

    now = milliseconds()
    metrics = [
        Metric(name, float(value), now, int(epoch["epoch"]))
        for epoch in history
        if int(epoch["epoch"]) not in logged
        for name, value in epoch.items()
        if name != "epoch"
    ]
    log_metrics(client, run_id, metrics)


def log_metrics(client: MlflowClient, run_id: str, metrics: Sequence[Metric]) -> None:
    """Log figures, as many in a call as MLflow takes."""
    for start in range(0, len(metrics), 1000):
        client.log_batch(run_id, metrics=metrics[start : start + 1000])


def log_params(client: MlflowClient, run_id: str, params: Mapping[str, object]) -> None:
    """Log params, as many in a call as MLflow takes."""
    from mlflow.entities import Param

    given = [Param(name, str(value)) for name, value in params.items()]
    for start in range(0, len(given), 100):
        client.log_batch(run_id, params=given[start : start + 100])


def records(history: pd.DataFrame, layers: pd.DataFrame) -> list[dict[str, float]]:
    """Return one record an epoch, as `log_history` takes them, with what each layer did in it.

    Args:
        history: one row an epoch.
        layers: one row a layer and epoch, epoch 0 before training; its columns become
            `layers/<column>/<layer>`, which MLflow shows as a section each.
    """
    found: dict[int, dict[str, float]] = {int(epoch): {"epoch": float(epoch)} for epoch in layers["epoch"].unique()}
    for row in history.to_dict("records"):
        found.setdefault(int(row["epoch"]), {}).update({str(k): float(v) for k, v in row.items()})
    for column in layers.columns.drop(["epoch", "layer"]):
        known = layers[layers[column].notna()]
        for epoch, layer, value in zip(known["epoch"], known["layer"], known[column], strict=True):
            found[int(epoch)][f"layers/{column}/{layer}"] = float(value)
    return [found[epoch] for epoch in sorted(found)]


def flat(block: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return params by their names from the top of params.yaml, blocks inside blocks taken apart.

    Example:
        >>> flat({"epochs": 3, "augment": {"flip": 0.5}, "encoder_options": {}}, "train.")
        {'train.epochs': 3, 'train.augment.flip': 0.5, 'train.encoder_options': {}}
    """
    parts: dict[str, Any] = {}
    for name, value in block.items():
        inner = isinstance(value, Mapping) and value
        parts |= flat(value, f"{prefix}{name}.") if inner else {f"{prefix}{name}": value}
    return parts


class Tracker:
    """The run of one training; when the store cannot be reached it says so once and stays out of the way.

    Args:
        root: the project's root.
        key: the train key: an unfinished run that carries it is resumed.
        params: flat names and values, as in `params.yaml`.
    """

    def __init__(self, root: Path, key: str, *, params: Mapping[str, object]) -> None:
        self._client: MlflowClient | None = None
        self._run_id = ""
        self._logged: set[int] = set()
        self._guarded(lambda: self._start(root, key, params))

    def log_epochs(self, history: Iterable[Mapping[str, float]]) -> None:
        """Log the epochs that the run lacks."""
        client, epochs = self._client, list(history)
        if client is not None:
            self._guarded(lambda: log_history(client, self._run_id, epochs, logged=self._logged))
            self._logged |= {int(epoch["epoch"]) for epoch in epochs}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """End the run: `FINISHED`, `KILLED` by an interrupt or a signal, or `FAILED`."""
        status = "FINISHED" if kind is None else "FAILED" if issubclass(kind, Exception) else "KILLED"
        client = self._client
        if client is not None:
            self._guarded(lambda: client.set_terminated(self._run_id, status))

    def _start(self, root: Path, key: str, params: Mapping[str, object]) -> None:
        from mlflow.entities import RunTag

        client = connect(tracking_uri(root))
        experiment = experiment_id(client, root)
        run = find_run(client, experiment, key)
        if run is None or run.info.status == "FINISHED":
            run = client.create_run(experiment, tags={KEY_TAG: key, **_experiment()})
            log_params(client, run.info.run_id, params)
        else:
            client.update_run(run.info.run_id, status="RUNNING")
            self._logged = logged_epochs(client, run.info.run_id)
            client.log_batch(run.info.run_id, tags=[RunTag("likewise.resumed", "true")])
        self._client, self._run_id = client, run.info.run_id

    def _guarded(self, call: Callable[[], None]) -> None:
        try:
            call()
        except failures() as error:
            self._client = None
            print(
                f"train: MLflow cannot be reached ({reason(error)}); training goes on, and "
                "`likewise register` fills the run in when it is back",
                file=sys.stderr,
                flush=True,
            )


def _experiment() -> dict[str, str]:
    name = os.environ.get("DVC_EXP_NAME")
    return {"likewise.experiment": name} if name else {}


def milliseconds() -> int:
    """Return the time as MLflow counts it."""
    return int(time.time() * 1000)

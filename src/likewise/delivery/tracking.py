"""The MLflow store: where it is, how long one waits for it, and the runs in it, found by their train key."""

from __future__ import annotations

import os
import time
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from likewise.config import main_checkout

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

    from likewise.delivery.labels import Labels

EXPERIMENT = "likewise"
KEY_TAG = "likewise.train_key"
RESUMED_TAG = "likewise.resumed"
"""Of a run: its training was cut short and went on."""
WEIGHTS_TAG = "likewise.weights_sha256"
"""Of a model's version: what `weights_sha256` is in its `model.json`."""

SQLITE = "sqlite:///"
DATABASES = ("postgresql", "mysql", "mssql")
"""What the address of a database begins with that is used without a server before it."""

IMPATIENT = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "3", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "PGCONNECT_TIMEOUT": "3"}
"""While training: another attempt comes with the next epoch."""
PATIENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "PGCONNECT_TIMEOUT": "10",
}
"""For everything else: a server may be slow, or just starting again."""
KNOCKING = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "20", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "PGCONNECT_TIMEOUT": "10"}
"""For the first request: nobody waits minutes for a server that never answers."""
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def tracking_uri(root: Path) -> str:
    """Return the tracking store: `MLFLOW_TRACKING_URI`, or the SQLite file in the (main) checkout."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{main_checkout(root) / 'mlflow.db'}"


@contextmanager
def settings(patience: Mapping[str, str]) -> Iterator[None]:
    """Set what the caller's environment does not set itself, and take it away when the block ends.

    MLflow reads how long to wait, and whether to report its use, from the environment, at every call.
    """
    added = {name: value for name, value in (_QUIET | dict(patience)).items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def connect(uri: str) -> MlflowClient:
    """Return a client of a tracking store and its registry."""
    import logging

    with settings({}):
        import mlflow

        # After the import, which resets them.
        for name in ("alembic", "mlflow.pyfunc", "mlflow.store.db.utils", "mlflow.store.model_registry"):
            logging.getLogger(name).setLevel(logging.WARNING)
        if uri.startswith(DATABASES):
            _try_database(uri)
        return mlflow.MlflowClient(uri)


def _try_database(uri: str) -> None:
    """Connect once, for MLflow would try ten times, which takes two minutes.

    Raises:
        SQLAlchemyError: when the database cannot be reached.
    """
    import sqlalchemy

    engine = sqlalchemy.create_engine(uri)
    try:
        engine.connect().close()
    finally:
        engine.dispose()


@contextmanager
def in_use(uri: str) -> Iterator[MlflowClient]:
    """Give a client of a store, and point MLflow's own calls at it until the block ends."""
    with settings(KNOCKING):
        client = connect(uri)
        if not uri.startswith(SQLITE):
            client.search_experiments(max_results=1)
    import mlflow

    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    try:
        with settings(PATIENT):
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
    if found is None:
        # A server knows where its artifacts go; for a SQLite file they go beside it, and not where this process runs.
        store = tracking_uri(root).removeprefix(SQLITE)
        location = (Path(store).parent / "mlartifacts").as_uri() if store != tracking_uri(root) else None
        with unless_there():
            return client.create_experiment(EXPERIMENT, artifact_location=location)
        found = client.get_experiment_by_name(EXPERIMENT)
    return str(found.experiment_id)


@contextmanager
def unless_there() -> Iterator[None]:
    """Make something in the store, which another process may have made a moment ago: then that is it."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def find_run(client: MlflowClient, experiment: str, key: str) -> Run | None:
    """Return the newest run of this train key, or nothing."""
    runs = client.search_runs(
        [experiment], f"tags.`{KEY_TAG}` = '{key}'", order_by=["attributes.start_time DESC"], max_results=1
    )
    return runs[0] if runs else None


def create_run(client: MlflowClient, experiment: str, key: str, labels: Labels, **tags: str) -> Run:
    """Make the run of a training."""
    return client.create_run(experiment, tags={KEY_TAG: key, **labels.tags, **tags}, run_name=labels.name or None)


def log_dataset(client: MlflowClient, run: Run, labels: Labels) -> None:
    """Log the data set of a run that has none."""
    if labels.dataset is not None and not (run.inputs and run.inputs.dataset_inputs):
        client.log_inputs(run.info.run_id, [labels.dataset.as_input()])


def logged_epochs(client: MlflowClient, run_id: str) -> set[int]:
    """Return the epochs that a run has; what was seen before the first has no loss, and goes with it."""
    logged = {metric.step for metric in client.get_metric_history(run_id, "loss")}
    return logged | {0} if logged else logged


def log_history(
    client: MlflowClient,
    run_id: str,
    history: Iterable[Mapping[str, float]],
    *,
    logged: Container[int] = (),
    times: Mapping[int, int] | None = None,
) -> None:
    """Log the epochs of `history` that are not `logged`, in one call.

    Args:
        client: of the store.
        run_id: of the run.
        history: a record an epoch.
        logged: epochs that are left out.
        times: when each epoch ended, in milliseconds; now where it is not told. Logged again with the same time, a
            figure is the same one to MLflow, and not a second.
    """
    from mlflow.entities import Metric

    now, times = milliseconds(), times or {}
    metrics = [
        Metric(name, float(value), times.get(int(epoch["epoch"]), now), int(epoch["epoch"]))
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


def fetched(source: str, root: Path) -> Path:
    """Return a file: this one, or a copy of what the tracking store has at an address such as `runs:/ID/best.yaml`.

    Raises:
        ValueError: when the store has no such file, or does not answer.
    """
    if ":/" not in source:
        return Path(source)
    try:
        with in_use(tracking_uri(root)), settings(PATIENT):
            import mlflow

            return Path(mlflow.artifacts.download_artifacts(source))
    except failures() as error:
        raise ValueError(f"{source}: {reason(error)}") from None


def milliseconds() -> int:
    """Return the time as MLflow counts it."""
    return int(time.time() * 1000)

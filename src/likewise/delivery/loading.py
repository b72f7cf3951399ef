"""A model by its address: a folder, or a version in the registry."""

from __future__ import annotations

import os
from pathlib import Path

from likewise.config import ConfigError, project_root
from likewise.delivery import tracking
from likewise.delivery.model import Model, ModelError

MODEL_FOLDER = Path("artifacts", "model")
"""Where the model's files lie inside a version's artifacts."""


def load(source: str | Path = "models:/likewise@champion") -> Model:
    """Load a model from a folder, or from the registry by `models:/name@alias` or `models:/name/version`.

    Raises:
        ModelError: when there is no such model, the registry cannot be reached, or its files are broken.
    """
    if not str(source).startswith("models:/"):
        return Model.from_folder(Path(source))
    return Model.from_folder(download(str(source)))


def download(address: str, root: Path | None = None) -> Path:
    """Return the local folder with the files of the model at `address` in the registry of a project (default: here).

    Raises:
        ModelError: when there is no such model, or the registry cannot be reached.
    """
    import mlflow

    try:
        with tracking.in_use(registry_of(address, root)):
            return Path(mlflow.artifacts.download_artifacts(address)) / MODEL_FOLDER
    except tracking.failures() as error:
        raise ModelError(f"{address}: {tracking.reason(error)}; `make repro` makes and registers a model") from None


def registry_of(address: str, root: Path | None = None) -> str:
    """Return where the registry of a project (default: here) is; MLflow would make an empty one where there is none.

    Raises:
        ModelError: when there is none, or nothing says where it is; names the `address` that was to be found in it.
    """
    try:
        uri = tracking.tracking_uri(root or project_root())
    except ConfigError:
        uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri:
        raise ModelError(f"{address}: outside a project MLFLOW_TRACKING_URI must say where the registry is")
    file = Path(uri.removeprefix(tracking.SQLITE))
    if uri.startswith(tracking.SQLITE) and not file.is_file():
        raise ModelError(f"{address}: there is no registry {file} yet; `make repro` makes and registers a model")
    return uri

"""A model by its address: a folder, or a version in the registry."""

from __future__ import annotations

from contextlib import suppress
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


def download(address: str) -> Path:
    """Return the local folder with the files of the model at `address` in the registry.

    Raises:
        ModelError: when there is no such model, or the registry cannot be reached.
    """
    # Outside a project MLflow's own settings say where the registry is.
    with suppress(ConfigError):
        tracking.connect(project_root())
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        return Path(mlflow.artifacts.download_artifacts(address)) / MODEL_FOLDER
    except (MlflowException, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ModelError(f"{address}: {reason}; `make repro` makes and registers a model") from None

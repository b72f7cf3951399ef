"""A model by its address: a folder, or a version in the registry."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from likewise import files
from likewise.config import ConfigError, project_root
from likewise.delivery import tracking
from likewise.delivery.exported import Exported
from likewise.delivery.model import Model, ModelError

MODEL_FOLDER = Path("artifacts", "model")
"""Where the model's files lie inside a version's artifacts."""


BEHIND_A_SERVER = "mlflow-artifacts URI"
"""In what MLflow says where a server registered a version and its store is then read without the server."""
ASK_THE_SERVER = "its files are kept by the MLflow server that registered it; set MLFLOW_TRACKING_URI to its address"

PLACES = (Path(), Path("model"), Path(files.EXPORTED_MODEL), MODEL_FOLDER)
"""Where a folder may hold a model: in itself, as `data/export` does, as a project does, as a version's folder does."""


def load(source: str | Path = "models:/likewise@champion", *, device: str = "cpu") -> Model:
    """Load a model from a folder, or from the registry by `models:/name@alias` or `models:/name/version`.

    A folder is one of a model's files, a project's `data/export` (the model with its embeddings), the project itself,
    or that of a version downloaded from the registry. `Model.search` looks in the embeddings beside the model; for one
    from the registry in those of the project that this is called in, and refuses them if other weights made them.

    Args:
        source: the folder or the address.
        device: `cpu`, `cuda`, or `auto`: a GPU where there is one.

    Raises:
        ModelError: when there is no such model, the registry cannot be reached, or its files are broken.
        ValueError: when the device is not there.
    """
    registered = str(source).startswith("models:/")
    with TemporaryDirectory(prefix="likewise-model-") as fetched:
        folder = download(str(source), to=Path(fetched)) if registered else folder_of(source)
        model = Model.from_folder(folder)
    model.exported = _exported(model, _here() if registered else folder)
    if device != "cpu":
        from likewise import runtime

        model.encoder.to(runtime.device(device))
    return model


def folder_of(source: str | Path) -> Path:
    """Return the local folder that holds the files of a model, whose address is as `load` takes it.

    Raises:
        ModelError: when there is no such version, or the registry cannot be reached.
    """
    return download(str(source)) if str(source).startswith("models:/") else _model_in(Path(source))


def _model_in(folder: Path) -> Path:
    """Return where in a folder the model is; the folder itself where there is none, for the message."""
    description = Path(files.MODEL.path).name
    return next((folder / place for place in PLACES if (folder / place / description).is_file()), folder)


def _here() -> Path | None:
    try:
        return project_root() / files.EXPORTED_MODEL
    except ConfigError:
        return None


def _exported(model: Model, folder: Path | None) -> Exported | None:
    """Return the embeddings beside a model's folder, if there are any; whether its weights made them is seen later."""
    if folder is None or not (folder.parent / files.ABOUT_INDEX).is_file():
        return None
    return Exported(folder.parent, model.weights)


def download(address: str, root: Path | None = None, *, to: Path | None = None) -> Path:
    """Return the local folder with the files of the model at `address` in the registry of a project (default: here).

    Nothing else of the version is fetched: its code alone is hundreds of files, each a request to a server.

    Args:
        address: as `load` takes it.
        root: the project's root.
        to: a folder for them; none: where they are, if that is on this disk, else one that stays when all has ended.

    Raises:
        ModelError: when there is no such model, or the registry cannot be reached.
    """
    import mlflow

    files_of_it, place = f"{address}/{MODEL_FOLDER.as_posix()}", None if to is None else str(to)
    try:
        with tracking.in_use(registry_of(address, root)):
            return Path(mlflow.artifacts.download_artifacts(files_of_it, dst_path=place))
    except tracking.failures() as error:
        if BEHIND_A_SERVER in str(error):
            raise ModelError(f"{address}: {ASK_THE_SERVER}") from None
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

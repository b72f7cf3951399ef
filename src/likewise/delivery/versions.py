"""Versions in the registry as a person names them, and the files that each keeps."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from likewise.delivery import loading, tracking
from likewise.delivery.dvc_lock import LOCK_FILE, Stage
from likewise.delivery.dvc_lock import read as read_lock
from likewise.delivery.provenance import IDENTITY_TAG
from likewise.delivery.store import RegistryError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

SCHEME = "models:/"
PIPELINE = "artifacts/pipeline"
"""Where a version keeps what it can be made again from; versions of before that have it in their run."""


@contextmanager
def reading(root: Path | None) -> Iterator[MlflowClient]:
    """Give a client of a project's registry, or of the one that `MLFLOW_TRACKING_URI` names; nothing is made.

    Raises:
        RegistryError: when there is none, or it is down, broken or lacks its driver.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "") if root is None else tracking.tracking_uri(root)
    if not uri:
        raise RegistryError("outside a project MLFLOW_TRACKING_URI must say where the registry is")
    file = Path(uri.removeprefix(tracking.SQLITE))
    if uri.startswith(tracking.SQLITE) and not file.is_file():
        raise RegistryError(f"there is no registry {file} yet; `make repro` makes and registers a model")
    try:
        with tracking.in_use(uri) as client:
            yield client
    except tracking.failures() as error:
        raise RegistryError(f"MLflow: {tracking.reason(error)}") from None


def find(client: MlflowClient, address: str, name: str) -> ModelVersion:
    """Return a version by its address: `models:/name@alias`, `name/3`, `name@alias`, `3`, or an alias alone.

    Args:
        client: of the registry.
        address: as a person gives it.
        name: the registered model that is meant where the address names none.

    Raises:
        RegistryError: when there is no such version; those that are there are listed.
    """
    name, version, alias = parts(address, name)
    known = {int(each.version): each for each in client.search_model_versions(f"name = '{name}'")}
    if not known:
        raise RegistryError(f"{address}: the registry has no model {name!r}")
    if alias is None:
        number = version
    else:
        aliases = client.get_registered_model(name).aliases
        number = int(aliases[alias]) if alias in aliases else None
    if number not in known:
        raise RegistryError(f"{address}: there is no such version of {name}; known: {_listed(client, name, known)}")
    return client.get_model_version(name, str(number))


def parts(address: str, name: str) -> tuple[str, int | None, str | None]:
    """Return an address as name, version and alias, one of the last two None.

    Example:
        >>> parts("models:/likewise@champion", "x"), parts("likewise/3", "x"), parts("3", "x"), parts("champion", "x")
        (('likewise', None, 'champion'), ('likewise', 3, None), ('x', 3, None), ('x', None, 'champion'))
    """
    text = address.removeprefix(SCHEME).strip("/")
    if match := re.fullmatch(r"(?:(?P<name>[^/@'`\"]+)/)?(?P<version>\d+)", text):
        return match["name"] or name, int(match["version"]), None
    if match := re.fullmatch(r"(?:(?P<name>[^/@'`\"]+)?@)?(?P<alias>[^/@'`\"]+)", text):
        return match["name"] or name, None, match["alias"]
    raise RegistryError(f"{address}: not a version; such as 3, champion, {name}/3 or {SCHEME}{name}@champion")


def every(client: MlflowClient) -> Iterator[ModelVersion]:
    """Yield all versions that Likewise has registered, of all models: by name, the newest first."""
    for model in client.search_registered_models():
        wanted, order, token = f"name = '{model.name}'", ["version_number DESC"], None
        while token != "":
            page = client.search_model_versions(wanted, order_by=order, page_token=token)
            yield from (found for found in page if IDENTITY_TAG in found.tags)
            token = page.token or ""


def pipeline(found: ModelVersion, folder: Path) -> Path | None:
    """Return the folder with what a version keeps of its pipeline, fetched into `folder` where it is not on this disk.

    None where neither the version nor its run has any.

    Raises:
        RegistryError: when a server has them that is not asked.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    for address in (f"{SCHEME}{found.name}/{found.version}/{PIPELINE}", f"runs:/{found.run_id}/pipeline"):
        try:
            return Path(mlflow.artifacts.download_artifacts(address, dst_path=str(folder)))
        except (MlflowException, OSError) as error:
            if loading.BEHIND_A_SERVER in str(error):
                raise RegistryError(f"{found.name} {found.version}: {loading.ASK_THE_SERVER}") from None
    return None


def stages(kept: Path | None) -> dict[str, Stage]:
    """Return what the kept dvc.lock says of each stage but register, which ended after it; nothing without one."""
    path = None if kept is None else kept / LOCK_FILE
    found = read_lock(path) if path is not None and path.is_file() else {}
    return {name: stage for name, stage in found.items() if name != "register"}


def _listed(client: MlflowClient, name: str, known: dict[int, ModelVersion]) -> str:
    aliases = {int(version): alias for alias, version in client.get_registered_model(name).aliases.items()}
    return ", ".join(f"{number} ({aliases[number]})" if number in aliases else str(number) for number in sorted(known))

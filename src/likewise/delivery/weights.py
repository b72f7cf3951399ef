"""An encoder by what its weights are: found in the registry by their SHA-256, whatever its name, version and alias."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from likewise import artifacts
from likewise.delivery import loading, tracking
from likewise.delivery.model import ModelError, load_encoder

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

    from likewise.learning.encoders import Network


def load_by_weights(digest: str, root: Path) -> tuple[Network, str]:
    """Return the encoder with these weights, in evaluation mode, and the name of its distance.

    A stage may name a model so, and not by an alias or a version: the hash is in its params, where DVC sees it, and
    it names the same weights wherever the registry is. The project's own `models/train` is not looked at, though its
    weights may be those: it is the output of a later stage, which DVC deletes and makes anew, so that what an earlier
    stage finds there would depend on when it ran. A model that was registered stays.

    Args:
        digest: the `weights_sha256` of the model's `model.json`, which its version carries as a tag.
        root: the project's root; its registry is searched.

    Raises:
        ModelError: when no version has these weights, the registry cannot be reached, or its files are broken.
    """
    address = _address(digest, root)
    with TemporaryDirectory(prefix="likewise-model-") as fetched:
        folder = loading.download(address, root, to=Path(fetched))
        description, weights = (folder / Path(path).name for path in (artifacts.MODEL.path, artifacts.WEIGHTS.path))
        loaded = load_encoder(description, weights)
        if artifacts.file_sha256(weights) != digest:
            raise ModelError(f"{address}: tagged with weights {digest}, but it has others; delete this version")
    return loaded


def _address(digest: str, root: Path) -> str:
    """Return the address of a version with these weights: of several the first, which stays the first."""
    wanted = f"weights {digest}"
    try:
        with tracking.in_use(loading.registry_of(wanted, root)) as client:
            found = client.search_model_versions(f"tags.`{tracking.WEIGHTS_TAG}` = '{digest}'")
    except tracking.failures() as error:
        raise ModelError(f"{wanted}: {tracking.reason(error)}") from None
    if not found:
        raise ModelError(
            f"{wanted}: no registered model has them; give the tag {tracking.WEIGHTS_TAG} of a version, or the "
            "sha256sum of its encoder.safetensors"
        )
    first = min(found, key=_place)
    return f"models:/{first.name}/{first.version}"


def _place(version: ModelVersion) -> tuple[str, int]:
    return version.name, int(version.version)

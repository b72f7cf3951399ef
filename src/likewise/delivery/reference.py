"""What later samples are compared with: the embeddings and inputs of the data that a model was made from.

The gallery is what it was trained on. The reference is what was held out: the embeddings of training samples lie nearer
to each other than those of any new ones, so that all that comes would seem to have drifted.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from likewise import artifacts
from likewise.data.cleaning import CONFLICT, DUPLICATE, SMALL
from likewise.delivery import scratch, versions
from likewise.delivery.arrivals import QUARANTINE
from likewise.delivery.gallery import Gallery
from likewise.delivery.model import Model
from likewise.delivery.parts import EMBEDDED, REFUSED, Pile
from likewise.evaluation.drift import Rate, Side, Vectors

NEEDED = (artifacts.EMBEDDINGS.path, artifacts.ABOUT_INDEX.path, artifacts.SUMMARY.path, artifacts.QUARANTINE.path)
"""The files of a project that tell of the reference."""


class ReferenceMismatch(ValueError):  # noqa: N818 - it reads as what is wrong
    """A reference that is missing or another model's."""


def bring(root: Path, address: str, model: Model, place: Path) -> Path:
    """Return the root of a project that has the reference of a registered model: this one, or one made in `place`.

    What a checkout holds need not be what the model was made from. Then the version's own `dvc.lock` names what was,
    and DVC's cache or remote has it.

    Args:
        root: the root of the project that is checked out.
        address: of the model in the registry.
        model: the model.
        place: an empty folder.

    Raises:
        ReferenceMismatch: when it cannot be had.
        RegistryError: when the registry cannot be reached.
    """
    if _there(root, model):
        return root
    with versions.reading(root) as client:
        found = versions.find(client, address, "likewise")
        kept = versions.pipeline(found, place / "version")
    if kept is None:
        raise ReferenceMismatch(f"{address}: keeps no dvc.lock, so that nobody knows what it was made from")
    try:
        scratch.from_cache(root, place / "project", kept, NEEDED)
    except scratch.MissingError as error:
        raise ReferenceMismatch(
            f"{address}: what new samples are compared with is not here: {error}; `dvc push` where it was made"
        ) from None
    return place / "project"


def _there(root: Path, model: Model) -> bool:
    """Tell whether the reference in a project is this model's, and whole."""
    whole = all((root / path).is_file() for path in NEEDED)
    return whole and bool(artifacts.ABOUT_INDEX.read(root)["weights_sha256"] == model.weights)


def read(root: Path, model: Model) -> tuple[Gallery, Side]:
    """Return the gallery of a model, and the reference.

    Args:
        root: the root of the project that made the model.
        model: the model.

    Raises:
        ReferenceMismatch: when another model made the project's embeddings, or nothing was held out.
    """
    weights = artifacts.ABOUT_INDEX.read(root)["weights_sha256"]
    if weights != model.weights:
        raise ReferenceMismatch(
            f"{artifacts.EMBEDDINGS.path}: made with weights {weights[:12]}, but the model has {model.weights[:12]}; "
            "nothing can be compared: check out what that version was made from (`likewise lineage`), or promote this"
        )
    frame = artifacts.EMBEDDINGS.read(root)
    train, held_out = frame[frame["split"] == "train"], frame[frame["split"] != "train"]
    if train.empty or held_out.empty:
        raise ReferenceMismatch(
            f"{artifacts.EMBEDDINGS.path}: {len(train)} samples of train and {len(held_out)} others"
        )
    names = tuple(train["class"].fillna("").tolist())
    gallery = Gallery(_stacked(train), tuple(train["id"]), names, model.distance.name, model.weights)
    return gallery, side(_stacked(held_out), gallery, model, poor=_poor(root))


def arrived(folder: Path, gallery: Gallery, model: Model, *, since: float) -> Side:
    """Return what came since a time.

    Args:
        folder: of the model's later embeddings.
        gallery: of the model.
        model: the model.
        since: in seconds as `time.time` counts them.
    """
    rows, refused = Pile(folder, EMBEDDED).rows(since=since), Pile(folder, REFUSED).rows(since=since)
    unreadable = QUARANTINE.read(folder)["hash"].isna().sum() if QUARANTINE.there(folder) else 0
    bad = len(refused) + int(unreadable)
    poor = Rate(int(rows["constant"].sum()) + bad, len(rows) + bad)
    return side(_stacked(rows) if len(rows) else gallery.embeddings[:0], gallery, model, poor=poor)


def side(embeddings: Vectors, gallery: Gallery, model: Model, *, poor: Rate) -> Side:
    """Return what is compared of some embeddings (samples, dimensions)."""
    near = torch.from_numpy(gallery.best(embeddings)[1])
    scores = model.distance.score(near).numpy().astype(np.float64)
    unknown = int((scores < model.judgement.known_from()).sum())
    return Side(embeddings, scores, Rate(unknown, len(scores)), poor)


def _stacked(frame: pd.DataFrame) -> Vectors:
    return np.stack(list(frame["vector"])).astype(np.float32)


def _poor(root: Path) -> Rate:
    """Return how many of the inputs could not be read or were constant; copies and small classes are no bad inputs."""
    summary, reasons = artifacts.SUMMARY.read(root), artifacts.QUARANTINE.read(root)["reason"]
    unreadable = int((~reasons.str.startswith((DUPLICATE, CONFLICT, SMALL))).sum())
    constant = int(summary["checks"].get("constant", {}).get("count", 0))
    return Rate(unreadable + constant, int(summary["found"]))

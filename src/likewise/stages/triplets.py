"""triplets: triplets of the training samples, drawn without listing them: from all there are, or from the hard ones."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field, field_validator, model_validator

from likewise import artifacts
from likewise.config import Block, named, run_stage
from likewise.data.rows import every_row, means
from likewise.tuples.forgeries import SkilledTriplets
from likewise.tuples.hard import HardTriplets
from likewise.tuples.ranking import distinct_ranks, generator_of
from likewise.tuples.triplets import Triplets, draw_triplets

Array = np.ndarray[Any, Any]
Drawn = tuple[Array, Array, Array]

PCA = "pca"
NOTHING: Drawn = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64))


class Params(Block):
    """The `triplets` block of params.yaml."""

    strategy: Literal["uniform", "hard"]
    reference: str | None
    nearest: int | None = Field(ge=1)
    count: int = Field(ge=1)
    skilled_share: float = Field(ge=0, le=1)
    seed: int = Field(ge=0)

    @field_validator("reference")
    @classmethod
    def _known(cls, reference: str | None) -> str | None:
        if reference not in (None, PCA) and not re.fullmatch("[0-9a-f]{64}", str(reference)):
            raise ValueError(
                f"given the text {reference!r}; allowed: {PCA}, or the weights_sha256 of a registered model "
                "(64 digits 0-9 and a-f)"
            )
        return reference

    @model_validator(mode="after")
    def _fits(self) -> Params:
        for key, example in (("reference", PCA), ("nearest", 10)):
            given = getattr(self, key) is not None
            if given and self.strategy == "uniform":
                raise ValueError(f"strategy uniform takes no {key}: set {key}: null")
            if not given and self.strategy == "hard":
                raise ValueError(f"strategy hard needs {key}, such as {key}: {example}")
        return self


def run(params: Params, root: Path) -> None:
    """Write the triplets of train: none where its samples have no class."""
    samples = artifacts.SAMPLES.read(root)
    train = samples[samples["split"] == "train"].sort_values("id")
    members, forged = (train.dropna(subset=[column]) for column in ("class", "forges"))
    drawn, what = draw(params, members, forged, root) if len(members) else (NOTHING, "none: no sample has a class")
    ids = np.concatenate([members["id"].to_numpy(dtype=object), forged["id"].to_numpy(dtype=object)])
    names = ("anchor", "positive", "negative")
    frame = pd.DataFrame({name: ids[rows] for name, rows in zip(names, drawn, strict=True)})
    artifacts.TRIPLETS.write(frame, root)
    print(f"triplets: {len(frame):,} of {what}", flush=True)


def draw(params: Params, members: pd.DataFrame, forged: pd.DataFrame, root: Path) -> tuple[Drawn, str]:
    """Draw by the strategy and, where there are forgeries, a share whose negative forges the class of the anchor.

    Forgeries are counted on from the members.
    """
    skilled = int(params.count * params.skilled_share + 0.5) if len(forged) else 0
    drawn, what = STRATEGIES[params.strategy](params, members, params.count - skilled, root)
    if not skilled:
        return drawn, what
    triplets = SkilledTriplets(members["class"].to_numpy(dtype=str), forged["forges"].to_numpy(dtype=str))
    if skilled > triplets.count:
        raise ValueError(
            f"triplets.skilled_share: {skilled} triplets with a forgery were asked for, but there are "
            f"{triplets.count}: lower it, or triplets.count"
        )
    ranks = distinct_ranks(triplets.count, skilled, generator_of(params.seed, 1))
    anchor, positive, negative = triplets[ranks]
    parts = zip(drawn, (anchor, positive, negative + len(members)), strict=True)
    first, second, third = (np.concatenate(part) for part in parts)
    return (first, second, third), f"{what}; {skilled:,} with a forgery of {triplets.count:,}"


def uniform(params: Params, members: pd.DataFrame, count: int, root: Path) -> tuple[Drawn, str]:  # noqa: ARG001
    """Draw from all triplets."""
    labels = members["class"].to_numpy(dtype=str)
    with named("triplets.count"):
        drawn = draw_triplets(labels, count, seed=params.seed)
    return drawn, f"{Triplets(labels).count:,} triplets"


def hard(params: Params, members: pd.DataFrame, count: int, root: Path) -> tuple[Drawn, str]:
    """Draw from the triplets whose negative is among the anchor's nearest of another class."""
    with named("triplets.reference"):
        reference = refer(str(params.reference), members.index.to_numpy(dtype=np.int64), root)
    with named("triplets.strategy"):
        triplets = HardTriplets(members["class"].to_numpy(dtype=str), reference, nearest=params.nearest or 0)
    with named("triplets.count"):
        drawn = triplets.draw(count, seed=params.seed)
    share = triplets.nearer_share(*drawn)
    return drawn, f"{triplets.count:,} hard triplets; in {share:.1%} the negative is nearer than the positive"


def refer(reference: str, samples: Array, root: Path) -> Array:
    """Return what distances are taken of (samples, d): principal components, or embeddings by a registered model."""
    media, offsets = artifacts.read_media(root)
    if reference == PCA:
        from likewise.data.projection import principal_components

        rows, counts = every_row(samples, offsets)
        return means(principal_components(media, rows), counts)
    return embeddings(reference, media, offsets, samples, root)


def embeddings(digest: str, media: Array, offsets: Array, samples: Array, root: Path) -> Array:
    """Return the embeddings by a model; where it compares by cosine, of length 1: Euclidean distances then agree."""
    import torch

    from likewise import runtime
    from likewise.data.batches import Media
    from likewise.delivery.weights import load_by_weights
    from likewise.learning.embedding import embed

    # The number of threads decides the last bits, and with them which samples are nearest.
    runtime.set_up(threads=1)
    encoder, distance = load_by_weights(digest, root)
    found = embed(encoder, Media(media, offsets, device=torch.device("cpu")), samples)
    return (torch.nn.functional.normalize(found) if distance == "cosine" else found).numpy()


STRATEGIES = {"uniform": uniform, "hard": hard}

if __name__ == "__main__":
    run_stage("triplets", Params, run)

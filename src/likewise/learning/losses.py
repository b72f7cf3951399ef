"""Every loss by name."""

from __future__ import annotations

import inspect
from typing import Any

from likewise.choices import choose, one_of
from likewise.learning.batch_losses import (
    CircleLoss,
    GE2ELoss,
    MultiSimilarityLoss,
    NPairLoss,
    NTXentLoss,
    SupConLoss,
)
from likewise.learning.loss_base import Loss, LossResult
from likewise.learning.pair_losses import BinaryL1Loss, BinaryLoss, ContrastiveLoss
from likewise.learning.proxies import (
    ArcFaceLoss,
    CosFaceLoss,
    ProxyAnchorLoss,
    ProxyNCALoss,
    ProxyNCAPlusLoss,
    ProxyTripletLoss,
)
from likewise.learning.row_tuples import PairTuples, TripletTuples
from likewise.learning.triplet_losses import TripletLoss

__all__ = [
    "LOSSES",
    "ArcFaceLoss",
    "BinaryL1Loss",
    "BinaryLoss",
    "CircleLoss",
    "ContrastiveLoss",
    "CosFaceLoss",
    "GE2ELoss",
    "Loss",
    "LossResult",
    "MultiSimilarityLoss",
    "NPairLoss",
    "NTXentLoss",
    "PairTuples",
    "ProxyAnchorLoss",
    "ProxyNCALoss",
    "ProxyNCAPlusLoss",
    "ProxyTripletLoss",
    "SupConLoss",
    "TripletLoss",
    "TripletTuples",
    "build",
]


def build(name: str, *, classes: int, embedding: int, distance: str | None = None, **options: Any) -> Loss:
    """Return the loss of a name.

    Args:
        name: a key of `LOSSES`.
        classes: how many classes there are to learn, for losses with a vector a class.
        embedding: how many dimensions the embeddings have.
        distance: a distance's name; by default the loss's own.
        options: what else the loss takes.

    Raises:
        ValueError: if the name is unknown, an option is not one of the loss's, or a value is refused.

    >>> build("triplet", classes=10, embedding=64, margin=0.3).margin
    0.3
    """
    kind = choose("loss", name, LOSSES)
    given: dict[str, Any] = {"classes": classes, "embedding": embedding, "distance": distance}
    taken = inspect.signature(kind).parameters
    for option in options:
        one_of(f"option of the loss {name}", option, [known for known in taken if known not in given])
    return kind(**{key: value for key, value in given.items() if key in taken}, **options)


LOSSES: dict[str, type[Loss]] = {
    "contrastive": ContrastiveLoss,
    "binary": BinaryLoss,
    "binary_l1": BinaryL1Loss,
    "triplet": TripletLoss,
    "n_pair": NPairLoss,
    "ntxent": NTXentLoss,
    "supcon": SupConLoss,
    "multi_similarity": MultiSimilarityLoss,
    "circle": CircleLoss,
    "ge2e": GE2ELoss,
    "proxy_nca": ProxyNCALoss,
    "proxy_nca_plus": ProxyNCAPlusLoss,
    "proxy_anchor": ProxyAnchorLoss,
    "proxy_triplet": ProxyTripletLoss,
    "arcface": ArcFaceLoss,
    "cosface": CosFaceLoss,
}

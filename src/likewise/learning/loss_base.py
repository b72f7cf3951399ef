"""What every loss shares: its result, the check of its input, and how it refuses what it cannot eat."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from likewise import distances
from likewise.choices import one_of
from likewise.learning.row_tuples import PairTuples, TripletTuples

REDUCTIONS = ("active", "all", "sum")


@dataclass(frozen=True)
class LossResult:
    """A loss, and how many of the tuples that it looked at still teach something.

    Attributes:
        loss: scalar, attached to the graph even where it is zero.
        zero_share: scalar in 0..1, the share of candidates whose loss is exactly zero; 1 with no candidate.
        candidates: scalar int64, how many pairs, triplets or anchors were looked at.
    """

    loss: Tensor
    zero_share: Tensor
    candidates: Tensor


class Loss(nn.Module):
    """A loss over embeddings: of a whole batch and its labels, or of tuples that are given.

    A subclass says in `feeds` what it can eat and fills in `_batch`, `_pairs` or `_triplets` accordingly; in
    `distance_names` which distances it is defined on, its default first. `distance` is the one in use: what
    to compare embeddings with once they are learnt.
    """

    feeds: ClassVar[frozenset[str]] = frozenset({"classes"})
    distance_names: ClassVar[tuple[str, ...]] = ("euclidean", "squared_euclidean", "cosine", "manhattan")

    def __init__(self, *, distance: str | None = None) -> None:
        super().__init__()
        name = self.distance_names[0] if distance is None else distance
        one_of(f"distance of {type(self).__name__}", name, self.distance_names)
        self.distance = distances.build(name)

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        tuples: PairTuples | TripletTuples | None = None,
    ) -> Tensor:
        """Return the scalar loss of `measure`."""
        return self.measure(embeddings, labels, tuples).loss

    def measure(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        tuples: PairTuples | TripletTuples | None = None,
    ) -> LossResult:
        """Return the loss of a batch and the share of its tuples that teach nothing.

        Args:
            embeddings: `(n, d)`, any float type; half precision is computed in float32.
            labels: `(n,)` integers, the class of each row; needed unless `tuples` are given.
            tuples: the pairs or triplets to learn from, as row numbers; without them the batch's own.

        Raises:
            ValueError: on embeddings that are not finite, on labels of another length or device, and on
                tuples that this loss cannot eat.
        """
        check_embeddings(embeddings)
        with torch.autocast(embeddings.device.type, enabled=False):
            wide = single_or_double(embeddings)
            if isinstance(tuples, PairTuples):
                self._refuse_unless_eaten("pairs")
                return self._pairs(wide, tuples)
            if isinstance(tuples, TripletTuples):
                self._refuse_unless_eaten("triplets")
                return self._triplets(wide, tuples)
            checked = checked_labels(labels, embeddings)
            return self._batch(wide, checked) if len(wide) else averaged(wide.sum(dim=1), wide)

    def project(self, embeddings: Tensor) -> Tensor:
        """Return the embeddings that `distance` compares: unchanged, unless the loss learns weights for them."""
        return embeddings

    def against(
        self,
        embeddings: Tensor,
        labels: Tensor,
        references: Tensor,
        reference_labels: Tensor,
        *,
        itself: Tensor | None = None,
    ) -> LossResult:
        """Return the loss of anchors that are compared with references, such as past embeddings.

        The references are a cross-batch memory (Wang et al.: Cross-batch memory for embedding learning, 2020),
        which usually carries no gradient, or the embeddings of other processes.

        Args:
            embeddings: `(n, d)` anchors.
            labels: `(n,)` their classes.
            references: `(m, d)`.
            reference_labels: `(m,)` their classes.
            itself: `(n,)` the row of the references that is the anchor itself, or -1; by default none is.

        Raises:
            ValueError: on input that `measure` would refuse, and where `check_against` does.
        """
        self.check_against()
        for vectors, classes in ((embeddings, labels), (references, reference_labels)):
            check_embeddings(vectors)
            checked_labels(classes, vectors)
        own = torch.full_like(labels, -1) if itself is None else itself
        with torch.autocast(embeddings.device.type, enabled=False):
            return self._against(
                single_or_double(embeddings), labels, single_or_double(references), reference_labels, own
            )

    def check_against(self) -> None:
        """Raise ValueError unless this loss can compare its anchors with references: only some can."""
        raise ValueError(f"{type(self).__name__} does not compare with past embeddings; triplet and contrastive do")

    def _batch(self, embeddings: Tensor, labels: Tensor) -> LossResult:
        raise NotImplementedError

    def _against(
        self, embeddings: Tensor, labels: Tensor, references: Tensor, reference_labels: Tensor, itself: Tensor
    ) -> LossResult:
        raise NotImplementedError

    def _pairs(self, embeddings: Tensor, tuples: PairTuples) -> LossResult:
        raise NotImplementedError

    def _triplets(self, embeddings: Tensor, tuples: TripletTuples) -> LossResult:
        raise NotImplementedError

    def _refuse_unless_eaten(self, feed: str) -> None:
        if feed not in self.feeds:
            eaten = ", ".join(sorted(self.feeds))
            raise ValueError(f"{type(self).__name__} does not learn from given {feed}, only from: {eaten}")


def reduced(total: Tensor, *, active: Tensor, candidates: Tensor, reduction: str) -> LossResult:
    """Return a result from a sum over tuples: its mean over the active ones, over all, or the sum itself."""
    count = {"active": active, "all": candidates, "sum": torch.ones_like(candidates)}[reduction]
    return LossResult(total / count.clamp_min(1), zero_share(active, candidates), candidates)


def averaged(costs: Tensor, embeddings: Tensor) -> LossResult:
    """Return the mean of what each item costs, `(t,)`; zero, attached to the embeddings, where there is none."""
    candidates = torch.tensor(costs.numel(), device=costs.device)
    total = costs.sum() + embeddings.sum() * 0
    return reduced(total, active=(costs > 0).sum(), candidates=candidates, reduction="all")


def zero_share(active: Tensor, candidates: Tensor) -> Tensor:
    """Return the share of candidates that are not active; 1 where there is no candidate."""
    return 1 - active.double() / candidates.clamp_min(1)


def single_or_double(values: Tensor) -> Tensor:
    """Return float64 as it is, and anything narrower as float32."""
    return values if values.dtype == torch.float64 else values.float()


def unit(vectors: Tensor) -> Tensor:
    """Return the vectors `(n, d)` at length 1; one shorter than 1e-12 has no direction and stays as it is.

    >>> unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[0.6000, 0.8000],
            [0.0000, 0.0000]])
    """
    norm: Tensor = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return vectors / norm.masked_fill(norm <= 1e-12, 1)


def check_embeddings(embeddings: Tensor) -> None:
    """Raise ValueError unless the embeddings are `(n, d)`, of a float type, and finite."""
    if embeddings.ndim != 2 or not embeddings.is_floating_point():
        raise ValueError(
            f"embeddings must be (samples, dimensions) of a float type, "
            f"and these are {tuple(embeddings.shape)} of {embeddings.dtype}"
        )
    if not bool(torch.isfinite(embeddings).all()):
        rows = int((~torch.isfinite(embeddings)).any(dim=1).sum())
        raise ValueError(
            f"{rows} of {len(embeddings)} embeddings hold NaN or infinity: "
            f"lower the learning rate, clip the gradient, or look for bad samples"
        )


def checked_labels(labels: Tensor | None, embeddings: Tensor) -> Tensor:
    """Return the labels; raise ValueError unless there is one integer a row, on the embeddings' device."""
    if labels is None:
        raise ValueError("a loss needs labels, or tuples that say which rows are of one class, and got neither")
    if labels.shape != (len(embeddings),):
        raise ValueError(f"{len(embeddings)} embeddings need as many labels, and these are {tuple(labels.shape)}")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"labels must be integers, and these are {labels.dtype}")
    if labels.device != embeddings.device:
        raise ValueError(
            f"the labels are on {labels.device} and the embeddings on {embeddings.device}: "
            f"move the labels with labels.to(embeddings.device)"
        )
    return labels


def not_negative(what: str, value: float) -> float:
    """Return a finite value of at least 0; else raise ValueError."""
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{what} must be a number of at least 0, and is {value}")
    return float(value)


def positive(what: str, value: float) -> float:
    """Return a finite value above 0; else raise ValueError."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{what} must be a number above 0, and is {value}")
    return float(value)

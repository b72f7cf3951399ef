"""Losses over pairs, of a batch or given: contrastive, and the sigmoid heads with binary cross-entropy."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from likewise.choices import one_of
from likewise.learning import row_blocks
from likewise.learning.loss_base import (
    REDUCTIONS,
    Loss,
    LossResult,
    not_negative,
    positive,
    zero_share,
)
from likewise.learning.row_tuples import PairTuples
from likewise.learning.triplet_sums import classmates

PAIR_REDUCTIONS = ("balanced", *REDUCTIONS)


class PairLoss(Loss):
    """A loss that is a sum over pairs; a subclass says what one pair costs.

    Reductions: `balanced` (half the mean over genuine pairs plus half the mean over impostor pairs, which
    is the plain mean where there are as many of each), `all` (the mean over pairs), `active` (the mean over
    pairs that cost something), `sum`.
    """

    feeds: ClassVar[frozenset[str]] = frozenset({"pairs", "classes"})

    def __init__(self, *, distance: str | None = None, reduction: str = "balanced") -> None:
        super().__init__(distance=distance)
        self.reduction = one_of("reduction", reduction, PAIR_REDUCTIONS)

    def cost(self, distance: Tensor, same: Tensor) -> Tensor:
        """Return what each pair costs, from its distance and whether it is genuine (boolean)."""
        raise NotImplementedError

    def _pairs(self, embeddings: Tensor, tuples: PairTuples) -> LossResult:
        same = tuples.same.bool()
        projected = self.project(embeddings)
        distance = self.distance.paired(projected[tuples.left], projected[tuples.right])
        genuine = same.sum()
        cost = self.cost(distance, same)
        total = (cost * self._weights(same, genuine, len(same) - genuine)).sum()
        return self._result(total, (cost > 0).sum(), torch.tensor(len(same), device=same.device))

    def _batch(self, embeddings: Tensor, labels: Tensor) -> LossResult:
        genuine, impostor = pair_counts(labels)

        def block_loss(anchors: Tensor, references: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
            """Sum over the pairs above the diagonal, so that each pair counts once."""
            later = slice(rows.start, None)
            left = self.project(anchors)
            right = left if references is anchors else self.project(references[later])
            distance = row_blocks.matrix(self.distance, left, right)
            same = labels[rows, None] == labels[None, later]
            upper = torch.ones_like(same).triu(1)
            cost = torch.where(upper, self.cost(distance, same), 0)
            return (cost * self._weights(same, genuine, impostor)).sum(dtype=torch.float64), (cost > 0).sum()

        learnt = tuple(self.parameters())
        total, active = row_blocks.summed(block_loss, embeddings, embeddings, parameters=learnt)
        return self._result(total, active, genuine + impostor)

    def check_against(self) -> None:
        """Accept: a pair can be made with any reference."""

    def _against(
        self, embeddings: Tensor, labels: Tensor, references: Tensor, reference_labels: Tensor, itself: Tensor
    ) -> LossResult:
        mates = classmates(labels, reference_labels, itself)
        genuine, impostor = mates.positives.sum(), mates.negatives.sum()

        def block_loss(anchors: Tensor, whole: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
            distance = row_blocks.matrix(self.distance, self.project(anchors), self.project(whole))
            same = labels[rows, None] == reference_labels
            other = torch.arange(len(reference_labels), device=labels.device) != itself[rows, None]
            cost = torch.where(other, self.cost(distance, same), 0)
            return (cost * self._weights(same, genuine, impostor)).sum(dtype=torch.float64), (cost > 0).sum()

        learnt = tuple(self.parameters())
        total, active = row_blocks.summed(block_loss, embeddings, references, parameters=learnt)
        return self._result(total, active, genuine + impostor)

    def _weights(self, same: Tensor, genuine: Tensor, impostor: Tensor) -> Tensor:
        """Return what each pair's cost is multiplied by before it is summed."""
        if self.reduction == "balanced":
            return torch.where(same, 0.5 / genuine.clamp_min(1), 0.5 / impostor.clamp_min(1))
        count = (genuine + impostor).clamp_min(1) if self.reduction == "all" else torch.ones_like(genuine)
        return 1.0 / count

    def _result(self, total: Tensor, active: Tensor, candidates: Tensor) -> LossResult:
        loss = total / active.clamp_min(1) if self.reduction == "active" else total
        return LossResult(loss, zero_share(active, candidates), candidates)


class ContrastiveLoss(PairLoss):
    """Contrastive loss: draw genuine pairs together, push impostor pairs beyond a margin.

    With Y = 1 for genuine pairs, as everywhere here, `Y d^2 / 2 + (1 - Y) max(0, margin - d)^2 / 2` (Hadsell,
    Chopra, LeCun: Dimensionality reduction by learning an invariant mapping, 2006, whose own Y is the other
    way round). Over given pairs, or over all pairs of a batch. Distance: euclidean by default.

    Raises:
        ValueError: if the margin is negative, or the reduction or distance is unknown.

    >>> embeddings = torch.tensor([[0.0, 0.0], [0.6, 0.8], [0.0, 0.5]])
    >>> pairs = PairTuples(torch.tensor([0, 0]), torch.tensor([1, 2]), same=torch.tensor([1, 0]))
    >>> round(ContrastiveLoss(margin=1.0)(embeddings, tuples=pairs).item(), 4)  # (1/2 + 0.25/2) / 2
    0.3125
    """

    def __init__(self, *, margin: float = 1.0, distance: str | None = None, reduction: str = "balanced") -> None:
        super().__init__(distance=distance, reduction=reduction)
        self.margin = not_negative("margin", margin)

    def cost(self, distance: Tensor, same: Tensor) -> Tensor:
        """Return `d^2 / 2` for genuine pairs and `max(0, margin - d)^2 / 2` for impostors."""
        return torch.where(same, distance, F.relu(self.margin - distance)).square() / 2


class BinaryLoss(PairLoss):
    """Cross-entropy of the probability that a pair is genuine, `sigmoid(bias - scale * d)`.

    The scale (kept positive as the exponential of what is learnt, so that a larger distance is always less
    alike) and the bias are learnt with the encoder; they start at the given values. Distance: euclidean by
    default.

    Raises:
        ValueError: if the scale is not positive, or the reduction or distance is unknown.

    >>> loss = BinaryLoss(scale=1.0, bias=1.0)
    >>> loss.probability(torch.tensor([0.0, 1.0, 3.0])).detach()
    tensor([0.7311, 0.5000, 0.1192])
    """

    def __init__(
        self,
        *,
        scale: float = 4.0,
        bias: float = 4.0,
        distance: str | None = None,
        reduction: str = "balanced",
    ) -> None:
        super().__init__(distance=distance, reduction=reduction)
        self.log_scale = nn.Parameter(torch.tensor(math.log(positive("scale", scale))))
        self.bias = nn.Parameter(torch.tensor(float(bias)))

    def logit(self, distance: Tensor) -> Tensor:
        """Return the log-odds that pairs at these distances are genuine, any shape."""
        return self.bias - self.log_scale.exp() * distance

    def probability(self, distance: Tensor) -> Tensor:
        """Return the probability that pairs at these distances are genuine, any shape, 0..1."""
        return self.logit(distance).sigmoid()

    def cost(self, distance: Tensor, same: Tensor) -> Tensor:
        """Return minus the log-likelihood of what each pair is."""
        return surprise(self.logit(distance), same)


class BinaryL1Loss(PairLoss):
    """Cross-entropy of `sigmoid(bias - sum_j weight_j |x_j - y_j|)`, the weights learnt.

    The head of Koch, Zemel, Salakhutdinov: Siamese neural networks for one-shot image recognition, 2015, with
    weights that cannot become negative (a softplus of what is learnt), so that it stays a distance: the
    manhattan distance of `project(embeddings)`, the embeddings times the weights.

    Args:
        embedding: how many dimensions the embeddings have.
        scale: every weight's first value.
        bias: the bias's first value.
        distance: `manhattan`, the only one.
        reduction: as for every pair loss.

    Raises:
        ValueError: if the scale is not positive, or the reduction or distance is unknown.

    >>> loss = BinaryL1Loss(embedding=2, scale=0.5, bias=1.0)
    >>> loss.project(torch.tensor([[2.0, 4.0]])).detach()
    tensor([[1., 2.]])
    """

    distance_names: ClassVar[tuple[str, ...]] = ("manhattan",)

    def __init__(
        self,
        *,
        embedding: int,
        scale: float = 1.0,
        bias: float = 4.0,
        distance: str | None = None,
        reduction: str = "balanced",
    ) -> None:
        super().__init__(distance=distance, reduction=reduction)
        start = math.log(math.expm1(positive("scale", scale)))
        self.raw_weights = nn.Parameter(torch.full((embedding,), start))
        self.bias = nn.Parameter(torch.tensor(float(bias)))

    def project(self, embeddings: Tensor) -> Tensor:
        """Return the embeddings times the weights, `(n, d)`, whose manhattan distance is the one learnt."""
        return embeddings * F.softplus(self.raw_weights)

    def logit(self, distance: Tensor) -> Tensor:
        """Return the log-odds that pairs at these (weighted) distances are genuine, any shape."""
        return self.bias - distance

    def probability(self, distance: Tensor) -> Tensor:
        """Return the probability that pairs at these (weighted) distances are genuine, any shape, 0..1."""
        return self.logit(distance).sigmoid()

    def cost(self, distance: Tensor, same: Tensor) -> Tensor:
        """Return minus the log-likelihood of what each pair is."""
        return surprise(self.logit(distance), same)


def surprise(logit: Tensor, same: Tensor) -> Tensor:
    """Return minus the log-likelihood of what each pair is, from the log-odds that it is genuine, any shape.

    >>> surprise(torch.tensor([0.0, 2.0, 2.0]), torch.tensor([True, True, False]))
    tensor([0.6931, 0.1269, 2.1269])
    """
    return F.softplus(torch.where(same, -logit, logit))


def pair_counts(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return how many genuine and how many impostor pairs a batch holds, each pair once."""
    sizes = torch.unique(labels, return_counts=True)[1]
    genuine = (sizes * (sizes - 1) // 2).sum()
    return genuine, len(labels) * (len(labels) - 1) // 2 - genuine

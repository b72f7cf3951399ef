"""The triplet loss: over all triplets of a batch exactly, over mined ones, or over given ones."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from likewise.choices import one_of
from likewise.learning import miners, row_blocks, triplet_sums
from likewise.learning.loss_base import (
    REDUCTIONS,
    Loss,
    LossResult,
    not_negative,
    reduced,
)
from likewise.learning.row_tuples import TripletTuples

# The minings that need no list of triplets.
SUMMED = ("all", "semihard")


class TripletLoss(Loss):
    """Triplet loss: an anchor's negative must be further than its positive by a margin.

    `max(0, d(a,p) - d(a,n) + margin)` (Schroff, Kalenichenko, Philbin: FaceNet, 2015), over given triplets or
    over those of a batch; with `soft` instead `log(1 + exp(d(a,p) - d(a,n) + margin))` (Hermans, Beyer, Leibe:
    In defense of the triplet loss, 2017), where the margin is usually 0. Distance: euclidean by default.

    The mining says which triplets of a batch:

    - `all`: every one, exactly, in O(n^2 log k) time (`soft`: O(n^2 k)) and without listing them;
    - `semihard`: every one with `d(a,p) < d(a,n) < d(a,p) + margin`, just as fast;
    - `nearest_semihard`: for each positive pair only the nearest negative of those;
    - `hard`: for each anchor its furthest positive and nearest negative;
    - `easy_positive`: for each anchor its nearest positive and nearest negative;
    - `distance_weighted`: for each positive pair a negative drawn so that all distances are as likely.

    Candidates and the share of zero losses are counted over what the mining picks from: all triplets for the
    first two, positive pairs or anchors for the others.

    Args:
        margin: at least 0, in the distance's unit.
        mining: as above; given triplets are taken as they are.
        soft: the soft margin instead of the hinge; not with semi-hard mining, which the hinge defines.
        reduction: `active` (the mean over triplets that cost something), `all` (the mean over candidates), `sum`.
        distance: the distance's name.
        seed: of the draws of `distance_weighted`; where they stand is part of the state dict.

    Raises:
        ValueError: if the margin is negative, or the mining, reduction or distance is unknown.

    >>> embeddings = torch.tensor([[0.0], [0.5], [0.9]])
    >>> round(TripletLoss(margin=0.2)(embeddings, torch.tensor([0, 0, 1])).item(), 4)  # 0.5 - 0.4 + 0.2
    0.3
    >>> past = torch.tensor([[0.5], [0.9]])
    >>> result = TripletLoss(margin=0.2).against(torch.zeros(1, 1), torch.tensor([0]), past, torch.tensor([0, 1]))
    >>> result.loss.item(), result.candidates.item()  # 0.5 - 0.9 + 0.2 is below 0
    (0.0, 1)
    """

    feeds: ClassVar[frozenset[str]] = frozenset({"triplets", "classes"})

    def __init__(
        self,
        *,
        margin: float = 0.2,
        mining: str = "all",
        soft: bool = False,
        reduction: str = "active",
        distance: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(distance=distance)
        self.margin = not_negative("margin", margin)
        self.mining = one_of("mining", mining, miners.MINERS)
        self.reduction = one_of("reduction", reduction, REDUCTIONS)
        self.soft = soft
        if soft and "semihard" in mining:
            raise ValueError(f"soft=True has no margin to be semi-hard in: use mining='all', not {mining!r}")
        self.generator = torch.Generator().manual_seed(seed)

    def get_extra_state(self) -> Tensor:
        """Return where the generator stands, so that a resumed run draws what an undisturbed one would."""
        return self.generator.get_state()

    def set_extra_state(self, state: Any) -> None:
        """Put the generator where `get_extra_state` found it."""
        self.generator.set_state(state.cpu())

    def check_against(self) -> None:
        """Raise ValueError unless the mining is `all` or `semihard`."""
        if self.mining not in SUMMED:
            raise ValueError(f"mining must be {' or '.join(SUMMED)} against references, and is {self.mining!r}")

    def _against(
        self, embeddings: Tensor, labels: Tensor, references: Tensor, reference_labels: Tensor, itself: Tensor
    ) -> LossResult:
        return self._summed(embeddings, references, triplet_sums.classmates(labels, reference_labels, itself))

    def _triplets(self, embeddings: Tensor, tuples: TripletTuples) -> LossResult:
        return self._listed(embeddings, tuples, torch.tensor(len(tuples), device=embeddings.device))

    def _batch(self, embeddings: Tensor, labels: Tensor) -> LossResult:
        if self.mining in SUMMED:
            return self._summed(embeddings, embeddings, triplet_sums.classmates(labels))
        mined = miners.mine(
            self.mining,
            embeddings,
            labels,
            distance=self.distance,
            margin=self.margin,
            generator=self.generator,
        )
        return self._listed(embeddings, mined.tuples, mined.candidates)

    def _listed(self, embeddings: Tensor, tuples: TripletTuples, candidates: Tensor) -> LossResult:
        def some_loss(vectors: Tensor, some: slice) -> tuple[Tensor, Tensor]:
            anchors = vectors[tuples.anchor[some]]
            near = self.distance.paired(anchors, vectors[tuples.positive[some]])
            far = self.distance.paired(anchors, vectors[tuples.negative[some]])
            gap = near - far + self.margin
            cost = F.softplus(gap) if self.soft else F.relu(gap)
            return cost.sum(), (cost > 0).sum()

        total, active = row_blocks.listed(some_loss, embeddings, len(tuples))
        return reduced(total, active=active, candidates=candidates, reduction=self.reduction)

    def _summed(self, anchors: Tensor, references: Tensor, mates: triplet_sums.Classmates) -> LossResult:
        smooth = triplet_sums.softplus if self.soft else triplet_sums.hinge
        matrix_sum = triplet_sums.semihard if self.mining == "semihard" else smooth

        def block_loss(part: Tensor, whole: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
            distances = row_blocks.matrix(self.distance, part, whole)
            return matrix_sum(distances, mates[rows], margin=self.margin)

        total, active = row_blocks.summed(block_loss, anchors, references, symmetric=True)
        candidates = triplet_sums.triplet_count(mates)
        return reduced(total, active=active, candidates=candidates, reduction=self.reduction)

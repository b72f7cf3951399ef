"""Losses that weigh all similarities of a batch at once: NT-Xent, SupCon, N-pair, multi-similarity, circle, GE2E.

All but N-pair compare by the cosine. The matrix of similarities is taken a block of anchors at a time, so that
memory does not grow with the square of the batch.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from likewise.choices import one_of
from likewise.learning import row_blocks
from likewise.learning.loss_base import (
    Loss,
    LossResult,
    averaged,
    not_negative,
    positive,
    reduced,
    unit,
)
from likewise.learning.triplet_sums import Classmates, classmates

# Numbers in a block: 256 KB in float32, of which a handful live at once.
_ELEMENTS = 2**16


class SimilarityLoss(Loss):
    """A loss that is a sum over anchors, each of which sees its cosine to every sample of the batch.

    A subclass says in `costs` what an anchor or its positive pairs cost. Anchors that lack what `usable` asks
    for do not count.
    """

    distance_names: ClassVar[tuple[str, ...]] = ("cosine",)

    def costs(self, similarity: Tensor, mates: Classmates) -> Tensor:
        """Return what is to be averaged, any shape, from `(b, n)` cosines of usable anchors."""
        raise NotImplementedError

    def candidates(self, mates: Classmates) -> Tensor:
        """Return over how many the costs are averaged: by default the anchors."""
        return torch.tensor(len(mates), device=mates.start.device)

    def usable(self, mates: Classmates) -> Tensor:
        """Return which anchors count, `(n,)`: by default those with a positive and a negative."""
        return (mates.positives > 0) & (mates.negatives > 0)

    def _batch(self, embeddings: Tensor, labels: Tensor) -> LossResult:
        everyone = classmates(labels)
        rows = self.usable(everyone).nonzero()[:, 0]
        mates, directions = everyone[rows], unit(embeddings)

        def block_loss(anchors: Tensor, references: Tensor, block: slice) -> tuple[Tensor, Tensor]:
            costs = self.costs(anchors @ references.T, mates[block])
            return costs.sum(dtype=torch.float64), (costs > 0).sum()

        total, active = row_blocks.summed(block_loss, directions[rows], directions, elements=_ELEMENTS)
        return reduced(total, active=active, candidates=self.candidates(mates), reduction="all")


class NTXentLoss(SimilarityLoss):
    """Normalised temperature-scaled cross-entropy: each positive pair against all negatives of its anchor.

    `-log(exp(s_ap / T) / (exp(s_ap / T) + sum_n exp(s_an / T)))`, the mean over all ordered positive pairs
    (Chen, Kornblith, Norouzi, Hinton: SimCLR, 2020, with labels in place of views; InfoNCE). Distance: cosine.

    Raises:
        ValueError: if the temperature is not positive.

    >>> x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> round(NTXentLoss(temperature=1.0)(x, torch.tensor([0, 0, 1])).item(), 4)  # log(1 + exp(-1))
    0.3133
    """

    def __init__(self, *, temperature: float = 0.1, distance: str | None = None) -> None:
        super().__init__(distance=distance)
        self.temperature = positive("temperature", temperature)

    def candidates(self, mates: Classmates) -> Tensor:
        """Return the number of ordered positive pairs."""
        return mates.positives.sum()

    def costs(self, similarity: Tensor, mates: Classmates) -> Tensor:
        """Return what each positive pair costs, `(b, k)`, zero where there is none."""
        columns, positives = mates.columns()
        logits = similarity / self.temperature
        against = logits.scatter(1, columns, -torch.inf).logsumexp(dim=1, keepdim=True)
        return F.softplus(against - logits.gather(1, columns)).where(positives, 0)


class SupConLoss(SimilarityLoss):
    """Supervised contrastive loss: the mean over positives outside the logarithm, all others in the denominator.

    `-1/|P(a)| sum_p log(exp(s_ap / T) / sum_{i != a} exp(s_ai / T))`, the mean over anchors that have a positive
    and a negative (Khosla et al.: Supervised contrastive learning, 2020, L_out). Distance: cosine.

    Raises:
        ValueError: if the temperature is not positive.

    >>> x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> round(SupConLoss(temperature=1.0)(x, torch.tensor([0, 0, 1])).item(), 4)  # log(1 + exp(-1))
    0.3133
    """

    def __init__(self, *, temperature: float = 0.1, distance: str | None = None) -> None:
        super().__init__(distance=distance)
        self.temperature = positive("temperature", temperature)

    def costs(self, similarity: Tensor, mates: Classmates) -> Tensor:
        """Return what each anchor costs, `(b,)`."""
        columns, positives = mates.columns()
        logits = similarity / self.temperature
        others = logits.scatter(1, mates.itself[:, None], -torch.inf).logsumexp(dim=1)
        near = logits.gather(1, columns).where(positives, 0).sum(dim=1) / mates.positives
        # Rounding can leave a hair below zero where the positives are all that there is.
        return F.relu(others - near)


class MultiSimilarityLoss(SimilarityLoss):
    """Multi-similarity loss: pairs weighed by their own similarity and by those around them.

    `log(1 + sum_p exp(-alpha (s_ap - base))) / alpha + log(1 + sum_n exp(beta (s_an - base))) / beta`, the mean
    over anchors (Wang et al.: Multi-similarity loss with general pair weighting, 2019). With an `epsilon` only
    those pairs count that are informative: a negative more similar than the least similar positive less epsilon,
    a positive less similar than the most similar negative plus epsilon. Distance: cosine.

    Raises:
        ValueError: if alpha or beta is not positive, or epsilon is negative.

    >>> x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> loss = MultiSimilarityLoss(alpha=2.0, beta=2.0, base=0.5, epsilon=None)
    >>> round(loss(x, torch.tensor([0, 0, 1])).item(), 4)  # (2 log(1 + 1/e) + log(1 + 2/e) / 2) / 3
    0.3007
    """

    def __init__(
        self,
        *,
        alpha: float = 2.0,
        beta: float = 50.0,
        base: float = 0.5,
        epsilon: float | None = 0.1,
        distance: str | None = None,
    ) -> None:
        super().__init__(distance=distance)
        self.alpha, self.beta = positive("alpha", alpha), positive("beta", beta)
        self.base = float(base)
        self.epsilon = None if epsilon is None else not_negative("epsilon", epsilon)

    def usable(self, mates: Classmates) -> Tensor:
        """Return all anchors: the two sums stand for themselves; mined, one needs the other to compare with."""
        return torch.ones_like(mates.size, dtype=torch.bool) if self.epsilon is None else super().usable(mates)

    def costs(self, similarity: Tensor, mates: Classmates) -> Tensor:
        """Return what each anchor costs, `(b,)`."""
        columns, positives = mates.columns()
        near = similarity.gather(1, columns).masked_fill(~positives, torch.inf)
        far = similarity.scatter(1, columns, -torch.inf)
        far = torch.where((mates.negatives > 0)[:, None], far, -torch.inf)
        if self.epsilon is not None:
            least, most = near.detach().amin(1, keepdim=True), far.detach().amax(1, keepdim=True)
            near = near.masked_fill(near.detach() >= most + self.epsilon, torch.inf)
            far = far.masked_fill(far.detach() <= least - self.epsilon, -torch.inf)
        pull = log1p_sum_exp(-self.alpha * (near - self.base)) / self.alpha
        return pull + log1p_sum_exp(self.beta * (far - self.base)) / self.beta


class CircleLoss(SimilarityLoss):
    """Circle loss: every similarity has its own pace, by how far it is from its optimum.

    `log(1 + sum_n exp(scale a_n (s_an - margin)) * sum_p exp(-scale a_p (s_ap - 1 + margin)))` with the paces
    `a_n = max(0, s_an + margin)` and `a_p = max(0, 1 + margin - s_ap)`, held constant in the gradient; the mean
    over anchors with a positive and a negative (Sun et al.: Circle loss, 2020). Distance: cosine.

    Raises:
        ValueError: if the scale is not positive or the margin is negative.

    >>> x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> loss = CircleLoss(scale=1.0, margin=0.25)
    >>> round(loss(x, torch.tensor([0, 0, 1])).item(), 4)  # log(1 + exp(-1/16) exp(-1/16))
    0.6326
    """

    def __init__(self, *, scale: float = 80.0, margin: float = 0.25, distance: str | None = None) -> None:
        super().__init__(distance=distance)
        self.scale, self.margin = positive("scale", scale), not_negative("margin", margin)

    def costs(self, similarity: Tensor, mates: Classmates) -> Tensor:
        """Return what each anchor costs, `(b,)`."""
        columns, positives = mates.columns()
        near = similarity.gather(1, columns)
        pull = -self.scale * F.relu(1 + self.margin - near.detach()) * (near - 1 + self.margin)
        push = self.scale * F.relu(similarity.detach() + self.margin) * (similarity - self.margin)
        pulls = pull.masked_fill(~positives, -torch.inf).logsumexp(dim=1)
        pushes = push.scatter(1, columns, -torch.inf).logsumexp(dim=1)
        return F.softplus(pulls + pushes)


class NPairLoss(Loss):
    """Multi-class N-pair loss: one pair a class, each anchor's positive against the other classes' positives.

    `log(1 + sum_{j != i} exp((x_i . y_j - x_i . y_i) / T))` over the pairs (x_i, y_i), plus `regularisation`
    times the mean squared length of the embeddings (Sohn: Improved deep metric learning with multi-class N-pair
    loss objective, 2016). A class's samples are paired in the order of the batch, first with second, third with
    fourth; pairs of the same turn meet. It learns lengths as well as directions; compare by the cosine.

    Raises:
        ValueError: if the temperature is not positive or the regularisation is negative.

    >>> x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    >>> round(NPairLoss()(x, torch.tensor([0, 0, 1, 1])).item(), 4)  # log(1 + exp(-1))
    0.3133
    """

    distance_names: ClassVar[tuple[str, ...]] = ("cosine",)

    def __init__(self, *, temperature: float = 1.0, regularisation: float = 0.0, distance: str | None = None) -> None:
        super().__init__(distance=distance)
        self.temperature = positive("temperature", temperature)
        self.regularisation = not_negative("regularisation", regularisation)

    def _batch(self, embeddings: Tensor, labels: Tensor) -> LossResult:
        mates = classmates(labels)
        rank = torch.empty_like(mates.order)
        rank[mates.order] = torch.arange(len(labels), device=labels.device) - mates.start[mates.order]
        costs = []
        for turn in range(0, int(mates.size.max()) - 1, 2):
            right = (rank == turn + 1).nonzero()[:, 0]
            left = mates.order[mates.start[right] + turn]
            logits = embeddings[left] @ embeddings[right].T / self.temperature
            if len(right) > 1:
                costs.append(F.cross_entropy(logits, torch.arange(len(right)).to(right), reduction="none"))
        result = averaged(torch.cat([embeddings.new_zeros(0), *costs]), embeddings)
        lengths = self.regularisation * embeddings.square().sum(dim=1).mean()
        return LossResult(result.loss + lengths, result.zero_share, result.candidates)


class GE2ELoss(Loss):
    """Generalised end-to-end loss: each sample against the centroid of every class, its own without itself.

    With `S_k = scale * cos(x, centroid_k) + bias`, both learnt and the scale kept positive, a sample of class j
    costs `-S_j + log(sum_k exp(S_k))` (`variant="softmax"`) or `1 - sigmoid(S_j) + max_{k != j} sigmoid(S_k)`
    (`variant="contrast"`), the mean over samples whose class has another one in the batch (Wan, Wang, Papir,
    Moreno: Generalized end-to-end loss for speaker verification, 2018). Distance: cosine.

    Raises:
        ValueError: if the variant is unknown or the scale is not positive.

    >>> x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    >>> round(GE2ELoss(scale=1.0, bias=0.0)(x, torch.tensor([0, 0, 1, 1])).item(), 4)  # log(1 + exp(-1))
    0.3133
    """

    distance_names: ClassVar[tuple[str, ...]] = ("cosine",)

    def __init__(
        self,
        *,
        variant: str = "softmax",
        scale: float = 10.0,
        bias: float = -5.0,
        distance: str | None = None,
    ) -> None:
        super().__init__(distance=distance)
        self.variant = one_of("variant", variant, ("softmax", "contrast"))
        self.log_scale = nn.Parameter(torch.tensor(math.log(positive("scale", scale))))
        self.bias = nn.Parameter(torch.tensor(float(bias)))

    def _batch(self, embeddings: Tensor, labels: Tensor) -> LossResult:
        classes, number = torch.unique(labels, return_inverse=True)
        sizes = torch.bincount(number, minlength=len(classes))
        vectors = unit(embeddings)
        sums = vectors.new_zeros(len(classes), vectors.shape[1]).index_add(0, number, vectors)
        others = unit(sums[number] - vectors)
        cosines = (vectors @ unit(sums).T).scatter(1, number[:, None], (vectors * others).sum(1, keepdim=True))
        logits = self.log_scale.exp() * cosines + self.bias
        usable = (sizes[number] > 1) & (len(classes) > 1)
        return averaged(self._costs(logits[usable], number[usable]), embeddings)

    def _costs(self, logits: Tensor, number: Tensor) -> Tensor:
        if self.variant == "softmax":
            return F.cross_entropy(logits, number, reduction="none")
        chances = logits.sigmoid()
        own = chances.gather(1, number[:, None])[:, 0]
        rivals = chances.scatter(1, number[:, None], -torch.inf)
        return 1 - own + (rivals.amax(dim=1) if len(number) else own)


def log1p_sum_exp(values: Tensor) -> Tensor:
    """Return `log(1 + sum_j exp(v_ij))` for each row, also of rows that are minus infinity throughout.

    >>> log1p_sum_exp(torch.tensor([[0.0, 0.0], [-torch.inf, -torch.inf], [1000.0, -torch.inf]]))
    tensor([   1.0986,    0.0000, 1000.0000])
    """
    top = values.detach().amax(dim=1, keepdim=True).clamp_min(0)
    return ((values - top).exp().sum(dim=1) + (-top[:, 0]).exp()).log() + top[:, 0]

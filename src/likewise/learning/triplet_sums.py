"""Sums over all triplets of a distance matrix, exact, without listing the triplets.

The batch-all triplet loss is the sum of `max(0, d(a,p) - d(a,n) + margin)` over every valid triplet. For
one anchor, sort its positives' bounds `d(a,p) + margin`: each negative falls between two of them, found by a
binary search, and every positive on its far side makes an active triplet with it. So one number for each
distance, how many active triplets it takes part in, is at once the exact gradient (plus for a positive, minus
for a negative) and, as the loss is linear between its kinks, the loss itself: `sum(gradient * distance) +
margin * active`. That is O(n m log k) time and O(n m) memory for n anchors, m references and k of a class,
where the triplets are O(n m k).

A triplet is active where `d(a,n) < d(a,p) + margin` in the distances' own precision (half precision is taken
to float32), the right side rounded once. Sums are in float64 and counts are whole numbers, so that the same
input gives the same result whatever the block size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from likewise.learning.loss_base import single_or_double
from likewise.learning.row_blocks import block_rows, refuse_second_order

# Up to as many bounds a row, comparing a block with each of them is faster than a binary search.
_FEW_BOUNDS = 16


@dataclass(frozen=True)
class Classmates:
    """Where each anchor's class lies among the references.

    Attributes:
        order: `(m,)` reference columns, one class after another.
        start: `(n,)` where the anchor's class starts in `order`.
        size: `(n,)` how many references are of its class, itself included if it is among them.
        itself: `(n,)` the column that is the anchor itself, or -1.
    """

    order: Tensor
    start: Tensor
    size: Tensor
    itself: Tensor

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, rows: slice | Tensor) -> Classmates:
        return replace(self, start=self.start[rows], size=self.size[rows], itself=self.itself[rows])

    @property
    def positives(self) -> Tensor:
        """How many positives each anchor has, `(n,)`."""
        return self.size - (self.itself >= 0).long()

    @property
    def negatives(self) -> Tensor:
        """How many negatives each anchor has, `(n,)`."""
        return len(self.order) - self.size

    def columns(self) -> tuple[Tensor, Tensor]:
        """Return each anchor's class as columns `(n, k)`, k the largest class, and which are positives.

        Rows of smaller classes repeat their last column, which is not marked as a positive again.
        """
        place = torch.arange(max(1, int(self.size.max())) if len(self) else 1, device=self.order.device)
        within = torch.minimum(place, (self.size - 1).clamp_min(0)[:, None])
        columns = self.order[(self.start[:, None] + within).clamp_max(len(self.order) - 1)]
        return columns, (place < self.size[:, None]) & (columns != self.itself[:, None])


def classmates(labels: Tensor, references: Tensor | None = None, itself: Tensor | None = None) -> Classmates:
    """Return where each anchor's class lies among the references.

    Args:
        labels: `(n,)` the anchors' classes.
        references: `(m,)` the references' classes; by default the anchors are compared with one another.
        itself: `(n,)` the column that is the anchor itself, or -1 where it is not among the references; by
            default none is, unless `references` is left out.

    >>> mates = classmates(torch.tensor([7, 3, 7]))
    >>> mates.positives, mates.negatives
    (tensor([1, 0, 1]), tensor([1, 2, 1]))
    """
    if itself is None:
        own = torch.arange(len(labels), device=labels.device)
        itself = own if references is None else torch.full_like(own, -1)
    ranked, order = torch.sort(labels if references is None else references, stable=True)
    start = torch.searchsorted(ranked, labels)
    size = torch.searchsorted(ranked, labels, right=True) - start
    return Classmates(order, start, size, itself)


def triplet_count(mates: Classmates) -> Tensor:
    """Return how many valid triplets there are, an int64 scalar."""
    return (mates.positives * mates.negatives).sum()


def hinge(distances: Tensor, mates: Classmates, *, margin: float) -> tuple[Tensor, Tensor]:
    """Return the sum of `max(0, d(a,p) - d(a,n) + margin)` over all triplets, and how many are active.

    Args:
        distances: `(n, m)` anchors by references, smaller is more alike.
        mates: who is of whose class.
        margin: at least 0, in the distances' unit.

    >>> distances = torch.tensor([[0.0, 0.5, 0.9], [0.5, 0.0, 0.6], [0.9, 0.6, 0.0]])
    >>> total, active = hinge(distances, classmates(torch.tensor([0, 0, 1])), margin=0.2)
    >>> round(total.item(), 4), active.item()  # only 0.5 - 0.6 + 0.2 is above 0
    (0.1, 1)
    """
    return _matrix_sum(distances, mates, margin, _hinge_rows)


def semihard(distances: Tensor, mates: Classmates, *, margin: float) -> tuple[Tensor, Tensor]:
    """Return the hinge's sum over the semi-hard triplets only, and how many they are.

    Semi-hard: `d(a,p) < d(a,n) < d(a,p) + margin`, the negative is further than the positive and still inside
    the margin (Schroff, Kalenichenko, Philbin: FaceNet, 2015). All of them are summed, not one for each pair.

    >>> distances = torch.tensor([[0.0, 0.5, 0.9], [0.5, 0.0, 0.4], [0.9, 0.4, 0.0]])
    >>> total, active = semihard(distances, classmates(torch.tensor([0, 0, 1])), margin=0.5)
    >>> round(total.item(), 4), active.item()  # 0.5 - 0.9 + 0.5; the other negative, at 0.4, is hard
    (0.1, 1)
    """
    return _matrix_sum(distances, mates, margin, _semihard_rows)


def softplus(distances: Tensor, mates: Classmates, *, margin: float) -> tuple[Tensor, Tensor]:
    """Return the sum of `log(1 + exp(d(a,p) - d(a,n) + margin))` over all triplets, and how many they are.

    The soft margin of Hermans, Beyer, Leibe: In defense of the triplet loss, 2017. It is smooth, so nothing can
    be counted: exact in O(n m) memory as the hinge, but in O(n m k) time.

    >>> distances = torch.tensor([[0.0, 0.5, 0.9], [0.5, 0.0, 0.6], [0.9, 0.6, 0.0]])
    >>> total, active = softplus(distances, classmates(torch.tensor([0, 0, 1])), margin=0.0)
    >>> round(total.item(), 4), active.item()  # log(1 + exp(-0.4)) + log(1 + exp(-0.1))
    (1.1574, 2)
    """
    return _matrix_sum(distances, mates, margin, _softplus_rows)


@dataclass(frozen=True)
class _Block:
    """A block of rows of a distance matrix with what is known of each anchor's class.

    Attributes:
        distances: `(b, m)`, float32 or float64, contiguous.
        mates: of the block's anchors.
        columns: `(b, k)` each anchor's class.
        own: `(b, k)`, whether a column is there for the first time.
        positive: `(b, k)`, whether it is a positive: its own, and not the anchor itself.
    """

    distances: Tensor
    mates: Classmates
    columns: Tensor
    own: Tensor
    positive: Tensor

    def near(self) -> Tensor:
        """Return the distances to the anchor's own class, `(b, k)`."""
        return self.distances.gather(1, self.columns)


# From a block and a margin to the block's sum (float64), its active count and its gradient (b, m).
_RowsSum = Callable[[_Block, float], tuple[Tensor, Tensor, Tensor]]


def _matrix_sum(distances: Tensor, mates: Classmates, margin: float, rows_sum: _RowsSum) -> tuple[Tensor, Tensor]:
    if distances.shape != (len(mates), len(mates.order)):
        raise ValueError(
            f"{len(mates)} anchors and {len(mates.order)} references need a distance matrix of that shape, "
            f"and this one is {tuple(distances.shape)}"
        )
    if distances.numel() == 0:
        return single_or_double(distances).sum(), torch.zeros((), dtype=torch.int64, device=distances.device)
    total, active = _MatrixSum.apply(  # type: ignore[no-untyped-call]
        distances, mates, margin, rows_sum
    )
    return total, active


class _MatrixSum(torch.autograd.Function):
    """A sum over a distance matrix, a block of rows at a time, that keeps its gradient for the way back."""

    @staticmethod
    def forward(
        ctx: Any, distances: Tensor, mates: Classmates, margin: float, rows_sum: _RowsSum
    ) -> tuple[Tensor, Tensor]:
        total = distances.new_zeros((), dtype=torch.float64)
        active = torch.zeros((), dtype=torch.int64, device=distances.device)
        gradient = torch.empty_like(distances) if ctx.needs_input_grad[0] else None
        for rows in block_rows(*distances.shape):
            value, count, slopes = rows_sum(_block(distances[rows], mates[rows]), margin)
            total += value
            active += count
            if gradient is not None:
                gradient[rows] = slopes
        ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(active)
        return total.to(single_or_double(distances[:0]).dtype), active

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_order("a sum over all triplets")
        (gradient,) = ctx.saved_tensors
        return gradient * upstream[0], None, None, None


def _block(distances: Tensor, mates: Classmates) -> _Block:
    columns, positive = mates.columns()
    own = torch.arange(columns.shape[1], device=columns.device) < mates.size[:, None]
    return _Block(single_or_double(distances).contiguous(), mates, columns, own, positive)


def _hinge_rows(block: _Block, margin: float) -> tuple[Tensor, Tensor, Tensor]:
    near, columns = _ranked(block)
    below, slopes = _counted(block, near + margin, None)
    return _assemble(block, columns, below, slopes, margin)


def _semihard_rows(block: _Block, margin: float) -> tuple[Tensor, Tensor, Tensor]:
    """Count the negatives inside the margin, less the hard ones: those no further than the positive.

    A negative is no further than the positive where it is below the next number after it.
    """
    near, columns = _ranked(block)
    bounds = near + margin
    # A margin that is lost in rounding leaves no room between the two.
    room = bounds > near
    after = torch.nextafter(near, torch.full_like(near, torch.inf))
    both = torch.cat([bounds.where(room, -torch.inf), after.where(room, -torch.inf)], dim=1)
    signs = torch.ones_like(both)
    signs[:, near.shape[1] :] = -1
    below, slopes = _counted(block, both, signs)
    inside, hard = below.chunk(2, dim=1)
    return _assemble(block, columns, inside - hard, slopes, margin)


def _softplus_rows(block: _Block, margin: float) -> tuple[Tensor, Tensor, Tensor]:
    bounds = (block.near() + margin).masked_fill_(~block.positive, -torch.inf)
    negatives = block.distances.scatter(1, block.columns, torch.inf)
    slopes, pulls = torch.zeros_like(negatives), torch.zeros_like(bounds)
    total = negatives.new_zeros((), dtype=torch.float64)
    for place in range(bounds.shape[1]):
        gap = bounds[:, place, None] - negatives
        total += F.softplus(gap).sum(dtype=torch.float64)
        pull = gap.sigmoid_()
        pulls[:, place] = pull.sum(1)
        slopes -= pull
    return total, triplet_count(block.mates), slopes.scatter_add_(1, block.columns, pulls)


def _ranked(block: _Block) -> tuple[Tensor, Tensor]:
    """Return the distances to each anchor's positives in ascending order, and their columns, both `(b, p)`.

    Anchors with fewer positives than others start with minus infinity, which no negative is below.
    """
    most = int(block.mates.positives.max())
    ranked, came_from = block.near().masked_fill(~block.positive, -torch.inf).sort(dim=1)
    spare = ranked.shape[1] - most
    return ranked[:, spare:].contiguous(), block.columns.gather(1, came_from[:, spare:])


def _counted(block: _Block, bounds: Tensor, signs: Tensor | None) -> tuple[Tensor, Tensor]:
    """Count the negatives below each bound, and the bounds above each distance, each times its sign.

    Args:
        block: the distances.
        bounds: `(b, c)`.
        signs: `(b, c)`, 1 or -1, the same in every row; all 1 if left out.

    Returns:
        the first counts `(b, c)`, int64; and the second ones `(b, m)` as a gradient, negated and of the
        distances' type, which means nothing in the columns of the anchor's own class.
    """
    return (_compared if bounds.shape[1] <= _FEW_BOUNDS else _searched)(block, bounds, signs)


def _compared(block: _Block, bounds: Tensor, signs: Tensor | None) -> tuple[Tensor, Tensor]:
    """Compare every distance with every bound: O(b m c), and fast for few bounds."""
    near = block.near()
    below = torch.empty_like(bounds, dtype=torch.int64)
    slopes, hit = torch.zeros_like(block.distances), torch.empty_like(block.distances)
    for place in range(bounds.shape[1]):
        bound = bounds[:, place, None]
        torch.lt(block.distances, bound, out=hit)
        slopes.sub_(hit) if signs is None else slopes.sub_(hit * signs[:, place, None])
        below[:, place] = hit.sum(1) - ((near < bound) & block.own).sum(1)
    return below, slopes


def _searched(block: _Block, bounds: Tensor, signs: Tensor | None) -> tuple[Tensor, Tensor]:
    """Find each distance's place among the bounds by binary search: O(b m log c)."""
    ranked, order = bounds.sort(dim=1)
    place = torch.searchsorted(ranked, block.distances, right=True)
    histogram = place.new_zeros(len(ranked), ranked.shape[1] + 1)
    histogram.scatter_add_(1, place, place.new_ones(()).expand_as(place))
    histogram.scatter_add_(1, place.gather(1, block.columns), -block.own.long())
    below = torch.empty_like(order).scatter_(1, order, histogram.cumsum(1)[:, :-1])
    if signs is None:
        return below, torch.sub(place, ranked.shape[1], out=torch.empty_like(block.distances))
    passed = F.pad(signs.gather(1, order).cumsum(1), (1, 0))
    return below, (passed - passed[:, -1:]).gather(1, place)


def _assemble(
    block: _Block, columns: Tensor, pulls: Tensor, slopes: Tensor, margin: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the sum, the active count and the gradient from how often each distance is active."""
    active = pulls.sum()
    slopes.scatter_(1, block.columns, 0).scatter_add_(1, columns, pulls.to(slopes.dtype))
    total = torch.dot(slopes.double().view(-1), block.distances.double().view(-1))
    return total + margin * active.double(), active, slopes

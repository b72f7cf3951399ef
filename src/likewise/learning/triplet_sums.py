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
        return _wide(distances).sum(), torch.zeros((), dtype=torch.int64, device=distances.device)
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
        return total.to(_wide(distances[:0]).dtype), active

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_order("a sum over all triplets")
        (gradient,) = ctx.saved_tensors
        return gradient * upstream[0], None, None, None


def _wide(values: Tensor) -> Tensor:
    """Return float64 as it is and anything narrower as float32."""
    return values if values.dtype == torch.float64 else values.float()


def _block(distances: Tensor, mates: Classmates) -> _Block:
    columns, positive = mates.columns()
    own = torch.arange(columns.shape[1], device=columns.device) < mates.size[:, None]
    return _Block(_wide(distances).contiguous(), mates, columns, own, positive)


def _hinge_rows(block: _Block, margin: float) -> tuple[Tensor, Tensor, Tensor]:
    pulls, slopes = _violations(block, block.near() + margin, inclusive=False)
    return _assemble(block, pulls, slopes, margin)


def _semihard_rows(block: _Block, margin: float) -> tuple[Tensor, Tensor, Tensor]:
    """Count the negatives inside the margin, less the hard ones: those no further than the positive."""
    near = block.near()
    bounds = near + margin
    # A margin that is lost in rounding leaves no room between the two.
    block = replace(block, positive=block.positive & (bounds > near))
    pulls, slopes = _violations(block, bounds, inclusive=False)
    hard_pulls, hard_slopes = _violations(block, near, inclusive=True)
    return _assemble(block, pulls - hard_pulls, slopes.sub_(hard_slopes), margin)


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


def _violations(block: _Block, bounds: Tensor, *, inclusive: bool) -> tuple[Tensor, Tensor]:
    """Count, for each positive's bound, the negatives below it, and for each column, the bounds above it.

    Inclusive counts a negative that is equal to a bound, too.

    Returns:
        the first counts `(b, k)`, int64, zero where not a positive; and the second ones `(b, m)` as a gradient,
        negative and of the distances' type, which means nothing in the columns of the anchor's own class.
    """
    most = int(block.mates.positives.max())
    ranked, came_from = bounds.masked_fill(~block.positive, -torch.inf).sort(dim=1)
    # Every row starts with at least so many columns of minus infinity, which no negative is below.
    spare = bounds.shape[1] - most
    count = _compared if most <= _FEW_BOUNDS else _searched
    below, slopes = count(block, ranked[:, spare:].contiguous(), inclusive)
    return torch.zeros_like(came_from).scatter_(1, came_from[:, spare:], below), slopes


def _compared(block: _Block, ranked: Tensor, inclusive: bool) -> tuple[Tensor, Tensor]:
    """Compare every distance with every bound: O(b m k), and fast for few bounds."""
    compare = torch.le if inclusive else torch.lt
    near = block.near()
    below = torch.empty_like(ranked, dtype=torch.int64)
    slopes, hit = torch.zeros_like(block.distances), torch.empty_like(block.distances)
    for place in range(ranked.shape[1]):
        bound = ranked[:, place, None]
        compare(block.distances, bound, out=hit)
        slopes -= hit
        below[:, place] = hit.sum(1) - (compare(near, bound) & block.own).sum(1)
    return below, slopes


def _searched(block: _Block, ranked: Tensor, inclusive: bool) -> tuple[Tensor, Tensor]:
    """Find each distance's place among the bounds by binary search: O(b m log k)."""
    place = torch.searchsorted(ranked, block.distances, right=not inclusive)
    histogram = place.new_zeros(len(ranked), ranked.shape[1] + 1)
    histogram.scatter_add_(1, place, place.new_ones(()).expand_as(place))
    histogram.scatter_add_(1, place.gather(1, block.columns), -block.own.long())
    slopes = torch.sub(place, ranked.shape[1], out=torch.empty_like(block.distances))
    return histogram.cumsum(1)[:, :-1], slopes


def _assemble(block: _Block, pulls: Tensor, slopes: Tensor, margin: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the sum, the active count and the gradient from how often each distance is active."""
    active = pulls.sum()
    slopes.scatter_(1, block.columns, 0).scatter_add_(1, block.columns, pulls.to(slopes.dtype))
    total = torch.dot(slopes.double().view(-1), block.distances.double().view(-1))
    return total + margin * active.double(), active, slopes

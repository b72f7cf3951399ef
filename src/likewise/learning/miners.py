"""Miners: which triplets of a batch to learn from, as row numbers, and how many of them teach nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from likewise.choices import choose
from likewise.distances import Distance, Euclidean
from likewise.learning import row_blocks
from likewise.learning.row_tuples import TripletTuples
from likewise.learning.triplet_sums import Classmates, classmates

# Wu et al. 2017: distances below the first are taken as the first, beyond the second none is drawn.
_NEAREST, _FURTHEST = 0.5, 1.4


@dataclass(frozen=True)
class Mined:
    """What a miner picked, and what it picked from.

    Attributes:
        tuples: the triplets, as row numbers of the batch.
        candidates: scalar int64, how many it could have picked: one for each valid triplet, positive pair or
            anchor, as the miner says.
        zero_share: scalar in 0..1, the share of candidates that gave no triplet, or one whose hinge
            `max(0, d(a,p) - d(a,n) + margin)` is zero; 1 with no candidate.
    """

    tuples: TripletTuples
    candidates: Tensor
    zero_share: Tensor


def mine(
    name: str,
    embeddings: Tensor,
    labels: Tensor,
    *,
    distance: Distance,
    margin: float = 0.0,
    generator: torch.Generator | None = None,
) -> Mined:
    """Return the triplets that a miner of `MINERS` picks from a batch.

    Args:
        name: a key of `MINERS`.
        embeddings: `(n, d)`; no gradient flows through the choice.
        labels: `(n,)` integers.
        distance: what the triplets are judged by.
        margin: at least 0: the width of the semi-hard band, and what the report counts as zero loss.
        generator: on the CPU, for `distance_weighted`; without one torch's own, as `torch.rand` does.

    Raises:
        ValueError: if the name is unknown.

    >>> x = torch.tensor([[0.0], [0.3], [1.0], [0.5]])
    >>> mined = mine("hard", x, torch.tensor([0, 0, 0, 1]), distance=Euclidean(), margin=0.1)
    >>> torch.stack([mined.tuples.anchor, mined.tuples.positive, mined.tuples.negative]).tolist()
    [[0, 1, 2], [2, 2, 0], [3, 3, 3]]
    >>> mined.candidates.item(), mined.zero_share.item()
    (3, 0.0)
    """
    pick, mates = choose("mining", name, MINERS), classmates(labels)
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    candidates = teaching = torch.zeros((), dtype=torch.int64, device=labels.device)
    with torch.no_grad():
        for rows, distances in row_blocks.matrices(distance, embeddings):
            block = _Rows(distances, mates[rows], embeddings[rows], embeddings, margin, generator)
            anchor, positive, negative, count = pick(block)
            gap = distances[anchor, positive] - distances[anchor, negative] + margin
            found.append((anchor + rows.start, positive, negative))
            candidates, teaching = candidates + count, teaching + (gap > 0).sum()
    empty = labels.new_zeros(0, dtype=torch.int64)
    columns = [torch.cat(part) for part in zip((empty, empty, empty), *found, strict=True)]
    return Mined(TripletTuples(*columns), candidates, 1 - teaching.double() / candidates.clamp_min(1))


class _Rows:
    """A block of anchors as miners see it.

    Attributes:
        distances: `(b, n)` to every row of the batch.
        mates: each anchor's class.
        columns: `(b, k)` the rows of its class.
        positive: `(b, k)` which of them are positives.
        near: `(b, k)` the distances to them.
        usable: `(b,)` whether there is a positive and a negative.
    """

    def __init__(
        self,
        distances: Tensor,
        mates: Classmates,
        anchors: Tensor,
        references: Tensor,
        margin: float,
        generator: torch.Generator | None,
    ) -> None:
        self.distances, self.mates = distances, mates
        self.anchors, self.references = anchors, references
        self.margin, self.generator = margin, generator
        self.columns, self.positive = mates.columns()
        self.near = distances.gather(1, self.columns)
        self.usable = (mates.positives > 0) & (mates.negatives > 0)

    def without_class(self, values: Tensor, filler: float) -> Tensor:
        """Return `(b, n)` values with the columns of the anchor's own class replaced."""
        return values.scatter(1, self.columns, filler)


_Picked = tuple[Tensor, Tensor, Tensor, Tensor]


def _all(rows: _Rows) -> _Picked:
    """Every valid triplet, one candidate each; as many numbers as there are triplets."""
    return _listed(rows, inside=False)


def _semihard(rows: _Rows) -> _Picked:
    """Every triplet with `d(a,p) < d(a,n) < d(a,p) + margin` (Schroff et al. 2015); candidates: all triplets."""
    return _listed(rows, inside=True)


def _listed(rows: _Rows, *, inside: bool) -> _Picked:
    negative_columns = torch.isfinite(rows.without_class(torch.zeros_like(rows.distances), torch.inf))
    parts = []
    for place in range(rows.columns.shape[1]):
        near = rows.near[:, place, None]
        wanted = negative_columns & rows.positive[:, place, None]
        if inside:
            wanted = wanted & (rows.distances > near) & (rows.distances < near + rows.margin)
        anchor, negative = wanted.nonzero(as_tuple=True)
        parts.append((anchor, rows.columns[anchor, place], negative))
    anchor, positive, negative = (torch.cat(part) for part in zip(*parts, strict=True))
    return anchor, positive, negative, (rows.mates.positives * rows.mates.negatives).sum()


def _nearest_semihard(rows: _Rows) -> _Picked:
    """For each positive pair the nearest of its semi-hard negatives, if it has any; candidates: the pairs.

    The negatives are sorted into the gaps between the positives, and each gap keeps its nearest: beyond a
    positive, the nearest is then the least of the gaps that follow.
    """
    near, order = rows.near.masked_fill(~rows.positive, torch.inf).sort(dim=1)
    far = rows.without_class(rows.distances, torch.inf)
    gap = torch.searchsorted(near, far)
    least = far.new_full((len(far), near.shape[1] + 1), torch.inf).scatter_reduce_(1, gap, far, "amin")
    anchor, column = (far == least.gather(1, gap)).nonzero(as_tuple=True)
    named = torch.full_like(least, len(rows.references), dtype=torch.int64)
    named.view(-1).scatter_reduce_(0, anchor * least.shape[1] + gap[anchor, column], column, "amin")
    beyond, which = least[:, 1:].flip(1).cummin(dim=1)
    beyond, which = beyond.flip(1), least.shape[1] - 1 - which.flip(1)
    wanted = torch.isfinite(near) & (beyond > near) & (beyond < near + rows.margin)
    anchor, place = wanted.nonzero(as_tuple=True)
    positive = rows.columns.gather(1, order)[anchor, place]
    negative = named.gather(1, which)[anchor, place]
    return anchor, positive, negative, (rows.positive & rows.usable[:, None]).sum()


def _hard(rows: _Rows) -> _Picked:
    """For each anchor its furthest positive and its nearest negative (Hermans et al. 2017)."""
    return _extreme(rows, rows.near.masked_fill(~rows.positive, -torch.inf).argmax(dim=1))


def _easy_positive(rows: _Rows) -> _Picked:
    """For each anchor its nearest positive and its nearest negative (Xuan, Stylianou, Pless 2020)."""
    return _extreme(rows, rows.near.masked_fill(~rows.positive, torch.inf).argmin(dim=1))


def _extreme(rows: _Rows, place: Tensor) -> _Picked:
    positive = rows.columns.gather(1, place[:, None])[:, 0]
    negative = rows.without_class(rows.distances, torch.inf).argmin(dim=1)
    anchor = rows.usable.nonzero()[:, 0]
    return anchor, positive[anchor], negative[anchor], rows.usable.sum()


def _distance_weighted(rows: _Rows) -> _Picked:
    """For each positive pair a negative drawn so that near and far ones are as likely (Wu et al. 2017).

    The chance is one over the density of distances on the sphere, `d^(dim-2) (1 - d^2/4)^((dim-3)/2)`, of the
    embeddings scaled to length 1, whatever the distance in use; distances below 0.5 count as 0.5, and those
    beyond 1.4 are not drawn unless there is nothing else. Candidates: the positive pairs.
    """
    dimensions = rows.anchors.shape[1]
    spread = Euclidean().pairwise(F.normalize(rows.anchors.double()), F.normalize(rows.references.double()))
    inner = spread.clamp(_NEAREST, _FURTHEST)
    rarity = -(dimensions - 2) * inner.log() - (dimensions - 3) / 2 * (1 - inner.square() / 4).log()
    allowed = rows.without_class((spread < _FURTHEST).double(), 0) > 0
    chances = (rarity.masked_fill(~allowed, -torch.inf)).softmax(dim=1)
    anywhere = rows.without_class(torch.ones_like(spread), 0)
    ladder = torch.where(allowed.any(dim=1, keepdim=True), chances, anywhere).cumsum(dim=1)
    drawn = torch.rand(rows.columns.shape, generator=rows.generator, dtype=torch.float64).to(ladder.device)
    negative = torch.searchsorted(ladder, drawn * ladder[:, -1:], right=True).clamp_max(ladder.shape[1] - 1)
    anchor, where = (rows.positive & rows.usable[:, None]).nonzero(as_tuple=True)
    return anchor, rows.columns[anchor, where], negative[anchor, where], torch.tensor(len(anchor)).to(anchor)


MINERS: dict[str, Callable[[_Rows], _Picked]] = {
    "all": _all,
    "semihard": _semihard,
    "nearest_semihard": _nearest_semihard,
    "hard": _hard,
    "easy_positive": _easy_positive,
    "distance_weighted": _distance_weighted,
}

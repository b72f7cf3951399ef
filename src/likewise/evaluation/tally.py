"""Impostor scores counted between the genuine ones, exactly, without sorting or keeping them all."""

from dataclasses import dataclass, field
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from likewise.evaluation.blocks import Indices, Singles
from likewise.evaluation.curves import Counts

Flags = NDArray[np.bool_]

CELLS = 2**20
"""Cells of the grid that scores are counted in."""
TOP = 2**20
"""About so many of the highest scores are kept, whatever their cell: there impostors are rare and edges are not."""
SORTED = 2**24
"""Kept scores that wait to be sorted together."""


@dataclass(frozen=True)
class Grid:
    """Numbers scores by equal cells. No step of it lets a higher score have a lower number, whatever the rounding.

    Attributes:
        start: where cell 1 begins; all that is lower is in cell 0.
        scale: cells in a score of 1.
    """

    start: np.float32
    scale: np.float32

    @classmethod
    def around(cls, edges: Singles) -> Self:
        """Return a grid that reaches a little below the lowest edge, and whose last cell has the highest."""
        low, high = float(edges[0]), float(edges[-1])
        start = np.float32(max(low - (high - low) / 64, float(np.finfo(np.float32).min)))
        with np.errstate(over="ignore", divide="ignore"):
            scale = np.float32((CELLS - 1) / (np.float64(high) - np.float64(start)))
        return cls(start, scale if np.isfinite(scale) else np.float32(1))

    def cells(self, scores: Singles) -> NDArray[np.int32]:
        """Return the cell of each score, 0 to `CELLS`; -inf is in cell 0."""
        places = torch.sub(torch.from_numpy(scores), float(self.start)).mul_(float(self.scale)).add_(1)
        numbers: NDArray[np.int32] = places.clamp_(0, CELLS).to(torch.int32).numpy()
        return numbers


@dataclass
class Tally:
    """Impostor scores counted between sorted edges, and the scores nearest to each edge.

    Every score is counted in the cell of a fine grid. Only those that share a cell with an edge, or are next to such
    a cell, or are among the highest, are kept and compared with the edges themselves. Where the score nearest to an
    edge is none of those, `missing` names its cell, and the scores of these cells are to be given to `look`.

    Attributes:
        edges: (edges,) rising.
        grid: where they lie.
        kept: (cells,) whether the scores of a cell are kept.
        histogram: (cells,) how many scores of each cell were counted and not kept.
        at_least: (edges,) kept impostors with a score of at least the edge.
        above: (edges,) kept impostors with a score above the edge.
        under: (edges,) the highest score seen below the edge, -inf for none.
        over: (edges,) the lowest score seen above the edge, inf for none.
        lowest: the lowest impostor score.
        highest: the highest impostor score.
        waiting: scores not yet placed.
    """

    edges: Singles
    grid: Grid
    kept: Flags
    histogram: Counts
    at_least: Counts
    above: Counts
    under: Singles
    over: Singles
    lowest: float = np.inf
    highest: float = -np.inf
    waiting: list[Singles] = field(default_factory=list)

    @classmethod
    def build(cls, edges: Singles) -> Self:
        """Return a tally of nothing yet, between these rising edges."""
        grid = Grid.around(edges)
        near = np.zeros(CELLS + 1, dtype=bool)
        cells = grid.cells(edges)
        for step in (-1, 0, 1):
            near[np.clip(cells + step, 0, CELLS)] = True
        near[cells[-1] :] = True
        counts, far = np.zeros(edges.size, dtype=np.int64), np.full(edges.size, np.inf, dtype=np.float32)
        return cls(edges, grid, near, np.zeros(CELLS + 1, dtype=np.int64), counts, counts.copy(), -far, far.copy())

    def add(self, scores: Singles, *, share: float) -> None:
        """Count a block.

        Args:
            scores: any shape; NaN is no score.
            share: which share of all scores the block holds; told of the first block, whose high scores say from
                which cell on all are kept.
        """
        self.lowest = min(self.lowest, float(np.fmin.reduce(scores, axis=None)))
        flat = _flat(scores)
        cells = self.grid.cells(flat)
        counted = torch.bincount(torch.from_numpy(cells), minlength=CELLS + 1).numpy()
        if not self.histogram.any():
            self._keep_the_top(counted, most=TOP * share)
        self._wait(_chosen(flat, cells, self.kept))
        self.histogram += np.where(self.kept, 0, counted)

    def _keep_the_top(self, counted: Counts, *, most: float) -> None:
        from_above = np.cumsum(counted[::-1])[::-1]
        self.kept[1:] |= from_above[1:] <= most

    def _wait(self, scores: Singles) -> None:
        self.waiting.append(scores)
        if sum(each.size for each in self.waiting) >= SORTED:
            self.place()

    def place(self) -> None:
        """Sort what waits, and place every edge in it: far fewer searches than placing every score."""
        scores, left, right = self._placed()
        self.at_least += scores.size - 1 - left
        self.above += scores.size - 1 - right
        self.highest = max(self.highest, float(scores[-2]))

    def _placed(self) -> tuple[Singles, Indices, Indices]:
        """Return what waited, sorted between an infinity at each end, and where each edge begins and ends in it."""
        scores = np.concatenate([np.array([-np.inf, np.inf], dtype=np.float32), *self.waiting])
        self.waiting = []
        scores.sort()
        left = np.searchsorted(scores, self.edges, side="left")
        right = left.copy()
        tied = np.flatnonzero(scores[left] == self.edges)
        right[tied] = np.searchsorted(scores, self.edges[tied], side="right")
        np.maximum(self.under, scores[left - 1], out=self.under)
        np.minimum(self.over, scores[right], out=self.over)
        return scores, left, right

    def missing(self) -> Flags | None:
        """Return the cells whose scores have yet to be looked at, or None: call it once all scores were added."""
        self.place()
        own = self.grid.cells(self.edges)
        filled = self.histogram > 0
        numbers = np.arange(CELLS + 1)
        before = np.maximum.accumulate(np.where(filled, numbers, -1))[own]
        after = np.minimum.accumulate(np.where(filled, numbers, CELLS + 1)[::-1])[::-1][own]
        # What matters of an edge lies between it and the edges beside it.
        seen_before = np.maximum(self._cells_or(self.under, -1), np.append(-1, own[:-1]))
        seen_after = np.minimum(self._cells_or(self.over, CELLS + 1), np.append(own[1:], CELLS + 1))
        cells = np.concatenate((before[before > seen_before], after[after < seen_after]))
        if not cells.size:
            return None
        wanted = np.zeros(CELLS + 1, dtype=bool)
        wanted[cells] = True
        return wanted

    def _cells_or(self, scores: Singles, otherwise: int) -> NDArray[np.int32]:
        return np.where(np.isfinite(scores), self.grid.cells(scores), otherwise).astype(np.int32)

    def look(self, scores: Singles, wanted: Flags) -> None:
        """Take from a block, counted before, the scores of some cells that are nearest to an edge."""
        flat = _flat(scores)
        self.waiting = [_chosen(flat, self.grid.cells(flat), wanted)]
        self._placed()

    def counts(self) -> tuple[Counts, Counts]:
        """Return how many impostors score at least each edge, and how many more than it: (edges,) each."""
        higher = np.append(np.cumsum(self.histogram[::-1])[::-1], 0)[self.grid.cells(self.edges) + 1]
        return self.at_least + higher, self.above + higher


def _flat(scores: Singles) -> Singles:
    """Return the scores in a row, what is none of them below all."""
    flat = torch.from_numpy(scores).flatten()
    found: Singles = flat.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf).numpy()
    return found


def _chosen(scores: Singles, cells: NDArray[np.int32], wanted: Flags) -> Singles:
    """Return those of the scores (n,) whose cell is wanted."""
    chosen = torch.index_select(torch.from_numpy(wanted), 0, torch.from_numpy(cells))
    return scores.take(np.flatnonzero(chosen.numpy()))

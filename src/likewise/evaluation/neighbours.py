"""Which columns can be among the nearest of a row? Found by products in single precision, whose error is bounded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from likewise.evaluation.blocks import Indices, Scores, Singles

Found = tuple[Indices, Indices]

GROUP = 64
"""Columns of which only the best is looked at first."""
CROWDED = 4
"""Groups a neighbour asked for, above which a coarse search spares nothing."""
TILE = 2048
"""Rows and columns of a product that stays near the processor; a multiple of `GROUP`."""
MOST_BYTES = 2**29
"""What the best of all groups of all rows may take."""


@dataclass(frozen=True)
class Coarse:
    """Scores in single precision, and how far they may be off.

    Attributes:
        left: (rows, lifted dimensions).
        right: (columns, lifted dimensions).
        bound: (rows,) how far a product of a row with a column may be off, or that of the two with the sides changed.
    """

    left: Tensor
    right: Tensor
    bound: Singles

    @classmethod
    def of(cls, scores: Scores) -> Coarse | None:
        """Return the coarse scores, or None where they are no product.

        Higham, "Accuracy and stability of numerical algorithms", section 3.1.
        """
        if scores.lifted is None:
            return None
        left, right = scores.lifted
        lengths = [torch.linalg.vector_norm(side, dim=1) for side in scores.lifted]
        longest = lengths[0] * lengths[1].max()
        if len(left) == len(right):
            longest = torch.maximum(longest, lengths[1] * lengths[0].max())
        bound = torch.finfo(torch.float32).eps * (left.shape[1] + 4) * longest
        return cls(left.float(), right.float(), np.asarray(bound.float()))

    def of_rows(self, rows: Indices, *, depth: int, leave_out: Indices | None, space: Tensor) -> Found | None:
        """Return places in `rows`, rising, and columns among which each row's `depth` best are, ties and all.

        These are the best by the coarse score, and all that lie within twice the bound of them. None where that would
        not spare work: a great depth, or too much that is nearly equally far.

        Args:
            rows: which rows.
            depth: how many of the best.
            leave_out: for each of `rows` the column that does not count.
            space: (at least as many rows, columns) in single precision, to be overwritten: new memory for each
                product costs a third of its time.
        """
        groups = len(self.right) // GROUP
        if groups < 2 * depth:
            return None
        product: Singles = torch.mm(self.left[rows], self.right.T, out=space[: rows.size]).numpy()
        if leave_out is not None:
            product[np.arange(rows.size), leave_out] = -np.inf
        # The best of each group are found fast, and the depth-th best of those is no better than that of all.
        best = product[:, : groups * GROUP].reshape(rows.size, GROUP, groups).max(axis=1)
        least = _least(best, depth) - 2 * self.bound[rows]
        row, group = np.nonzero(best >= least[:, None])
        if row.size > CROWDED * depth * rows.size:
            return None
        columns = group[:, None] + np.arange(GROUP) * groups
        reached, place = np.nonzero(product[row[:, None], columns] >= least[row, None])
        rest, ungrouped = np.nonzero(product[:, groups * GROUP :] >= least[:, None])
        return _by_row((row[reached], rest), (columns[reached, place], ungrouped + groups * GROUP))

    def of_all(self, *, depth: int) -> Found | None:
        """Return rows, rising, and other columns among which each row's `depth` best are; rows and columns are one set.

        As `of_rows`, but each product of two samples is taken once and serves both. None also where the best of the
        groups would take too much memory.
        """
        tiles = -(-len(self.left) // TILE)
        if tiles * TILE // GROUP < 2 * depth or 4 * (tiles * TILE) ** 2 // GROUP > MOST_BYTES:
            return None
        best = self._best(tiles)
        least = np.concatenate([_least(each, depth) for each in np.array_split(best, tiles)]) - 2 * self.bound
        hits = np.flatnonzero(best >= least[:, None])
        if hits.size > CROWDED * depth * len(best):
            return None
        rows, groups = np.divmod(hits, best.shape[1])
        return self._in_groups(rows, groups, least)

    def _best(self, tiles: int) -> Singles:
        """Return (samples, groups) the best coarse score of each sample with the others of each group."""
        samples, own = len(self.left), TILE // GROUP
        best, space = torch.empty(tiles * TILE, tiles * own), torch.empty(TILE, TILE)
        left, right = (
            torch.nn.functional.pad(side, (0, 0, 0, len(best) - samples)) for side in (self.left, self.right)
        )
        for i in range(tiles):
            for j in range(i, tiles):
                here, there = (slice(tile * TILE, (tile + 1) * TILE) for tile in (i, j))
                product = torch.mm(left[here], right[there].T, out=space)
                if i == j:
                    product.fill_diagonal_(-torch.inf)
                product[:, max(0, samples - there.start) :] = -torch.inf
                product[max(0, samples - here.start) :] = -torch.inf
                best[here, j * own : (j + 1) * own] = product.view(TILE, GROUP, own).amax(dim=1)
                best[there, i * own : (i + 1) * own] = product.view(GROUP, own, TILE).amax(dim=0).T
        found: Singles = best[:samples].numpy()
        return found

    def _in_groups(self, rows: Indices, groups: Indices, least: Singles) -> Found:
        """Return the pairs of rows and members of groups that reach the row's least."""
        order = np.argsort(groups, kind="stable")
        firsts = np.flatnonzero(np.diff(groups[order], prepend=-1))
        found = [self._in_group(int(groups[each[0]]), rows[each], least) for each in np.split(order, firsts[1:])]
        return _by_row(*zip(*found, strict=True))

    def _in_group(self, group: int, rows: Indices, least: Singles) -> Found:
        tile, place = divmod(group, TILE // GROUP)
        members = tile * TILE + place + np.arange(GROUP) * (TILE // GROUP)
        members = members[members < len(self.left)]
        product = torch.mm(self.left[rows], self.right[members].T).numpy()
        row, column = np.nonzero((product >= least[rows, None]) & (rows[:, None] != members))
        return rows[row], members[column]


def _least(best: Singles, depth: int) -> Singles:
    least: Singles = np.partition(best, best.shape[1] - depth, axis=1)[:, best.shape[1] - depth]
    return least


def _by_row(rows: tuple[Indices, ...], columns: tuple[Indices, ...]) -> Found:
    joined = np.concatenate(rows)
    order = np.argsort(joined, kind="stable")
    return joined[order], np.concatenate(columns)[order]

"""Triplets whose negative is hard: one of the anchor's nearest samples of another class, under a reference embedding.

Coarse distances come from a product in single precision, a block of anchors at a time. Its error is bounded, so all
that may be among the nearest is found, and only that is measured again, in double precision and always in the same
order of sums: which samples are nearest depends on the reference alone, not on blocks, threads or the processor.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from likewise.tuples.ranking import (
    Groups,
    Indices,
    Ladder,
    Numbered,
    checked_ranks,
    distinct_ranks,
    generator_of,
    group,
    in_chunks,
    stable_order,
)

Points = npt.NDArray[np.float32]
Squares = npt.NDArray[np.float64]

# Coarse distances held at a time, 8 MB, and numbers held while distances are measured again, 2 MB.
_COARSE = 2**21
_EXACT = 2**18
# Columns of which the best one is kept when a bound of the nearest is sought.
_GROUP = 32


class HardTriplets(Numbered):
    """Every hard (anchor, positive, negative) of labels (n,), numbered from 0 to count - 1.

    Anchor and positive are two different samples of one class, in either order. The negative is one of the
    `nearest` samples of another class that are nearest to the anchor by the Euclidean distance of a reference
    embedding (n, d); where two are equally far, the smaller row is nearer. A class of m samples has
    m (m - 1) min(nearest, n - m) of them, so that a rank is its class, then anchor, positive and the negative's place
    among the nearest as digits of a mixed radix. No distance is taken before a rank is asked for, and then only
    those of its anchor: memory is that of the result, of a centred copy of the reference and of a block.

    Args:
        labels: the class of each sample (n,), integers or strings.
        reference: an embedding of each sample (n, d); distances are those of its values in single precision.
        nearest: from how many samples of another class the negative of an anchor comes.

    >>> triplets = HardTriplets(["a", "a", "b", "b"], np.float32([[0], [4], [1], [9]]), nearest=1)
    >>> triplets.count
    4
    >>> triplets[[0, 1, 2, 3]]
    (array([0, 1, 2, 3]), array([1, 0, 3, 2]), array([2, 2, 0, 1]))

    Raises:
        ValueError: if the labels are not such, have one class or no class of two samples, the reference has
            another number of rows, is not finite or too large, or `nearest` is below 1.
    """

    def __init__(self, labels: npt.ArrayLike, reference: npt.ArrayLike, *, nearest: int) -> None:
        self._groups = group(labels)
        _check(self._groups, nearest)
        samples = self._groups.samples
        self._points = _checked_points(reference, samples)
        self._depths = np.minimum(nearest, samples - self._groups.sizes)
        sizes, depths = self._groups.sizes.tolist(), self._depths.tolist()
        self._ladder = Ladder([size * (size - 1) * depth for size, depth in zip(sizes, depths, strict=True)])
        self._classes = self._groups.classes(self._groups.to_rows(np.arange(samples)))
        self._centred = _centred(self._points)
        squares = np.einsum("ij,ij->i", self._centred, self._centred, dtype=np.float64)
        self._slack = _slack(squares, self._points.shape[1])
        self._squares = squares.astype(np.float32) + self._slack

    def __getitem__(self, ranks: npt.ArrayLike) -> tuple[Indices, Indices, Indices]:
        """Return the anchors, positives and negatives, each (k,), of ranks (k,).

        Raises:
            ValueError: if the ranks are not integers in one dimension.
            IndexError: if one is not between 0 and count - 1.
        """
        known = checked_ranks(ranks, self.count)
        anchor, positive, place = in_chunks(len(known), 3, lambda start, stop: self._unrank(known[start:stop]))
        return anchor, positive, self._negatives(anchor, place)

    def draw(self, count: int, *, seed: int) -> tuple[Indices, Indices, Indices]:
        """Return `count` anchors, positives and negatives, each (count,), uniform over all; no triplet comes twice.

        The (anchor, positive) pairs are uniform over all genuine pairs, but that a class with fewer than `nearest`
        samples outside it has fewer triplets a pair. The draw depends on the order of the samples: sort them by id for
        the same triplets from the same set.

        Raises:
            ValueError: if there are fewer hard triplets than are asked for.
        """
        if not 0 <= count <= self.count:
            raise ValueError(
                f"{count} distinct triplets were asked for, but there are {self.count} hard ones: "
                "ask for fewer, or take the negatives from more of the nearest."
            )
        return self[distinct_ranks(self.count, count, generator_of(seed))]

    def nearer_share(self, anchor: Indices, positive: Indices, negative: Indices) -> float:
        """Return the share of triplets, each side (k,), whose negative is nearer to the anchor than the positive is."""
        if not len(anchor):
            return 0.0
        nearer = self._measured(anchor, negative) < self._measured(anchor, positive)
        return float(nearer.mean())

    def _unrank(self, ranks: Indices) -> tuple[Indices, Indices, Indices]:
        owner, place = self._placed(ranks)
        start, size = self._groups.starts.take(owner), self._groups.sizes.take(owner)
        couple, place = np.divmod(place, self._depths.take(owner))
        anchor, positive = np.divmod(couple, size - 1)
        positive += positive >= anchor
        return self._groups.to_samples(start + anchor), self._groups.to_samples(start + positive), place

    def _negatives(self, anchor: Indices, place: Indices) -> Indices:
        """Return the negatives (k,): of each anchor (k,) the sample at a place (k,) among its nearest."""
        order = stable_order(anchor)
        anchors, starts = np.unique(anchor[order], return_index=True)
        bounds = np.append(starts, len(order))
        negative = np.empty_like(anchor)
        step = max(1, _COARSE // self._groups.samples)
        for first in range(0, len(anchors), step):
            block = anchors[first : first + step]
            rows = order[bounds[first] : bounds[first + len(block)]]
            nearest, begin = self._nearest(block)
            negative[rows] = nearest[begin[np.searchsorted(block, anchor[rows])] + place[rows]]
        return negative

    def _nearest(self, block: Indices) -> tuple[Indices, Indices]:
        """Return samples of another class, those of each anchor of a block (b,) from the nearest on, and their begins.

        Beyond the depth of a class come some more that nearly were among its nearest.
        """
        row, column = self._candidates(block)
        order = np.lexsort((column, self._measured(block[row], column), row))
        return column[order], np.searchsorted(row, np.arange(len(block)))

    def _candidates(self, block: Indices) -> tuple[Indices, Indices]:
        """Return rows of a block (b,), rising, and samples of another class: the nearest of each row, and some more."""
        coarse = self._centred[block] @ self._centred.T
        coarse *= -2
        coarse += self._squares
        np.copyto(coarse, np.inf, where=self._classes[block, None] == self._classes)
        # At most so far are the nearest, and at least so far, two slacks of either side less, is each.
        limit = _bound(coarse, int(self._depths.max())) + 2 * self._slack[block]
        coarse -= 2 * self._slack
        # Whose limit is infinite takes all others, but not its own class.
        limit = np.minimum(limit, np.finfo(np.float32).max)
        row, column = np.divmod(np.flatnonzero(coarse <= limit[:, None]), coarse.shape[1])
        return row, column

    def _measured(self, left: Indices, right: Indices) -> Squares:
        """Return the squared distances of samples (k,) and samples (k,)."""
        squares = np.empty(len(left))
        step = max(1, _EXACT // self._points.shape[1])
        for start in range(0, len(left), step):
            part = slice(start, start + step)
            apart = self._points[left[part]].astype(np.float64) - self._points[right[part]]
            # Each row is summed by itself, so that equal rows give equal sums wherever they stand.
            squares[part] = np.square(apart, out=apart).sum(axis=1)
        return squares


def _check(groups: Groups, nearest: int) -> None:
    if nearest < 1:
        raise ValueError(f"The negative was to come from the {nearest} nearest samples: give a number from 1 up.")
    if len(groups.sizes) < 2:
        raise ValueError("These labels have one class: a negative needs another, so give samples of two or more.")
    if groups.sizes.max() < 2:
        raise ValueError("No class has two samples, so no anchor has a positive: give two or more of some class.")


def _checked_points(reference: npt.ArrayLike, samples: int) -> Points:
    points = np.asarray(reference, dtype=np.float32)
    if points.ndim != 2 or len(points) != samples or not points.shape[1]:
        raise ValueError(
            f"The reference has shape {points.shape} for {samples} samples: give one row a sample, ({samples}, d)."
        )
    broken = int((~np.isfinite(points).all(axis=1)).sum())
    if broken:
        raise ValueError(f"{broken} of {samples} rows of the reference are not finite: leave such samples out.")
    return points


def _centred(points: Points) -> Points:
    """Return points (n, d) scaled by a power of two and moved to their median, so that products lose fewer digits.

    Which of two distances is the smaller stays the same, squares cannot overflow, and no far-off row moves the rest.
    """
    exponent = np.frexp(np.abs(points).max())[1]
    scaled: Points = np.ldexp(points, -exponent)
    scaled -= np.median(scaled, axis=0)
    return scaled


def _slack(squares: Squares, width: int) -> Points:
    """Return one side's part (n,) of how far a coarse distance of two rows may be off, from their squared lengths (n,).

    A product of rows of some width is off by at most width u |x| |y|, u being half the machine's epsilon (Higham,
    "Accuracy and stability of numerical algorithms", section 3.1), and 2 |x| |y| is at most |x|^2 + |y|^2, so that
    each side has its part. Centring, squared lengths and sums add a few u more; here all is taken twice.
    """
    kind = np.finfo(np.float32)
    return ((width + 10) * (float(kind.eps) * squares + float(kind.tiny))).astype(np.float32)


def _bound(coarse: Points, depth: int) -> Points:
    """Return a bound (b,) of the `depth` smallest of each row (b, n): the last of them, or a little above."""
    groups = coarse.shape[1] // _GROUP
    if groups >= 2 * depth:
        # The depth-th best of the best of each group is no better than that of all, and sooner found.
        coarse = coarse[:, : groups * _GROUP].reshape(len(coarse), _GROUP, groups).min(axis=1)
    return np.partition(coarse, depth - 1, axis=1)[:, depth - 1]

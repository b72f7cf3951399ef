"""What ranking and unranking need: samples grouped by class, ranks laid end to end, ranks drawn without listing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, log1p, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
Masks = npt.NDArray[np.bool_]

LARGEST = 2**63 - 1
# Numbers worked on at a time: a handful of arrays of this length stay in a processor's cache.
_CHUNK = 2**15
# Buckets of a ladder for each of its steps: more cost memory, fewer leave more ranks to a search.
_BUCKETS = 4


@dataclass(frozen=True, eq=False)
class Groups:
    """Samples grouped by class: a class's samples fill the rows from its start on, `sizes` of them.

    `order` holds the sample of each row (n,); it is None where the labels are grouped already, so that a row is a
    sample and nothing but a start and a size a class, each (classes,), is held.
    """

    samples: int
    starts: Indices
    sizes: Indices
    order: Indices | None

    def to_samples(self, rows: Indices) -> Indices:
        """Return the samples at rows of the grouped order."""
        return rows if self.order is None else self.order.take(rows)

    def to_rows(self, samples: Indices) -> Indices:
        """Return the rows of samples in the grouped order; takes an array of n where that is not theirs."""
        if self.order is None:
            return samples
        rows = np.empty_like(self.order)
        rows[self.order] = np.arange(self.samples)
        return rows[samples]

    def classes(self, rows: Indices) -> Indices:
        """Return the class, 0 to classes - 1, of rows of the grouped order."""
        return np.searchsorted(self.starts, rows, side="right") - 1


def group(labels: npt.ArrayLike) -> Groups:
    """Group samples by their labels (n,), integers or strings; labels that are grouped already stay in place.

    Raises:
        ValueError: if the labels are empty, not in one dimension, or neither integers nor strings.
    """
    array = np.asarray(labels)
    _check_labels(array)
    starts = _starts(array)
    leaders, order = np.sort(array[starts]), None
    if (leaders[1:] == leaders[:-1]).any():
        order = _order_of(array)
        starts = _starts(array[order])
    return Groups(len(array), starts, np.diff(starts, append=len(array)), order)


def stable_order(keys: Indices) -> Indices:
    """Return the rows (n,) that sort keys (n,), integers from 0 up, equal ones in the order they came.

    Key and row share one number where both fit its 63 bits: sorting numbers is several times faster than sorting
    rows by what they point to.
    """
    bits = len(keys).bit_length()
    if int(keys.max(initial=0)).bit_length() + bits > 63:
        return np.argsort(keys, kind="stable")
    packed = (keys << bits) | np.arange(len(keys))
    packed.sort()
    packed &= (1 << bits) - 1
    return packed


def _order_of(labels: npt.NDArray[Any]) -> Indices:
    if labels.dtype.kind in "iu" and int(labels.max()) - int(labels.min()) <= LARGEST:
        wide = np.uint64 if labels.dtype.kind == "u" else np.int64
        return stable_order((labels.astype(wide) - wide(labels.min())).astype(np.int64, copy=False))
    return np.argsort(labels, kind="stable").astype(np.int64, copy=False)


def _check_labels(labels: npt.NDArray[Any]) -> None:
    if labels.ndim != 1 or not len(labels):
        raise ValueError(f"Labels have shape {labels.shape}: give one for each sample, in one dimension.")
    strings = labels.dtype.kind == "O" and all(isinstance(label, str) for label in labels)
    if not strings and labels.dtype.kind not in "iubUST":
        raise ValueError(f"Labels are {labels.dtype}: give integers or strings, none of them missing.")


def _starts(array: npt.NDArray[Any]) -> Indices:
    return np.concatenate([[0], np.flatnonzero(array[1:] != array[:-1]) + 1])


class Ladder:
    """Ranks 0 to total - 1 laid end to end, `counts` (steps,) of them on each step, to find the step of a rank.

    A table of up to four buckets a step answers with two look-ups; a search is left for the ranks in buckets that
    more than two steps share, less than half of all. Memory is that of the steps.

    Raises:
        ValueError: if the total is above 2^63 - 1.
    """

    def __init__(self, counts: Sequence[int]) -> None:
        self.total = sum(counts)
        if self.total > LARGEST:
            raise ValueError(
                f"{self.total} tuples are more than a rank of 64 bits can number (2^63 - 1): "
                "take fewer samples at a time."
            )
        steps = np.array(counts, dtype=np.int64)
        self._ends = np.cumsum(steps)
        self.starts: Indices = self._ends - steps
        last = max(0, self.total - 1)
        self._shift = max(0, last.bit_length() + 1 - (_BUCKETS * len(steps)).bit_length())
        first = np.arange((last >> self._shift) + 1, dtype=np.int64) << self._shift
        final = np.minimum(first | ((1 << self._shift) - 1), last)
        self._guide: Indices = np.searchsorted(self._ends, first, side="right")
        self._crowded: Masks = np.searchsorted(self._ends, final, side="right") > self._guide + 1

    def locate(self, ranks: Indices) -> Indices:
        """Return the step of each rank (n,)."""
        bucket = ranks >> self._shift
        step = self._guide.take(bucket)
        step += ranks >= self._ends.take(step, mode="clip")
        if self._crowded.any():
            unsure = np.flatnonzero(self._crowded.take(bucket))
            step[unsure] = np.searchsorted(self._ends, ranks[unsure], side="right")
        return step


class Numbered:
    """What is numbered from 0 to count - 1, class by class, and never listed; `_ladder` knows where each begins."""

    _ladder: Ladder

    @property
    def count(self) -> int:
        """How many there are."""
        return self._ladder.total

    def __len__(self) -> int:
        return self.count

    def _placed(self, ranks: Indices) -> tuple[Indices, Indices]:
        """Return the class of each rank (n,), and its place among those of its class."""
        owner = self._ladder.locate(ranks)
        return owner, ranks - self._ladder.starts.take(owner)


def checked_ranks(ranks: npt.ArrayLike, total: int) -> Indices:
    """Return ranks as int64 (n,).

    Raises:
        ValueError: if they are not integers in one dimension.
        IndexError: if one is not between 0 and total - 1.
    """
    array = np.asarray(ranks)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        if array.size:
            raise ValueError(f"Ranks are {array.dtype} of shape {array.shape}: give integers of shape (n,).")
        array = np.empty(0, dtype=np.int64)
    if len(array) and not 0 <= int(array.min()) <= int(array.max()) < total:
        raise IndexError(
            f"Ranks run from {array.min()} to {array.max()}, but there are {total}: give 0 to {total - 1}."
        )
    return array.astype(np.int64, copy=False)


def in_chunks(count: int, columns: int, chunk: Callable[[int, int], Sequence[Indices]]) -> tuple[Indices, ...]:
    """Return `columns` arrays (count,) filled by `chunk(start, stop)`, in pieces that stay in the cache."""
    whole = tuple(np.empty(count, dtype=np.int64) for _ in range(columns))
    for start in range(0, count, _CHUNK):
        stop = min(start + _CHUNK, count)
        for column, piece in zip(whole, chunk(start, stop), strict=True):
            column[start:stop] = piece
    return whole


def distinct_ranks(total: int, count: int, generator: np.random.Generator) -> Indices:
    """Return `count` of the ranks 0 to total - 1, none twice, in random order, each such list equally likely.

    Memory grows with `count` alone: ranks are drawn, repeats dropped and what is missing drawn again. Every rank is
    treated alike, so given how many are left, each set of them is equally likely; a shuffle then orders it.

    Raises:
        ValueError: if `count` is negative or above `total`.
    """
    if not 0 <= count <= total:
        raise ValueError(f"{count} distinct ranks were asked for, and there are {total}.")
    if total <= 3 * count:
        return generator.permutation(total)[:count].copy()
    found = np.empty(0, dtype=np.int64)
    while len(found) < count:
        fresh = generator.integers(total, size=_draws(total, count, len(found)))
        found = _sorted_set(np.concatenate([found, fresh]))
    generator.shuffle(found)
    return found[:count].copy()


def _draws(total: int, count: int, found: int) -> int:
    """Return how many draws bring `found` distinct ranks to `count`, but for rare bad luck."""
    expected = total * (log1p(-found / total) - log1p(-count / total))
    return ceil(expected + 3 * sqrt(expected)) + 1


def _sorted_set(ranks: Indices) -> Indices:
    ranks.sort()
    first: Masks = np.concatenate([[True], ranks[1:] != ranks[:-1]])
    return ranks[first]


def generator_of(seed: int, *keys: int) -> np.random.Generator:
    """Return the generator of a seed, or of one of the streams that keys name below it.

    Raises:
        ValueError: if a number is negative.
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=keys)))

"""Which rows of the media are a sample's: one, but for a sound of several windows; no PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Array = np.ndarray[Any, Any]


def offsets_of(counts: Array) -> Rows:
    """Return where each sample begins, and where the last one ends (samples + 1), from how many rows each has.

    Example:
        >>> offsets_of(np.array([1, 3, 1]))
        array([0, 1, 4, 5])
    """
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)


def every_row(samples: Array, offsets: Array) -> tuple[Rows, Rows]:
    """Return the rows of samples, those of one after those of the other, and how many each has.

    Args:
        samples: numbers of samples (n,), in any order, also twice.
        offsets: where each of all samples begins, and where the last one ends.

    Raises:
        IndexError: when there is no such sample.

    Example:
        >>> every_row(np.array([1, 0]), np.array([0, 1, 4]))
        (array([1, 2, 3, 0]), array([3, 1]))
    """
    starts, counts = _extents(samples, offsets)
    return ranges(starts, counts), counts


def ranges(starts: Rows, counts: Rows) -> Rows:
    """Return the numbers `start`, `start + 1` and so on, as many as each start's count, one start's after the other's.

    Example:
        >>> ranges(np.array([7, 2]), np.array([1, 3]))
        array([7, 2, 3, 4])
    """
    before = np.cumsum(counts) - counts
    return np.repeat(starts - before, counts) + np.arange(counts.sum())


def one_row(samples: Array, offsets: Array, *, seed: int) -> Rows:
    """Return a row of each sample, drawn uniformly from its own: the same for the same seed.

    A sample that is there twice is drawn twice.

    Args:
        samples: numbers of samples (n,), in any order.
        offsets: where each of all samples begins, and where the last one ends.
        seed: decides the draw.

    Raises:
        IndexError: when there is no such sample.

    Example:
        >>> one_row(np.array([0, 0]), np.array([0, 1]), seed=3)
        array([0, 0])
    """
    starts, counts = _extents(samples, offsets)
    return starts + np.random.default_rng(seed).integers(0, counts)


def means(values: Array, counts: Array) -> Array:
    """Return the mean of each sample's rows, of the type of `values`, summed in double precision.

    Args:
        values: a row of numbers for each row of the media, as `every_row` gives them (rows, d).
        counts: how many rows each sample has, at least 1.

    Example:
        >>> means(np.array([[1.0], [2.0], [6.0]], dtype=np.float32), np.array([1, 2]))
        array([[1.],
               [4.]], dtype=float32)
    """
    if len(counts) == len(values):
        return values
    sums = np.add.reduceat(values, offsets_of(counts)[:-1], axis=0, dtype=np.float64)
    return np.asarray(sums / counts[:, None]).astype(values.dtype)


def _extents(samples: Array, offsets: Array) -> tuple[Rows, Rows]:
    return offsets[samples], offsets[samples + 1] - offsets[samples]

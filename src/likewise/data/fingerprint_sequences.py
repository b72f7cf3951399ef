"""Fingerprints of sequences: 256 bits in which copies that were moved, resampled or rounded hardly differ."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from likewise.data.fingerprint_base import Numbers, Words, blocks, cosines, packed, scattered, unpacked

BITS = 256
LEVELS = 1 << 11
"""Steps from the least to the greatest of the channel that spans most."""

LOWEST = 16


def sequence_fingerprints(sequences: NDArray[np.floating[Any]]) -> Words:
    """Return 256 bits of each sequence (n, channels, points), uint64 (n, 4).

    Each channel's middle is taken off and all are divided by the widest span, in whole steps of 1/2048, giving x. Of
    the discrete cosine transform of each channel over its N points, c(k) = sum_i x_i cos(pi k (2i + 1) / (2N)), the
    frequencies k = 1 to 16 are kept and weighed by k, as in the curve's slope: what all samples of a class share is
    slow. A bit is the side of a hyperplane through 0 on which these numbers lie, so that two sequences at the angle a
    differ in a share a / pi of the bits (Charikar, Similarity estimation techniques from rounding algorithms, 2002,
    section 3). The hyperplanes' coefficients are 1 or -1, drawn once and for all.

    >>> curve = np.sin(np.linspace(0, 9, 50))[None, None]
    >>> int(np.bitwise_count(sequence_fingerprints(curve) ^ sequence_fingerprints(5 - 3 * curve)).sum())
    256
    >>> int(np.bitwise_count(sequence_fingerprints(curve) ^ sequence_fingerprints(5 + 3 * curve)).sum())
    0
    """
    return np.concatenate([np.zeros((0, BITS // 64), np.uint64), *map(_block, blocks(sequences, widest=BITS))])


def _block(sequences: NDArray[np.floating[Any]]) -> Words:
    frequencies = np.arange(1, LOWEST + 1)
    # All sums are of whole numbers below 2^53: exact in any order.
    slow = _levelled(sequences) @ (frequencies[:, None] * cosines(frequencies, sequences.shape[2])).T
    numbers = slow.reshape(len(sequences), -1)
    return packed(numbers @ _planes(numbers.shape[1]) > 0)


def _levelled(sequences: NDArray[np.floating[Any]]) -> Numbers:
    points = sequences.astype(np.float64)
    least, most = points.min(axis=2, keepdims=True), points.max(axis=2, keepdims=True)
    span = (most - least).max(axis=1, keepdims=True)
    return np.asarray(np.rint((points - (least + most) / 2) / np.where(span > 0, span, 1) * LEVELS))


def _planes(count: int) -> Numbers:
    """Return the coefficients 1 or -1 (count, 256) of the hyperplanes."""
    words = scattered(np.arange(count, dtype=np.uint64), BITS // 64)
    return 2 * unpacked(words).astype(np.float64) - 1

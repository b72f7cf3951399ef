"""What all fingerprints share: words of bits, made in whole numbers so that they are the same on every machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Words = NDArray[np.uint64]
"""Fingerprints as words of 64 bits: (n, words)."""

Numbers = NDArray[np.float64]

SCALE = 1 << 10
"""Cosines are whole numbers of 1/1024, so that sums of whole numbers times them are exact, in any order."""

BLOCK_VALUES = 1 << 19
"""Numbers in a block: 4 MB stay in a cache, and are not asked for anew each time, which took longer than the sums."""
STEP = 0x9E37_79B9_7F4A_7C15
MIXERS = ((30, 0xBF58_476D_1CE4_E5B9), (27, 0x94D0_49BB_1331_11EB))


def packed(bits: NDArray[np.bool_]) -> Words:
    """Return bits (n, 64 words) as words: bit `64 w + i` is bit i of word w.

    >>> packed(np.arange(128)[None] == 65)
    array([[0, 2]], dtype=uint64)
    """
    return np.packbits(bits, axis=1, bitorder="little").view("<u8").astype(np.uint64)


def blocks(media: NDArray[Any], *, widest: int = 1) -> Iterator[NDArray[Any]]:
    """Yield the rows (n, ...) a few at a time: half a million values at most, where each is `widest` on its way."""
    rows = max(1, BLOCK_VALUES // max(widest, int(np.prod(media.shape[1:]))))
    for start in range(0, len(media), rows):
        yield media[start : start + rows]


def cosine(turns: ArrayLike) -> Numbers:
    """Return `cos(2 pi turns)`, in whole numbers of 1/1024."""
    return np.asarray(np.rint(SCALE * np.cos(2 * np.pi * np.asarray(turns))))


def cosines(frequencies: NDArray[np.integer[Any]], length: int) -> Numbers:
    """Return `cos(pi u (2 i + 1) / (2 length))` for each frequency u and place i, in whole numbers of 1/1024.

    >>> cosines(np.array([0, 1]), 2)
    array([[1024., 1024.],
           [ 724., -724.]])
    """
    return cosine(np.outer(frequencies, (2 * np.arange(length) + 1) / (4 * length)))


def scattered(numbers: NDArray[np.uint64], count: int) -> Words:
    """Return for each number (n,) `count` words (n, count) without any pattern: the first of SplitMix64 seeded with it.

    After Steele, Lea and Flood, Fast splittable pseudorandom number generators, 2014.

    >>> [hex(word) for word in scattered(np.array([0], np.uint64), 2)[0].tolist()]
    ['0xe220a8397b1dcdaf', '0x6e789e6aa1b965f4']
    """
    words = numbers[:, None] + np.uint64(STEP) * np.arange(1, count + 1, dtype=np.uint64)
    for shift, factor in MIXERS:
        words = (words ^ (words >> np.uint64(shift))) * np.uint64(factor)
    return np.asarray(words ^ (words >> np.uint64(31)))


def unpacked(words: Words) -> NDArray[np.uint8]:
    """Return the bits (n, 64 words) of words (n, words), 0 or 1, as `packed` takes them."""
    return np.unpackbits(words.astype("<u8").view(np.uint8), axis=1, bitorder="little")

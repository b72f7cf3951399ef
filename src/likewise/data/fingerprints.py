"""Fingerprints of images: 64 bits in which copies that were scaled, recompressed or touched up hardly differ."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from likewise.data.raw import Pixels

Hashes = NDArray[np.uint64]

SIDE, LOWEST = 32, 8
SCALE = 1 << 10
"""The cosines are whole numbers of 1/1024, so that sums are exact and the bits the same on every machine."""

BLOCK_PIXELS = 1 << 22
PARTS = 4
MOST_BITS = PARTS - 1
"""The largest distance for which `near_across` is exact."""


def perceptual_hashes(images: Pixels) -> Hashes:
    """Return the 64-bit DCT hash of each image (n, C, H, W), uint64 (n,).

    The channels' mean is averaged over the cells of a 32 x 32 grid and rounded to 0 to 255, giving x. Of its discrete
    cosine transform c(u, v) = sum_ij x_ij cos(pi u (2i + 1) / 64) cos(pi v (2j + 1) / 64) the lowest frequencies
    u, v = 1 to 8 are kept. Bit 8 (u - 1) + v - 1 is 1 where c(u, v) is above the median of the 64. After Zauner:
    Implementation and Benchmarking of Perceptual Image Hash Functions, 2010, section 3.2.1, without its blur.

    >>> ramp = np.arange(64, dtype=np.uint8).reshape(1, 1, 8, 8)
    >>> near = np.bitwise_count(perceptual_hashes(ramp) ^ perceptual_hashes(ramp + np.uint8(9)))
    >>> near.tolist()
    [0]
    """
    blocks = [_hash_block(block) for block in _blocks(images)]
    return np.concatenate(blocks) if blocks else np.zeros(0, np.uint64)


def near_across(hashes: Hashes, sides: NDArray[np.integer], *, bits: int) -> NDArray[np.bool_]:
    """Return for each hash (n,) whether one of another side differs from it in at most `bits` bits.

    Sides (n,) are small whole numbers, such as 0, 1 and 2 for the splits. Two words of 64 bits that differ in at most
    three agree in one of four parts of 16, so only those that agree in a part are compared (Norouzi, Punjani, Fleet:
    Fast search in Hamming space with multi-index hashing, 2012). A part takes every fourth bit. Memory is linear in n.

    >>> near_across(np.array([0, 3, 255], np.uint64), np.array([0, 1, 1]), bits=2).tolist()
    [True, True, False]

    Raises:
        ValueError: `bits` is not from 0 to 3, for which this is exact.
    """
    if not 0 <= bits <= MOST_BITS:
        raise ValueError(f"bits is {bits}: near hashes are found for 0 to {MOST_BITS} bits")
    values, inverse = np.unique(hashes, return_inverse=True)
    own = np.left_shift(1, sides).astype(np.uint8)
    masks = np.zeros(len(values), np.uint8)
    np.bitwise_or.at(masks, inverse, own)
    reached = masks.copy()
    for left, right in _candidates(values):
        close = np.bitwise_count(values[left] ^ values[right]) <= bits
        left, right = left[close], right[close]
        # No index comes twice among `left`, nor among `right`.
        reached[left] |= masks[right]
        reached[right] |= masks[left]
    near: NDArray[np.bool_] = (reached[inverse] & ~own) != 0
    return near


def _candidates(values: Hashes) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield the pairs of different values that agree in a part, each index at most once on each side of a yield."""
    every_fourth = sum(1 << bit for bit in range(0, 64, PARTS))
    for part in range(PARTS):
        keys = values & np.uint64(every_fourth << part)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        here, step = np.arange(len(keys)), 1
        while len(here := here[: np.searchsorted(here, len(keys) - step)]):
            here = here[keys[here] == keys[here + step]]
            yield order[here], order[here + step]
            step += 1


def _blocks(images: Pixels) -> Iterator[Pixels]:
    rows = max(1, BLOCK_PIXELS // max(1, int(np.prod(images.shape[1:]))))
    for start in range(0, len(images), rows):
        yield images[start : start + rows]


def _hash_block(images: Pixels) -> Hashes:
    count, channels, height, width = images.shape
    # All sums are of whole numbers below 2^53: exact in any order.
    grey = images.sum(axis=1, dtype=np.float64)
    cells = _cells(height) @ (grey.reshape(-1, width) @ _cells(width).T).reshape(count, height, SIDE)
    levels = np.rint(cells / (channels * height * width))
    waves = _waves()
    lowest = (waves @ (levels.reshape(-1, SIDE) @ waves.T).reshape(count, SIDE, LOWEST)).reshape(count, 64)
    bits = lowest > np.median(lowest, axis=1, keepdims=True)
    return np.packbits(bits, axis=1, bitorder="little").view("<u8")[:, 0].astype(np.uint64)


def _cells(size: int) -> NDArray[np.float64]:
    """Return (32, size) how much of each pixel lies in each cell: a pixel is 32 units long, a cell `size`."""
    starts, pixels = np.arange(SIDE)[:, None] * size, np.arange(size) * SIDE
    overlap = np.minimum(starts + size, pixels + SIDE) - np.maximum(starts, pixels)
    lengths: NDArray[np.float64] = np.clip(overlap, 0, None).astype(np.float64)
    return lengths


def _waves() -> NDArray[np.float64]:
    """Return (8, 32) the cosines of the frequencies 1 to 8."""
    angles = np.pi * np.arange(1, LOWEST + 1)[:, None] * (2 * np.arange(SIDE) + 1) / (2 * SIDE)
    waves: NDArray[np.float64] = np.rint(SCALE * np.cos(angles))
    return waves

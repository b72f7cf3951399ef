"""Fingerprints of images: 64 bits in which copies that were scaled, recompressed or touched up hardly differ."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from likewise.data.fingerprint_base import Words, blocks, cosines, packed
from likewise.data.raw import Pixels

BITS = 64
SIDE, LOWEST = 32, 8


def image_fingerprints(images: Pixels) -> Words:
    """Return the 64-bit DCT hash of each image (n, C, H, W), uint64 (n, 1).

    The channels' mean is averaged over the cells of a 32 x 32 grid and rounded to 0 to 255, giving x. Of its discrete
    cosine transform c(u, v) = sum_ij x_ij cos(pi u (2i + 1) / 64) cos(pi v (2j + 1) / 64) the lowest frequencies
    u, v = 1 to 8 are kept. Bit 8 (u - 1) + v - 1 is 1 where c(u, v) is above the median of the 64. After Zauner:
    Implementation and Benchmarking of Perceptual Image Hash Functions, 2010, section 3.2.1, without its blur.

    >>> ramp = np.arange(64, dtype=np.uint8).reshape(1, 1, 8, 8)
    >>> near = np.bitwise_count(image_fingerprints(ramp) ^ image_fingerprints(ramp + np.uint8(9)))
    >>> near.tolist()
    [[0]]
    """
    return np.concatenate([np.zeros((0, 1), np.uint64), *map(_block, blocks(images, widest=SIDE * SIDE))])


def _block(images: Pixels) -> Words:
    count, channels, height, width = images.shape
    # All sums are of whole numbers below 2^53: exact in any order.
    grey = images.sum(axis=1, dtype=np.float64)
    # Image by image: in one large product BLAS's threads would wait for each other longer than they work.
    cells = _cells(height) @ (grey @ _cells(width).T)
    levels = np.rint(cells / (channels * height * width))
    low = cosines(np.arange(1, LOWEST + 1), SIDE)
    lowest = (low @ (levels @ low.T)).reshape(count, BITS)
    return packed(lowest > np.median(lowest, axis=1, keepdims=True))


def _cells(size: int) -> NDArray[np.float64]:
    """Return (32, size) how much of each pixel lies in each cell: a pixel is 32 units long, a cell `size`."""
    starts, pixels = np.arange(SIDE)[:, None] * size, np.arange(size) * SIDE
    overlap = np.minimum(starts + size, pixels + SIDE) - np.maximum(starts, pixels)
    lengths: NDArray[np.float64] = np.clip(overlap, 0, None).astype(np.float64)
    return lengths

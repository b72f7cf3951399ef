from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from likewise.data import fingerprint_base
from likewise.data.fingerprint_images import image_fingerprints
from likewise.data.hamming import differing
from tests.data.pictures import noise


def oracle(image: NDArray[np.uint8]) -> int:
    """The definition in loops: areas of cells, then the sum of each frequency."""
    channels, height, width = image.shape
    grid = np.zeros((32, 32))
    for i in range(32):
        for j in range(32):
            total = 0.0
            for y in range(height):
                for x in range(width):
                    tall = max(0, min((i + 1) * height, (y + 1) * 32) - max(i * height, y * 32))
                    wide = max(0, min((j + 1) * width, (x + 1) * 32) - max(j * width, x * 32))
                    total += tall * wide * int(image[:, y, x].sum())
            grid[i, j] = round(total / (channels * height * width))
    wave = [[round(1024 * math.cos(math.pi * u * (2 * i + 1) / 64)) for i in range(32)] for u in range(9)]
    lowest = [
        sum(grid[i, j] * wave[u][i] * wave[v][j] for i in range(32) for j in range(32))
        for u in range(1, 9)
        for v in range(1, 9)
    ]
    middle = sorted(lowest)[31:33]
    return sum(1 << place for place, value in enumerate(lowest) if value > sum(middle) / 2)


@pytest.mark.parametrize(("height", "width", "channels"), [(5, 7, 1), (8, 4, 3), (33, 2, 1)])
def test_it_is_the_definition(height: int, width: int, channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (channels, height, width), dtype=np.uint8)
    assert image_fingerprints(image[None]).tolist() == [[oracle(image)]]


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, 1, 20, 12), dtype=np.uint8)
    whole = image_fingerprints(images)
    assert whole.dtype == np.uint64
    assert whole.tolist() == [image_fingerprints(image[None])[0].tolist() for image in images]
    monkeypatch.setattr(fingerprint_base, "BLOCK_VALUES", 500)
    assert image_fingerprints(images).tolist() == whole.tolist()
    assert image_fingerprints(images[:0]).shape == (0, 1)


@pytest.mark.parametrize("level", [0, 7, 255])
def test_a_constant_image_has_no_bit(level: int) -> None:
    assert image_fingerprints(np.full((1, 3, 19, 23), level, np.uint8)).tolist() == [[0]]


def test_a_touched_up_copy_is_near_and_another_image_is_not() -> None:
    smooth = Image.fromarray(noise(3, height=9, width=9)).resize((90, 90), Image.Resampling.BICUBIC)
    other = Image.fromarray(noise(4, height=9, width=9)).resize((90, 90), Image.Resampling.BICUBIC)
    copies = [smooth, smooth.resize((60, 60)).resize((90, 90)), smooth.point(lambda value: value * 0.9), other]
    hashes = image_fingerprints(np.stack([np.asarray(copy)[None] for copy in copies]))
    distances = differing(hashes, hashes[0]).tolist()
    assert max(distances[:3]) <= 3
    assert distances[3] > 15

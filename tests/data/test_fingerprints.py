from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from likewise.data import fingerprints
from likewise.data.fingerprints import near_across, perceptual_hashes
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
    assert perceptual_hashes(image[None]).tolist() == [oracle(image)]


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, 1, 20, 12), dtype=np.uint8)
    whole = perceptual_hashes(images)
    assert whole.dtype == np.uint64
    assert whole.tolist() == [int(perceptual_hashes(image[None])[0]) for image in images]
    monkeypatch.setattr(fingerprints, "BLOCK_PIXELS", 500)
    assert perceptual_hashes(images).tolist() == whole.tolist()
    assert perceptual_hashes(images[:0]).tolist() == []


@pytest.mark.parametrize("level", [0, 7, 255])
def test_a_constant_image_has_no_bit(level: int) -> None:
    assert perceptual_hashes(np.full((1, 3, 19, 23), level, np.uint8)).tolist() == [0]


def test_a_touched_up_copy_is_near_and_another_image_is_not() -> None:
    smooth = Image.fromarray(noise(3, height=9, width=9)).resize((90, 90), Image.Resampling.BICUBIC)
    other = Image.fromarray(noise(4, height=9, width=9)).resize((90, 90), Image.Resampling.BICUBIC)
    copies = [smooth, smooth.resize((60, 60)).resize((90, 90)), smooth.point(lambda value: value * 0.9), other]
    hashes = perceptual_hashes(np.stack([np.asarray(copy)[None] for copy in copies]))
    distances = np.bitwise_count(hashes ^ hashes[0]).tolist()
    assert max(distances[:3]) <= 3
    assert distances[3] > 15


def near_oracle(hashes: list[int], sides: list[int], bits: int) -> list[bool]:
    return [
        any((a ^ b).bit_count() <= bits and s != t for b, t in zip(hashes, sides, strict=True))
        for a, s in zip(hashes, sides, strict=True)
    ]


words = st.one_of(
    st.integers(0, 2**64 - 1),
    st.sets(st.integers(0, 63), max_size=4).map(lambda places: sum(1 << p for p in places)),
)


@settings(max_examples=150)
@given(st.lists(st.tuples(words, st.integers(0, 2)), max_size=25), st.integers(0, 3))
def test_as_when_every_pair_is_compared(rows: list[tuple[int, int]], bits: int) -> None:
    hashes, sides = [word for word, _ in rows], [side for _, side in rows]
    found = near_across(np.array(hashes, np.uint64), np.array(sides, np.int64), bits=bits)
    assert found.tolist() == near_oracle(hashes, sides, bits)


@pytest.mark.parametrize("bits", [0, 1, 2, 3])
def test_every_word_up_to_the_distance_is_found_and_none_beyond(bits: int) -> None:
    draw = np.random.default_rng(1)
    for flipped in range(5):
        for _ in range(60):
            word = int(draw.integers(0, 2**63))
            other = word ^ sum(1 << int(place) for place in draw.choice(64, flipped, replace=False))
            found = near_across(np.array([word, other], np.uint64), np.array([0, 2]), bits=bits)
            assert found.tolist() == [flipped <= bits] * 2


def test_many_that_agree_in_a_part_take_linear_memory() -> None:
    draw = np.random.default_rng(2)
    hashes = draw.integers(0, 2**63, 3000, dtype=np.uint64) << np.uint64(1)
    hashes &= np.uint64(0xEEEE_EEEE_EEEE_EEEE)
    sides = draw.integers(0, 3, 3000)
    sizes = [len(left) for left, _ in fingerprints._candidates(np.unique(hashes))]
    assert max(sizes) < 3000
    sample = near_across(hashes, sides, bits=3)
    close = np.bitwise_count(hashes[:, None] ^ hashes) <= 3
    assert sample.tolist() == (close & (sides[:, None] != sides)).any(axis=1).tolist()


@pytest.mark.parametrize("bits", [-1, 4])
def test_a_distance_beyond_the_parts_is_refused(bits: int) -> None:
    with pytest.raises(ValueError, match=rf"bits is {bits}: near hashes are found for 0 to 3 bits"):
        near_across(np.zeros(2, np.uint64), np.zeros(2, np.int64), bits=bits)

from __future__ import annotations

import math

import numpy as np
import pytest

from likewise.data import fingerprint_base
from likewise.data.fingerprint_base import blocks, cosine, cosines, packed, scattered, unpacked


def splitmix(seed: int, count: int) -> list[int]:
    """The generator by its own words, a number at a time."""
    mask, numbers = (1 << 64) - 1, []
    for _ in range(count):
        seed = (seed + 0x9E3779B97F4A7C15) & mask
        word = ((seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9) & mask
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & mask
        numbers.append(word ^ (word >> 31))
    return numbers


def test_scattered_is_splitmix() -> None:
    seeds = [0, 1, 7, 2**32 - 1, 2**64 - 1]
    assert scattered(np.array(seeds, np.uint64), 5).tolist() == [splitmix(seed, 5) for seed in seeds]


def test_bits_to_words_and_back() -> None:
    bits = np.random.default_rng(0).integers(0, 2, (3, 192)).astype(bool)
    words = packed(bits)
    assert words.dtype == np.uint64
    expected = [[sum(1 << i for i in range(64) if row[64 * w + i]) for w in range(3)] for row in bits]
    assert words.tolist() == expected
    assert unpacked(words).tolist() == bits.astype(int).tolist()


@pytest.mark.parametrize("length", [1, 2, 9, 36])
def test_cosines_are_rounded_ones(length: int) -> None:
    expected = [
        [round(1024 * math.cos(math.pi * u * (2 * i + 1) / (2 * length))) for i in range(length)] for u in range(5)
    ]
    assert cosines(np.arange(5), length).tolist() == expected
    assert cosine([0, 0.25, 0.5]).tolist() == [1024, 0, -1024]


def test_blocks_are_all_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    media = np.arange(42).reshape(7, 2, 3)
    for values, sizes in ((1, [1] * 7), (12, [2, 2, 2, 1]), (10**6, [7])):
        monkeypatch.setattr(fingerprint_base, "BLOCK_VALUES", values)
        given = list(blocks(media))
        assert [len(block) for block in given] == sizes
        assert np.concatenate(given).tolist() == media.tolist()
    monkeypatch.setattr(fingerprint_base, "BLOCK_VALUES", 40)
    assert [len(block) for block in blocks(media, widest=20)] == [2, 2, 2, 1]
    assert [len(block) for block in blocks(media, widest=5)] == [6, 1]

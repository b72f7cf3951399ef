from __future__ import annotations

import tracemalloc
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise.data import hamming
from likewise.data.fingerprint_base import Words
from likewise.data.hamming import differing, near_across


def words(numbers: list[int], count: int) -> Words:
    return np.array([[n >> 64 * w & 2**64 - 1 for w in range(count)] for n in numbers], np.uint64).reshape(-1, count)


def oracle(numbers: list[int], sides: list[int], bits: int) -> list[bool]:
    return [
        any((a ^ b).bit_count() <= bits and s != t for b, t in zip(numbers, sides, strict=True))
        for a, s in zip(numbers, sides, strict=True)
    ]


def few_bits(most: int) -> st.SearchStrategy[int]:
    return st.sets(st.integers(0, most - 1), max_size=4).map(lambda places: sum(1 << p for p in places))


WAYS = [(bits, sets) for bits in (0, 1, 2, 3, 4, 7) for sets in (0, 1, 2, 3) if bits + sets < 9]
WAYS += [(8, 0), (8, 1), (20, 0), (20, 1), (40, 0), (64, 0)]


@settings(max_examples=200)
@given(st.data(), st.sampled_from([1, 2, 4]), st.sampled_from(WAYS))
def test_as_when_every_pair_is_compared(data: st.DataObject, count: int, way: tuple[int, int]) -> None:
    bits, sets = way
    number = st.one_of(st.integers(0, 2 ** (64 * count) - 1), few_bits(64 * count))
    rows = data.draw(st.lists(st.tuples(number, st.integers(0, 2)), max_size=25))
    numbers, sides = [n for n, _ in rows], [side for _, side in rows]
    with mock.patch.object(hamming, "_parts_that_agree", return_value=sets):
        found = near_across(words(numbers, count), np.array(sides, np.int64), bits=bits)
    assert found.tolist() == oracle(numbers, sides, bits)


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("bits", [0, 1, 2, 3, 15, 16, 48])
def test_every_word_up_to_the_distance_is_found_and_none_beyond(count: int, bits: int) -> None:
    draw = np.random.default_rng(1)
    for flipped in {0, bits - 1, bits, bits + 1, bits + 2} - {-1}:
        for _ in range(20):
            number = int.from_bytes(draw.bytes(8 * count), "little")
            other = number ^ sum(1 << int(place) for place in draw.choice(64 * count, flipped, replace=False))
            found = near_across(words([number, other], count), np.array([0, 2]), bits=bits)
            assert found.tolist() == [flipped <= bits] * 2


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(3)
    numbers = draw.integers(0, 2**64, (60, 2), dtype=np.uint64) & np.uint64(0x1111_1111_1111_1111)
    sides = draw.integers(0, 3, 60)
    whole = near_across(numbers, sides, bits=12)
    assert 0 < whole.sum() < 60
    monkeypatch.setattr(hamming, "LEFT", 7)
    monkeypatch.setattr(hamming, "RIGHT", 5)
    assert near_across(numbers, sides, bits=12).tolist() == whole.tolist()
    plain = oracle([int(a) | int(b) << 64 for a, b in numbers], sides.tolist(), 12)
    assert whole.tolist() == plain


@pytest.mark.parametrize("bits", [2, 5])
def test_all_ways_find_the_same(bits: int) -> None:
    draw = np.random.default_rng(4)
    numbers = draw.integers(0, 2**64, (300, 1), dtype=np.uint64) & np.uint64(0x0303_0303_0303_0303)
    sides = draw.integers(0, 2, 300)
    found = []
    for sets in range(4):
        with mock.patch.object(hamming, "_parts_that_agree", return_value=sets):
            found.append(near_across(numbers, sides, bits=bits).tolist())
    assert found[1:] == found[:1] * 3
    assert 0 < sum(found[0]) < 301


def test_many_words_that_differ_in_few_bits_are_not_all_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(5)
    numbers = draw.integers(0, 2**64, (30_000, 1), dtype=np.uint64)
    numbers[7] = numbers[8] ^ np.uint64(0b1011)
    sides = np.arange(30_000) % 2

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("all pairs are compared")

    monkeypatch.setattr(hamming, "_compared", refused)
    for bits in (3, 4, 6):
        assert np.flatnonzero(near_across(numbers, sides, bits=bits)).tolist() == [7, 8]


def test_a_copy_on_the_same_side_is_no_matter() -> None:
    same = words([5, 5, 9], 1)
    assert near_across(same, np.array([1, 1, 0]), bits=1).tolist() == [False] * 3
    assert near_across(same, np.array([1, 1, 0]), bits=2).tolist() == [True] * 3


def test_many_that_agree_in_a_part_take_linear_memory() -> None:
    draw = np.random.default_rng(2)
    numbers = draw.integers(0, 2**63, (3000, 1), dtype=np.uint64) << np.uint64(1)
    numbers &= np.uint64(0xEEEE_EEEE_EEEE_EEEE)
    sides = draw.integers(0, 3, 3000)
    tracemalloc.start()
    found = near_across(numbers, sides, bits=3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # All pairs would be 4.5 million, of 16 bytes and more each.
    assert peak < 4_000_000
    close = differing(numbers[:, None], numbers) <= 3
    assert found.tolist() == (close & (sides[:, None] != sides)).any(axis=1).tolist()


def test_no_words_at_all() -> None:
    for bits in (0, 48):
        assert near_across(np.zeros((0, 4), np.uint64), np.zeros(0, np.int64), bits=bits).tolist() == []


def test_a_distance_below_nought_is_refused() -> None:
    with pytest.raises(ValueError, match=r"bits is -1: it must be 0 or more"):
        near_across(np.zeros((2, 1), np.uint64), np.zeros(2, np.int64), bits=-1)

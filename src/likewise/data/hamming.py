"""Which words of bits hardly differ: an exact search, in memory that grows with the words and not with their pairs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from likewise.data.fingerprint_base import Words, packed, scattered

Rows = NDArray[np.intp]
Pairs = Iterator[tuple[Rows, Rows]]

SORTED, MET = 30, 12
"""What it takes to put a word in order by a key, and to look at a pair that agrees in one, in pairs of `_compared`."""

FEW, MOST = 256, 2000
"""Fewer words than this are all compared; with more sets of parts than this they are as well."""

LEFT, RIGHT = 256, 4096
"""Words compared at a time: the distances fit a cache."""


def differing(left: Words, right: Words) -> NDArray[np.integer]:
    """Return in how many bits words (..., words) differ.

    >>> differing(np.array([[3, 0], [0, 8]], np.uint64), np.array([0, 0], np.uint64)).tolist()
    [2, 1]
    """
    return np.asarray(np.bitwise_count(left ^ right).sum(axis=-1, dtype=np.int64))


def near_across(words: Words, sides: NDArray[np.integer], *, bits: int) -> NDArray[np.bool_]:
    """Return for each fingerprint (n, words) whether one of another side differs from it in at most `bits` bits.

    Sides (n,) are whole numbers from 0 to 7, such as 0, 1 and 2 for the splits. Of `bits + r` parts at most `bits`
    differ between two words that are near, so these agree in some r parts. For each set of r parts, words are put in
    order by them, and only those that agree are compared (Manku, Jain, Das Sarma: Detecting near-duplicates for web
    crawling, 2007); where that would be more work than looking at all pairs of different sides, these are looked at.
    A part takes every so-manyth bit. Memory is linear in n.

    >>> near_across(np.array([[0], [3], [255]], np.uint64), np.array([0, 1, 1]), bits=2).tolist()
    [True, True, False]

    Raises:
        ValueError: `bits` is below 0.
    """
    if bits < 0:
        raise ValueError(f"bits is {bits}: it must be 0 or more")
    values, inverse = np.unique(words, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    own = np.left_shift(1, sides).astype(np.uint8)
    masks = np.zeros(len(values), np.uint8)
    np.bitwise_or.at(masks, inverse, own)
    reached = masks.copy()
    sets = _parts_that_agree(*values.shape, bits=bits)
    pairs = _agreeing(values, masks, bits=bits, sets=sets) if sets else _compared(values, masks, bits=bits)
    for left, right in pairs:
        np.bitwise_or.at(reached, left, masks[right])
        np.bitwise_or.at(reached, right, masks[left])
    near: NDArray[np.bool_] = (reached[inverse] & ~own) != 0
    return near


def _parts_that_agree(count: int, words: int, *, bits: int) -> int:
    """Return in how many parts so many words had best agree; 0 where all pairs had better be compared.

    By the work it takes if the bits of a key were each right by chance with a little more than a half.

    >>> [_parts_that_agree(count, 1, bits=3) for count in (100, 10_000, 1_000_000)]
    [0, 1, 2]
    >>> _parts_that_agree(1_000_000, 4, bits=48)
    0
    """
    if count < FEW:
        return 0
    work = {0: count / 2}
    for together in range(1, 64 * words - bits + 1):
        sets, length = comb(bits + together, together), together * (64 * words // (bits + together))
        if sets > MOST:
            break
        work[together] = sets * (SORTED + MET * count / 2 * 2 ** (-0.875 * length))
    return min(work, key=work.__getitem__)


def _agreeing(values: Words, masks: NDArray[np.uint8], *, bits: int, sets: int) -> Pairs:
    """Yield the pairs of values within the distance whose sides differ, by the parts that they agree in."""
    places = np.arange(64 * values.shape[1]) % (bits + sets)
    for parts in combinations(range(bits + sets), sets):
        for left, right in _equal(_keys(values & packed(np.isin(places, parts)[None]))):
            both = masks[left] | masks[right]
            # More than one bit: more than one side.
            apart = (both & (both - np.uint8(1))) != 0
            close = differing(values[left[apart]], values[right[apart]]) <= bits
            yield left[apart][close], right[apart][close]


def _keys(words: Words) -> Words:
    """Return one word for each row (n,): equal for equal rows, and else hardly ever."""
    keys = words[:, 0]
    for column in range(1, words.shape[1]):
        keys = scattered(keys, 1)[:, 0] ^ words[:, column]
    return keys


def _equal(keys: Words) -> Pairs:
    """Yield the pairs of places that hold the same key, n at most at a time."""
    order = np.argsort(keys)
    keys = keys[order]
    here, step = np.arange(len(keys)), 1
    while len(here := here[: np.searchsorted(here, len(keys) - step)]):
        here = here[keys[here] == keys[here + step]]
        yield order[here], order[here + step]
        step += 1


def _compared(values: Words, masks: NDArray[np.uint8], *, bits: int) -> Pairs:
    """Yield the pairs of values within the distance whose sides differ, by looking at all of them."""
    held = [np.flatnonzero(masks == mask) for mask in np.unique(masks)]
    for number, one in enumerate(held):
        for other in held[number:]:
            # Values that all are of the same one side.
            if other is one and masks[one[0]].bit_count() == 1:
                continue
            for left in range(0, len(one), LEFT):
                for right in range(0, len(other), RIGHT):
                    rows, others = one[left : left + LEFT], other[right : right + RIGHT]
                    near, far = _within(values[rows], values[others], bits=bits)
                    yield rows[near], others[far]


def _within(left: Words, right: Words, *, bits: int) -> tuple[Rows, Rows]:
    """Return the places of the pairs within the distance: most fall out by the first half of their words."""
    half = max(1, left.shape[1] // 2)
    first = np.zeros((len(left), len(right)), np.uint16)
    for column in range(half):
        first += np.bitwise_count(left[:, None, column] ^ right[None, :, column])
    near, far = np.nonzero(first <= bits)
    close = first[near, far] + differing(left[near, half:], right[far, half:]) <= bits
    return near[close], far[close]

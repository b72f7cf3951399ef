from __future__ import annotations

import itertools
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from likewise.tuples import ranking
from likewise.tuples.triplets import Triplets, draw_triplets

SOME = [0, 0, 1, 2, 2, 2, 3]
LABELS = st.lists(st.integers(-2, 3), min_size=1, max_size=9)


def listed(labels: list[Any]) -> set[tuple[int, int, int]]:
    """Every triplet by three loops."""
    n = range(len(labels))
    return {
        (a, p, x)
        for a, p, x in itertools.product(n, n, n)
        if a != p and labels[a] == labels[p] and labels[a] != labels[x]
    }


def rows(parts: tuple[Any, ...]) -> list[tuple[int, ...]]:
    return list(zip(*(part.tolist() for part in parts), strict=True))


@given(LABELS)
@settings(deadline=None)
def test_ranks_and_triplets_are_one_to_one(labels: list[int]) -> None:
    triplets, expected = Triplets(labels), listed(labels)
    assert triplets.count == len(triplets) == len(expected)
    everything = triplets[np.arange(triplets.count)]
    assert all(part.dtype == np.int64 for part in everything)
    assert len(rows(everything)) == len(expected)
    assert set(rows(everything)) == expected
    assert np.array_equal(triplets.rank(*everything), np.arange(triplets.count))


def test_every_small_set_of_labels() -> None:
    for n in range(1, 5):
        for labels in itertools.product(range(n), repeat=n):
            triplets, expected = Triplets(labels), listed(list(labels))
            found = rows(triplets[np.arange(triplets.count)])
            assert len(found) == len(expected)
            assert set(found) == expected


@pytest.mark.parametrize(
    "labels",
    [
        ["b", "a", "b", "c", "a"],
        np.array(["b", "a", "b", "c", "a"], dtype=object),
        np.array(["b", "a", "b", "c", "a"], dtype=np.dtypes.StringDType()),
        np.array([200, 3, 200, 255, 3], dtype=np.uint8),
        np.array([-128, 127, -128, 0, 127], dtype=np.int8),
        np.array([2**64 - 1, 0, 2**64 - 1, 7, 0], dtype=np.uint64),
        np.array([-(2**63), 2**63 - 1, -(2**63), 0, 2**63 - 1]),
    ],
)
def test_labels_are_integers_or_strings_of_any_kind(labels: Any) -> None:
    triplets = Triplets(labels)
    assert set(rows(triplets[np.arange(triplets.count)])) == listed(list(labels))


@given(st.lists(st.integers(1, 400), min_size=2, max_size=60), st.integers(0, 2**32))
@settings(deadline=None)
def test_large_and_skewed_classes_come_back_from_their_ranks(sizes: list[int], seed: int) -> None:
    triplets = Triplets(np.repeat(np.arange(len(sizes)), sizes))
    if triplets.count:
        edge = [0, triplets.count - 1]
        ranks = np.concatenate([np.random.default_rng(seed).integers(triplets.count, size=200), edge])
        assert np.array_equal(triplets.rank(*triplets[ranks]), ranks)


def test_the_first_and_last_ranks_of_every_class_are_right() -> None:
    # One class holds nearly all triplets, so that the thousand others share one bucket of the ladder.
    sizes = np.array([5] * 500 + [20_000] + [1] * 100 + [2] * 500)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    counts = sizes * (sizes - 1) * (len(labels) - sizes)
    ends = np.cumsum(counts)
    triplets = Triplets(labels)
    assert triplets.count == ends[-1]
    some = counts > 0
    for ranks in ((ends - counts)[some], ends[some] - 1):
        anchor, positive, negative = triplets[ranks]
        assert np.array_equal(labels[anchor], np.flatnonzero(some))
        assert np.array_equal(labels[positive], np.flatnonzero(some))
        assert (anchor != positive).all()
        assert (labels[negative] != labels[anchor]).all()
        assert np.array_equal(triplets.rank(anchor, positive, negative), ranks)


def test_ranks_near_the_largest_number_are_exact() -> None:
    half = 1_664_000
    labels = np.repeat([0, 1], half)
    triplets = Triplets(labels)
    assert triplets.count == 2 * half * (half - 1) * half > 2**63 * 0.99
    ranks = triplets.count - 1 - np.arange(1000) * 10**15
    assert np.array_equal(triplets.rank(*triplets[ranks]), ranks)


def test_more_than_64_bits_of_triplets_are_refused() -> None:
    with pytest.raises(ValueError, match=r"more than a rank of 64 bits can number"):
        Triplets(np.repeat([0, 1], 2_200_000))


def test_grouped_labels_hold_a_few_numbers_a_class_and_no_order() -> None:
    labels = np.repeat(np.arange(10), 60_000)
    tracemalloc.start()
    triplets = Triplets(labels)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(triplets) == 600_000 * 59_999 * 540_000
    assert held < 10_000


def test_drawing_takes_the_memory_of_the_result() -> None:
    labels = np.repeat(np.arange(1000), 60)
    count = 1_000_000
    tracemalloc.start()
    draw_triplets(labels, count, seed=0, distinct=False)
    independent = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    draw_triplets(labels, count, seed=0)
    distinct = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert independent < 24 * count + 8e6
    assert distinct < 48 * count + 8e6


# Of 34 triplets 11 are drawn by rejecting repeats, 17 from a permutation of all.
@pytest.mark.parametrize("count", [11, 17])
@pytest.mark.parametrize("distinct", [True, False])
@pytest.mark.parametrize("labels", [SOME, [3, 0, 2, 1, 2, 0, 2]])
def test_draws_are_uniform(labels: list[int], distinct: bool, count: int) -> None:
    triplets = Triplets(labels)
    seen = np.zeros(34, dtype=np.int64)
    for seed in range(400):
        drawn = draw_triplets(labels, count, seed=seed, distinct=distinct)
        seen += np.bincount(triplets.rank(*drawn), minlength=34)
    assert seen.sum() == 400 * count
    # Distinct draws vary less than the test supposes.
    assert chisquare(seen).pvalue > 1e-3


def test_a_large_draw_is_uniform_over_anchors_positives_and_negatives() -> None:
    labels = np.repeat(np.arange(6), [1, 2, 3, 10, 40, 100])
    triplets = Triplets(labels)
    drawn = draw_triplets(labels, 300_000, seed=3, distinct=False)
    everything = triplets[np.arange(triplets.count)]
    for part, whole in zip(drawn, everything, strict=True):
        expected = np.bincount(whole, minlength=len(labels)) * (300_000 / triplets.count)
        found = np.bincount(part, minlength=len(labels))
        assert (found[expected == 0] == 0).all()
        assert chisquare(found[expected > 0], expected[expected > 0]).pvalue > 1e-3


@pytest.mark.parametrize("count", [0, 1, 10, 11, 12, 33, 34])
@pytest.mark.parametrize("seed", range(5))
def test_no_triplet_comes_twice(count: int, seed: int) -> None:
    drawn = rows(draw_triplets(SOME, count, seed=seed))
    assert len(drawn) == len(set(drawn)) == count
    assert set(drawn) <= listed(SOME)


def test_the_order_of_draws_is_random() -> None:
    labels = np.repeat(np.arange(100), 20)
    ranks = Triplets(labels).rank(*draw_triplets(labels, 20_000, seed=0))
    assert abs(np.corrcoef(ranks, np.arange(len(ranks)))[0, 1]) < 0.03


def test_the_same_seed_gives_the_same_draw() -> None:
    for distinct in (True, False):
        first, again, other = (draw_triplets(SOME, 9, seed=s, distinct=distinct) for s in (5, 5, 6))
        assert rows(first) == rows(again) != rows(other)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.arange(300) % 7
    ranks = np.arange(0, Triplets(labels).count, 997)
    whole = rows(Triplets(labels)[ranks])
    monkeypatch.setattr(ranking, "_CHUNK", 10)
    assert rows(Triplets(labels)[ranks]) == whole


def test_asking_for_more_than_there_are_says_how_many() -> None:
    total = Triplets(SOME).count
    with pytest.raises(ValueError, match=rf"these labels have {total}: ask for fewer"):
        draw_triplets(SOME, total + 1, seed=0)
    assert len(draw_triplets(SOME, total + 1, seed=0, distinct=False)[0]) == total + 1
    with pytest.raises(ValueError, match="-1 triplets"):
        draw_triplets(SOME, -1, seed=0)


@pytest.mark.parametrize("labels", [[1, 1, 1], [1, 2, 3], [1]])
def test_labels_without_triplets(labels: list[int]) -> None:
    assert len(Triplets(labels)) == 0
    assert rows(draw_triplets(labels, 0, seed=0, distinct=False)) == []
    assert rows(Triplets(labels)[[]]) == []
    with pytest.raises(ValueError, match="have 0: ask for fewer"):
        draw_triplets(labels, 1, seed=0)
    with pytest.raises(ValueError, match="have no triplets"):
        draw_triplets(labels, 1, seed=0, distinct=False)


@pytest.mark.parametrize("labels", [[], [[1, 2]], [1.0, 2.0], np.array(["a", None], dtype=object), 3])
def test_labels_that_are_none_are_refused(labels: Any) -> None:
    with pytest.raises(ValueError, match=r"Labels (have|are)"):
        Triplets(labels)


def test_ranks_that_do_not_exist_are_refused() -> None:
    triplets = Triplets(SOME)
    for wrong in ([-1], [0, triplets.count]):
        with pytest.raises(IndexError, match=f"give 0 to {triplets.count - 1}"):
            triplets[wrong]
    for no_ranks in ([0.5], [[0]], 0):
        with pytest.raises(ValueError, match="give integers"):
            triplets[no_ranks]


@pytest.mark.parametrize("triplet", [(0, 0, 2), (0, 1, 1), (0, 2, 3), (3, 4, 5)])
def test_what_is_no_triplet_has_no_rank(triplet: tuple[int, int, int]) -> None:
    anchor, positive, negative = triplet
    with pytest.raises(ValueError, match="Row 1 is no triplet"):
        Triplets(SOME).rank([0, anchor], [1, positive], [2, negative])
    with pytest.raises(IndexError, match="give 0 to 6"):
        Triplets(SOME).rank([0], [1], [7])

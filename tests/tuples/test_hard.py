from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from likewise.tuples import hard
from likewise.tuples.hard import HardTriplets

Array = np.ndarray[Any, Any]
LABELS = st.lists(st.integers(-2, 2), min_size=3, max_size=9).filter(
    lambda labels: 1 < len(set(labels)) < len(labels)  # two classes, and two samples of some class
)


def listed(labels: Any, points: Array, nearest: int) -> set[tuple[int, int, int]]:
    """Every hard triplet by loops and a full sort."""
    n = range(len(labels))
    exact = [[float(number) for number in row] for row in points]

    def others(anchor: int) -> list[int]:
        far = [(sum((x - y) ** 2 for x, y in zip(exact[anchor], exact[i], strict=True)), i) for i in n]
        return [i for _, i in sorted(far) if labels[i] != labels[anchor]][:nearest]

    negatives = [others(anchor) for anchor in n]
    return {(a, p, x) for a, p in itertools.product(n, n) if a != p and labels[a] == labels[p] for x in negatives[a]}


def singles(values: list[list[float]]) -> Array:
    return np.array(values, dtype=np.float32)


def rows(parts: tuple[Any, ...]) -> list[tuple[int, ...]]:
    return list(zip(*(part.tolist() for part in parts), strict=True))


def everything(triplets: HardTriplets) -> list[tuple[int, ...]]:
    return rows(triplets[np.arange(triplets.count)])


# Whole numbers are often equally far, and there the smaller row must win.
@given(LABELS, st.integers(1, 10), st.integers(0, 2**32))
@settings(deadline=None)
def test_ranks_and_hard_triplets_are_one_to_one(labels: list[int], nearest: int, seed: int) -> None:
    points = np.random.default_rng(seed).integers(0, 3, (len(labels), 2)).astype(np.float32)
    triplets, expected = HardTriplets(labels, points, nearest=nearest), listed(labels, points, nearest)
    assert triplets.count == len(triplets) == len(expected)
    assert set(everything(triplets)) == expected
    assert len(everything(triplets)) == len(expected)


REFERENCES: dict[str, Callable[[np.random.Generator], Array]] = {
    "plain": lambda draw: draw.normal(size=(240, 5)),
    "far from zero": lambda draw: draw.normal(size=(240, 5)) + 1e4,
    "nearly one point": lambda draw: draw.normal(size=(240, 5)) * 1e-6 + 3,
    # What separates samples here is less than single precision leaves of their product.
    "tight groups": lambda draw: (
        100 * np.repeat(draw.normal(size=(6, 5)), 40, axis=0) + draw.normal(size=(240, 5)) / 500
    ),
    "one point": lambda draw: np.full((240, 5), 0.1),
    "ties": lambda draw: draw.integers(0, 3, (240, 3)),
    "one number": lambda draw: draw.integers(0, 50, (240, 1)),
    "huge": lambda draw: draw.normal(size=(240, 5)) * 5e37,
    "tiny": lambda draw: draw.normal(size=(240, 5)) * 1e-30,
    "one row far off": lambda draw: np.vstack([draw.normal(size=(239, 5)), np.full((1, 5), 1e7)]),
    "half precision": lambda draw: draw.normal(size=(240, 5)).astype(np.float16),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_every_reference_is_answered_as_by_a_full_sort(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(4)
    points = np.asarray(REFERENCES[name](draw)).astype(np.float32)
    labels = draw.integers(0, 40, 240)
    expected = listed(labels, points, 3)
    assert set(everything(HardTriplets(labels, points, nearest=3))) == expected
    # Neither blocks of anchors nor parts of sums may tell.
    monkeypatch.setattr(hard, "_COARSE", 7 * 240)
    monkeypatch.setattr(hard, "_EXACT", 40)
    assert set(everything(HardTriplets(labels, points, nearest=3))) == expected


@pytest.mark.parametrize("nearest", [1, 2, 19, 20, 21, 110, 1000])
def test_any_number_of_nearest_and_classes_that_leave_fewer(nearest: int) -> None:
    draw = np.random.default_rng(1)
    # Outside the class of 100 there are 20 samples.
    labels = np.repeat([0, 1, 2], [100, 8, 12])
    points = draw.normal(size=(120, 3)).astype(np.float32)
    triplets = HardTriplets(labels, points, nearest=nearest)
    assert triplets.count == sum(m * (m - 1) * min(nearest, 120 - m) for m in (100, 8, 12))
    expected = listed(labels, points, nearest)
    ranks = draw.permutation(triplets.count)[:3000]
    assert set(rows(triplets[ranks])) <= expected
    small = rows(triplets[np.arange(triplets.count - (12 * 11) * min(nearest, 108), triplets.count)])
    assert set(small) == {triplet for triplet in expected if triplet[0] >= 108}


def test_the_order_of_the_rows_does_not_matter() -> None:
    draw = np.random.default_rng(2)
    labels, points = draw.integers(0, 20, 200), draw.normal(size=(200, 4)).astype(np.float32)
    order = draw.permutation(200)
    shuffled = everything(HardTriplets(labels[order], points[order], nearest=4))
    assert {tuple(order[list(triplet)]) for triplet in shuffled} == set(
        everything(HardTriplets(labels, points, nearest=4))
    )


def test_strings_are_labels_too() -> None:
    points = singles([[0], [4], [1], [9]])
    of_strings = HardTriplets(np.array(["b", "b", "a", "a"]), points, nearest=1)
    assert everything(of_strings) == everything(HardTriplets([7, 7, -1, -1], points, nearest=1))


@pytest.mark.parametrize("count", [0, 1, 50, 200, 239, 240])
def test_a_draw_holds_no_triplet_twice_and_the_seed_decides_it(count: int) -> None:
    labels = np.arange(24) // 2
    points = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32)
    triplets = HardTriplets(labels, points, nearest=10)
    drawn = rows(triplets.draw(count, seed=1))
    assert triplets.count == 240
    assert len(drawn) == len(set(drawn)) == count
    assert set(drawn) <= listed(labels, points, 10)
    assert drawn == rows(triplets.draw(count, seed=1))
    assert count < 50 or drawn != rows(triplets.draw(count, seed=2))
    assert all(part.dtype == np.int64 for part in triplets.draw(count, seed=1))


def test_genuine_pairs_and_places_among_the_nearest_are_drawn_uniformly() -> None:
    labels = np.repeat([3, 0, 1, 2], [2, 7, 5, 4])
    points = np.arange(18, dtype=np.float32)[:, None] ** 2
    triplets = HardTriplets(labels, points, nearest=3)
    pairs = np.zeros((18, 18), dtype=np.int64)
    places = np.zeros(triplets.count, dtype=np.int64)
    number = {triplet: rank for rank, triplet in enumerate(everything(triplets))}
    for seed in range(600):
        drawn = triplets.draw(60, seed=seed)
        np.add.at(pairs, drawn[:2], 1)
        places += np.bincount([number[triplet] for triplet in rows(drawn)], minlength=triplets.count)
    genuine = (labels[:, None] == labels) & ~np.eye(18, dtype=bool)
    assert pairs[~genuine].sum() == 0
    assert genuine.sum() * 3 == triplets.count
    # Distinct draws vary less than the test supposes.
    assert chisquare(pairs[genuine]).pvalue > 1e-3
    assert chisquare(places).pvalue > 1e-3


def test_a_large_draw_is_uniform_over_genuine_pairs() -> None:
    draw = np.random.default_rng(5)
    labels = draw.permutation(np.repeat(np.arange(10), np.arange(2, 12)))
    triplets = HardTriplets(labels, draw.normal(size=(len(labels), 8)), nearest=50)
    anchor, positive, _ = triplets.draw(10_000, seed=0)
    pairs = np.bincount(anchor * len(labels) + positive, minlength=len(labels) ** 2)
    genuine = ((labels[:, None] == labels) & ~np.eye(len(labels), dtype=bool)).ravel()
    assert pairs[~genuine].sum() == 0
    assert chisquare(pairs[genuine]).pvalue > 1e-3


def test_the_order_of_draws_is_random() -> None:
    labels = np.repeat(np.arange(100), 5)
    anchor, _, _ = HardTriplets(labels, np.arange(500.0)[:, None], nearest=10).draw(5000, seed=0)
    assert abs(np.corrcoef(anchor, np.arange(5000))[0, 1]) < 0.05


def test_memory_is_far_below_a_matrix_of_distances() -> None:
    draw = np.random.default_rng(0)
    n, width, count = 20_000, 16, 2000
    labels, points = draw.integers(0, 1000, n), draw.normal(size=(n, width)).astype(np.float32)
    tracemalloc.start()
    HardTriplets(labels, points, nearest=10).draw(count, seed=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The matrix would be 1.6 GB in single precision.
    assert peak < 32e6


def test_only_the_anchors_that_were_drawn_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    candidates = HardTriplets._candidates

    def spy(self: HardTriplets, block: Array) -> tuple[Array, Array]:
        seen.extend(block.tolist())
        return candidates(self, block)

    monkeypatch.setattr(HardTriplets, "_candidates", spy)
    labels = np.arange(5000) // 5
    drawn = HardTriplets(labels, np.arange(5000.0)[:, None], nearest=5).draw(40, seed=0)
    assert seen == sorted(set(drawn[0].tolist()))


def test_the_share_whose_negative_is_nearer_than_the_positive() -> None:
    labels = [0, 0, 1, 1]
    triplets = HardTriplets(labels, singles([[0], [2], [1], [3]]), nearest=2)
    sides = np.array([(0, 1, 2), (0, 1, 3), (2, 3, 0), (3, 2, 1)]).T
    # Every positive is at 2, and every negative at 1 but the second, at 3.
    assert triplets.nearer_share(*sides) == 0.75
    assert triplets.nearer_share(np.array([0, 0]), np.array([1, 1]), np.array([2, 3])) == 0.5
    tied = HardTriplets(labels, singles([[0], [2], [-2], [3]]), nearest=2)
    assert tied.nearer_share(np.array([0]), np.array([1]), np.array([2])) == 0.0
    nothing = np.empty(0, dtype=np.int64)
    assert triplets.nearer_share(nothing, nothing, nothing) == 0.0


def test_hard_negatives_are_nearer_than_those_of_chance() -> None:
    draw = np.random.default_rng(0)
    labels = np.arange(600) // 6
    points = (draw.normal(size=(100, 4))[labels] + 0.5 * draw.normal(size=(600, 4))).astype(np.float32)
    shares = []
    for nearest in (3, 30, 600):
        triplets = HardTriplets(labels, points, nearest=nearest)
        shares.append(triplets.nearer_share(*triplets.draw(3000, seed=0)))
    assert shares[0] > shares[1] > shares[2]
    assert shares[0] > 3 * shares[2]


GOOD = singles([[0], [1], [2], [3]])
MISTAKES: dict[str, tuple[list[int], Array, int, str]] = {
    "one class": ([1, 1, 1, 1], GOOD, 2, "These labels have one class: a negative needs another"),
    "no genuine pair": ([1, 2, 3, 4], GOOD, 2, "No class has two samples, so no anchor has a positive"),
    "nobody near": ([1, 1, 2, 2], GOOD, 0, "the 0 nearest samples: give a number from 1 up"),
    "not a number": ([1, 1, 2, 2], singles([[0], [np.nan], [np.inf], [3]]), 2, "2 of 4 rows .* are not finite"),
    "too few rows": ([1, 1, 2, 2], GOOD[:3], 2, r"shape \(3, 1\) for 4 samples: give one row a sample, \(4, d\)"),
    "one axis": ([1, 1, 2, 2], GOOD[:, 0], 2, r"shape \(4,\) for 4 samples"),
    "no columns": ([1, 1, 2, 2], GOOD[:, :0], 2, r"shape \(4, 0\) for 4 samples"),
    "no labels": ([], GOOD[:0], 2, r"Labels have shape \(0,\)"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_what_cannot_be_is_refused_in_a_line(name: str) -> None:
    labels, points, nearest, words = MISTAKES[name]
    with pytest.raises(ValueError, match=words) as caught:
        HardTriplets(labels, points, nearest=nearest)
    assert len(str(caught.value).splitlines()) == 1


def test_asking_for_more_than_there_are_says_how_many() -> None:
    triplets = HardTriplets([1, 1, 2, 2], GOOD, nearest=1)
    with pytest.raises(
        ValueError, match="5 distinct triplets were asked for, but there are 4 hard ones: ask for fewer"
    ):
        triplets.draw(5, seed=0)
    with pytest.raises(ValueError, match="-1 distinct triplets"):
        triplets.draw(-1, seed=0)
    with pytest.raises(IndexError, match="give 0 to 3"):
        triplets[[4]]
    with pytest.raises(ValueError, match="give integers"):
        triplets[[0.5]]

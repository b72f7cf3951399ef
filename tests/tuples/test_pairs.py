from __future__ import annotations

import itertools
import tracemalloc
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from likewise.tuples import ranking
from likewise.tuples.pairs import Pairs, draw_pairs, thin_pairs

SOME = [0, 1, 0, 2, 2, 2, 3, 0]
LABELS = st.lists(st.integers(-2, 3), min_size=1, max_size=12)


def listed(labels: list[int]) -> dict[tuple[int, ...], bool]:
    """Every pair by two loops, and whether it is genuine."""
    return {(i, j): labels[i] == labels[j] for i, j in itertools.combinations(range(len(labels)), 2)}


def rows(*parts: Any) -> list[tuple[int, ...]]:
    return list(zip(*(part.tolist() for part in parts), strict=True))


@given(LABELS)
@settings(deadline=None)
def test_ranks_and_pairs_are_one_to_one(labels: list[int]) -> None:
    pairs, expected = Pairs(labels), listed(labels)
    assert len(pairs) == len(expected)
    assert pairs.genuine_count == sum(expected.values())
    assert pairs.impostor_count == len(expected) - sum(expected.values())
    left, right, same = pairs[np.arange(len(pairs))]
    assert dict(zip(rows(left, right), same.tolist(), strict=True)) == expected
    # Genuine first.
    assert same.tolist() == sorted(same.tolist(), reverse=True)
    assert rows(*pairs.genuine(np.arange(pairs.genuine_count))) == rows(left[same], right[same])
    assert rows(*pairs.impostor(np.arange(pairs.impostor_count))) == rows(left[~same], right[~same])


@given(st.lists(st.integers(1, 90), min_size=1, max_size=6))
@settings(deadline=None, max_examples=40)
def test_every_pair_of_larger_classes_comes_once(sizes: list[int]) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    pairs = Pairs(labels)
    left, right = pairs.genuine(np.arange(pairs.genuine_count))
    assert (left < right).all()
    assert np.array_equal(labels[left], labels[right])
    assert len(np.unique(left * len(labels) + right)) == sum(m * (m - 1) // 2 for m in sizes)
    left, right = pairs.impostor(np.arange(pairs.impostor_count))
    assert (left < right).all()
    assert (labels[left] != labels[right]).all()
    assert len(np.unique(left * len(labels) + right)) == pairs.impostor_count


def test_counts_of_ten_million_samples_are_exact() -> None:
    pairs = Pairs(np.repeat([0, 1], 5_000_000))
    assert pairs.genuine_count == 2 * (5_000_000 * 4_999_999 // 2)
    assert pairs.impostor_count == 5_000_000**2
    left, right = pairs.genuine([pairs.genuine_count - 1, pairs.genuine_count // 2])
    assert ((left >= 5_000_000) & (left < right) & (right < 10_000_000)).all()
    assert pairs.impostor([pairs.impostor_count - 1])[1] == 9_999_999


@given(LABELS, st.integers(0, 100), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
@settings(deadline=None)
def test_draws_are_distinct_balanced_and_true(labels: list[int], seed: int, share: float) -> None:
    expected = listed(labels)
    genuine = sum(expected.values())
    count = 0
    while int((count + 1) * share + 0.5) <= genuine and (
        count + 1 - int((count + 1) * share + 0.5) <= len(expected) - genuine
    ):
        count += 1
    left, right, same = draw_pairs(labels, count, seed=seed, genuine_share=share)
    drawn = rows(left, right)
    assert len(drawn) == len(set(drawn)) == count
    assert same.dtype == np.bool_
    assert same.sum() == int(count * share + 0.5)
    assert all(expected[pair] == truth for pair, truth in zip(drawn, same.tolist(), strict=True))


@pytest.mark.parametrize("count", [4, 8])
def test_draws_are_uniform(count: int) -> None:
    expected = listed(SOME)
    seen: Counter[tuple[int, ...]] = Counter()
    for seed in range(800):
        left, right, _ = draw_pairs(SOME, count, seed=seed)
        seen.update(rows(left, right))
    for kind in (True, False):
        times = [seen[pair] for pair, truth in expected.items() if truth is kind]
        assert sum(times) == 800 * count // 2
        assert chisquare(times).pvalue > 1e-3


def test_sets_of_pairs_are_uniform() -> None:
    # Every two of the six pairs of four samples in one class, in either order: thirty outcomes.
    outcomes: Counter[tuple[tuple[int, ...], ...]] = Counter()
    for seed in range(2000):
        left, right, _ = draw_pairs([0, 0, 0, 0], 2, seed=seed, genuine_share=1.0)
        outcomes[tuple(rows(left, right))] += 1
    assert len(outcomes) == 30
    assert chisquare(list(outcomes.values())).pvalue > 1e-3


def test_genuine_and_impostors_are_shuffled_together() -> None:
    labels = np.repeat(np.arange(50), 20)
    _, _, same = draw_pairs(labels, 4000, seed=0)
    assert same.sum() == 2000
    assert 900 < same[:2000].sum() < 1100


def test_the_same_seed_gives_the_same_draw() -> None:
    first, again, other = (rows(*draw_pairs(SOME, 8, seed=seed)) for seed in (5, 5, 6))
    assert first == again != other


def test_memory_grows_with_the_draw_not_with_the_pairs() -> None:
    labels = np.repeat(np.arange(10), 6_000)
    tracemalloc.start()
    draw_pairs(labels, 10_000, seed=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # There are 1.8 billion pairs.
    assert peak < 3_000_000


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.arange(90) % 7
    ranks = np.arange(len(Pairs(labels)))
    whole = rows(*Pairs(labels)[ranks])
    monkeypatch.setattr(ranking, "_CHUNK", 10)
    assert rows(*Pairs(labels)[ranks]) == whole


def test_asking_for_more_than_there_are_says_how_many() -> None:
    with pytest.raises(ValueError, match=r"7 genuine and 7 impostor .* have 6 genuine and 22 impostor pairs"):
        draw_pairs(SOME, 14, seed=0)
    with pytest.raises(ValueError, match=r"have 6 genuine and 22 impostor pairs"):
        draw_pairs(SOME, 23, seed=0, genuine_share=0.0)
    assert len(draw_pairs(SOME, 22, seed=0, genuine_share=0.0)[0]) == 22


@pytest.mark.parametrize(("count", "share"), [(-1, 0.5), (1, -0.1), (1, 1.1), (1, float("nan"))])
def test_counts_and_shares_that_make_no_sense_are_refused(count: int, share: float) -> None:
    with pytest.raises(ValueError, match="were asked for: give a count from 0 up"):
        draw_pairs(SOME, count, seed=0, genuine_share=share)


def test_one_class_and_singletons() -> None:
    assert (Pairs([1, 1, 1]).genuine_count, Pairs([1, 1, 1]).impostor_count) == (3, 0)
    assert (Pairs([1, 2, 3]).genuine_count, Pairs([1, 2, 3]).impostor_count) == (0, 3)
    assert len(Pairs([1])) == 0
    assert [len(part) for part in Pairs([1])[[]]] == [0, 0, 0]
    assert len(draw_pairs([1], 0, seed=0)[0]) == 0


def test_ranks_that_do_not_exist_are_refused() -> None:
    pairs = Pairs(SOME)
    for index, total in ((pairs.__getitem__, 28), (pairs.genuine, 6), (pairs.impostor, 22)):
        for wrong in ([-1], [total]):
            with pytest.raises(IndexError, match=f"there are {total}: give 0 to {total - 1}"):
                index(wrong)
    with pytest.raises(ValueError, match="give integers"):
        pairs[[0.5]]


@given(st.lists(st.booleans(), min_size=2, max_size=20), st.data())
@settings(deadline=None)
def test_thinned_pairs_keep_their_order_their_shares_and_both_kinds(same: list[bool], data: st.DataObject) -> None:
    count = data.draw(st.integers(2, len(same)))
    chosen = thin_pairs(same, count, seed=data.draw(st.integers(0, 9))).tolist()
    assert chosen == sorted(set(chosen))
    assert len(chosen) == count
    kept = [same[place] for place in chosen]
    assert set(kept) == set(same)
    assert abs(sum(kept) - count * sum(same) / len(same)) <= 1
    if count == len(same):
        assert chosen == list(range(len(same)))


def test_every_pair_is_as_likely_to_be_taken() -> None:
    same = [1, 1, 1, 0, 0, 0, 0, 0, 0]
    counts = Counter(place for seed in range(3000) for place in thin_pairs(same, 3, seed=seed).tolist())
    for kind in (range(3), range(3, 9)):
        assert chisquare([counts[place] for place in kind]).pvalue > 0.001


@pytest.mark.parametrize("count", [1, 4])
def test_more_pairs_than_there_are_cannot_be_taken(count: int) -> None:
    with pytest.raises(ValueError, match=f"^{count} of 3 pairs were asked for: give a count from 2 to 3"):
        thin_pairs([1, 0, 0], count, seed=0)

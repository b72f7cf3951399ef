from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise.tuples.forgeries import SkilledPairs, SkilledTriplets
from likewise.tuples.pairs import draw_pairs
from likewise.tuples.ranking import Indices, Masks

LABELS = st.lists(st.integers(-2, 3), min_size=1, max_size=9)


@given(LABELS, LABELS)
@settings(deadline=None)
def test_ranks_and_pairs_are_one_to_one(labels: list[int], forges: list[int]) -> None:
    expected = {(i, j) for i, own in enumerate(labels) for j, other in enumerate(forges) if own == other}
    pairs = SkilledPairs(labels, forges)
    assert pairs.count == len(pairs) == len(expected)
    sample, forgery = pairs[np.arange(pairs.count)]
    assert sample.dtype == forgery.dtype == np.int64
    found = list(zip(sample.tolist(), forgery.tolist(), strict=True))
    assert len(found) == len(expected)
    assert set(found) == expected


@given(LABELS, LABELS)
@settings(deadline=None)
def test_ranks_and_triplets_are_one_to_one(labels: list[int], forges: list[int]) -> None:
    n = range(len(labels))
    expected = {
        (a, p, x)
        for a, p, x in itertools.product(n, n, range(len(forges)))
        if a != p and labels[a] == labels[p] == forges[x]
    }
    triplets = SkilledTriplets(labels, forges)
    assert triplets.count == len(triplets) == len(expected)
    found = list(zip(*(part.tolist() for part in triplets[np.arange(triplets.count)]), strict=True))
    assert len(found) == len(expected)
    assert set(found) == expected


def test_labels_are_words_of_any_length_and_ranks_are_checked() -> None:
    pairs = SkilledPairs(["Bo", "Alexander"], ["Alexander", "Bo", "Al"])
    assert [part.tolist() for part in pairs[[0, 1]]] == [[1, 0], [0, 1]]
    with pytest.raises(IndexError, match="there are 2: give 0 to 1"):
        pairs[[2]]
    with pytest.raises(IndexError, match="there are 2: give 0 to 1"):
        SkilledTriplets(["a", "a"], ["a"])[[-1]]


@pytest.mark.parametrize(("labels", "forges"), [([], ["a"]), (["a"], []), ([["a"]], ["a"])])
def test_one_of_each_is_needed(labels: list[str], forges: list[str]) -> None:
    for numbered in (SkilledPairs, SkilledTriplets):
        with pytest.raises(ValueError, match="one for each genuine sample and one for each forgery"):
            numbered(labels, forges)


@given(
    st.lists(st.integers(0, 3), min_size=4, max_size=12),
    st.lists(st.integers(0, 4), min_size=1, max_size=8),
    st.integers(0, 30),
    st.floats(0, 1),
    st.floats(0, 1),
    st.integers(0, 99),
)
@settings(deadline=None, max_examples=300)
def test_no_genuine_pair_holds_a_forgery_and_every_skilled_one_a_sample_of_its_class(
    labels: list[int], forges: list[int], count: int, genuine_share: float, skilled_share: float, seed: int
) -> None:
    every = list(itertools.combinations(range(len(labels)), 2))
    alike = sum(labels[i] == labels[j] for i, j in every)
    genuine = int(count * genuine_share + 0.5)
    skilled = int((count - genuine) * skilled_share + 0.5)
    matches = sum(own == other for own in labels for other in forges)
    possible = genuine <= alike and count - genuine - skilled <= len(every) - alike and skilled <= matches

    def drawn() -> tuple[Indices, Indices, Masks]:
        return draw_pairs(
            labels, count, seed=seed, genuine_share=genuine_share, forges=forges, skilled_share=skilled_share
        )

    if not possible:
        with pytest.raises(ValueError, match="were asked for, but"):
            drawn()
        return
    left, right, same = drawn()
    forged = right >= len(labels)
    assert (len(left), int(same.sum()), int(forged.sum())) == (count, genuine, skilled)
    assert (left < np.minimum(right, len(labels))).all()
    assert not same[forged].any()
    assert len(set(zip(left.tolist(), right.tolist(), strict=True))) == count
    whole = np.array([*labels, *forges])
    assert (same == (whole[left] == whole[right]) & ~forged).all()
    assert (whole[left][forged] == whole[right][forged]).all()


def test_without_forgeries_a_draw_is_what_it_was() -> None:
    labels = np.arange(40) % 4
    drawn = [
        draw_pairs(labels, 50, seed=1),
        draw_pairs(labels, 50, seed=1, skilled_share=0.7),
        draw_pairs(labels, 50, seed=1, forges=[0, 1], skilled_share=0.0),
    ]
    for other in drawn[1:]:
        assert all((one == two).all() for one, two in zip(drawn[0], other, strict=True))


def test_skilled_pairs_are_spread_over_the_draw() -> None:
    labels = np.arange(400) % 4
    _, right, _ = draw_pairs(labels, 400, seed=0, forges=np.arange(40) % 4, skilled_share=0.5)
    forged = right >= 400
    assert 30 <= forged[:200].sum() <= 70


def test_a_refusal_counts_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"^3 pairs of a sample and a forgery .* there are 2: .* smaller share"):
        draw_pairs([0, 0, 1], 3, seed=0, genuine_share=0.0, forges=[0], skilled_share=1.0)
    with pytest.raises(ValueError, match=r"a skilled one of 1\.1"):
        draw_pairs([0, 0, 1], 3, seed=0, skilled_share=1.1)

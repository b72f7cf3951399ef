from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from likewise import distances
from likewise.evaluation import openset
from likewise.evaluation.openset import Search, enrol, search

Array = NDArray[Any]


def drawn(seed: int, *, samples: int = 40, classes: int = 8) -> tuple[Array, Array]:
    """Few places, so that ties are the rule."""
    generator = np.random.default_rng(seed)
    return generator.integers(-2, 3, (samples, 2)).astype(np.float32), generator.permutation(samples) % classes


def by_loops(
    probes: Array, labels: Array, gallery: Array, enrolled: Array, distance: str, rank: int
) -> list[list[float]]:
    """Rank the classes for each probe with its own class last among equals."""
    measure = distances.build(distance)
    scores = measure.score(measure.pairwise(torch.from_numpy(probes), torch.from_numpy(gallery))).numpy()
    mates, strangers = [], []
    for probe, label in enumerate(labels):
        best = {name: max(scores[probe, enrolled == name]) for name in set(enrolled.tolist())}
        if label not in best:
            strangers.append(float(max(best.values())))
            continue
        ranked = sorted(best, key=lambda name: (-best[name], name == label))
        mates.append(float(best[label]) if label in ranked[:rank] else -np.inf)
    return [mates, strangers]


@pytest.mark.parametrize("distance", ["euclidean", "squared_euclidean", "cosine", "manhattan"])
@pytest.mark.parametrize("rank", [1, 3])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_search_by_loops_with_ties(distance: str, rank: int, seed: int) -> None:
    points, names = drawn(seed)
    gallery = np.isin(names, [0, 2, 3, 7]) & (np.arange(40) % 3 > 0)
    if np.unique(names[gallery]).size < rank or not np.isin(names[~gallery], names[gallery]).any():
        return
    sides = points[~gallery], names[~gallery], points[gallery], names[gallery]
    found = search(*sides[:2], gallery=sides[2:], distance=distance, rank=rank)
    mates, strangers = by_loops(*sides, distance, rank)
    assert found.mates.tolist() == pytest.approx(mates, abs=1e-6)
    assert found.strangers.tolist() == pytest.approx(strangers, abs=1e-6)
    assert (found.classes, found.gallery) == (np.unique(names[gallery]).size, gallery.sum())


@pytest.mark.parametrize("block", [1, 50])
def test_blocks_do_not_matter(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    points, names = drawn(0)
    gallery = names[:20] % 2 == 0
    enrolled = points[:20][gallery], names[:20][gallery]
    whole = search(points[20:], names[20:], gallery=enrolled, distance="euclidean")
    monkeypatch.setattr(openset, "BLOCK", block)
    parts = search(points[20:], names[20:], gallery=enrolled, distance="euclidean")
    np.testing.assert_array_equal(parts.mates, whole.mates)
    np.testing.assert_array_equal(parts.strangers, whole.strangers)


@settings(max_examples=60, deadline=None)
@given(
    mates=st.lists(st.integers(-3, 3), min_size=1, max_size=12),
    strangers=st.lists(st.integers(-3, 3), min_size=2, max_size=12),
    far=st.sampled_from([0.1, 0.25, 0.5, 0.9]),
)
def test_the_threshold_is_the_best_that_keeps_the_rate(mates: list[int], strangers: list[int], far: float) -> None:
    # The lowest stands for a mate that is not among the best.
    own = np.array([-np.inf if score == -3 else score / 2 for score in mates])
    found = Search(own, np.array(strangers) / 2, rank=1, classes=2, gallery=2)
    if far * len(strangers) < 1:
        with pytest.raises(ValueError, match="strangers cannot show"):
            found.threshold_at(far)
        return
    threshold = found.threshold_at(far)
    alarms = sum(score / 2 >= threshold for score in strangers) / len(strangers)
    assert found.false_alarm_rate(threshold) == alarms <= far
    candidates = [t / 4 for t in range(-8, 9)]
    allowed = [t for t in candidates if sum(score / 2 >= t for score in strangers) / len(strangers) <= far]
    best = max(sum(score > -3 and score / 2 >= t for score in mates) for t in allowed) / len(mates)
    assert found.detection_rate(threshold) == best
    assert found.detection_rate(-np.inf) == sum(score > -3 for score in mates) / len(mates)


def test_a_threshold_lies_midway_or_just_above_all() -> None:
    found = Search(np.array([0.5, 0.9]), np.array([0.1, 0.2, 0.3, 0.4]), rank=1, classes=1, gallery=1)
    assert found.threshold_at(0.25) == pytest.approx(0.35)
    assert found.threshold_at(0.49) == found.threshold_at(0.25)
    tied = Search(np.array([0.1]), np.array([0.4, 0.4, 0.4]), rank=1, classes=1, gallery=1)
    assert 0.4 < tied.threshold_at(0.5) < 0.4000001
    assert (tied.least_far, tied.false_alarm_rate(0.4)) == (1 / 3, 1.0)


def test_evaluate_is_enrol_search_and_threshold_by_hand() -> None:
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(40, 5)) * 2
    names = np.repeat(np.arange(20), 6)
    val, test = (centres[first : first + 20].repeat(6, axis=0) + generator.normal(size=(120, 5)) for first in (0, 20))
    result = openset.evaluate((val, names), (test, names), distance="euclidean", far=0.1, share=0.4, shots=2, seed=3)
    searches = []
    for points in (val, test):
        gallery, probes = enrol(points, names, share=0.4, shots=2, seed=3)
        searches.append(
            search(points[probes], names[probes], gallery=(points[gallery], names[gallery]), distance="euclidean")
        )
    threshold = searches[0].threshold_at(0.1)
    assert result.threshold == threshold
    assert result.detection_rate == searches[1].detection_rate(threshold)
    assert result.false_alarm_rate == searches[1].false_alarm_rate(threshold)
    assert 0 < result.detection_rate < result.identification_rate < 1
    assert (result.classes, result.mates, result.strangers, result.least_far) == (8, 32, 72, 1 / 72)
    assert result.protocol == "40% of the classes enrolled, 2 samples each, rank 1, threshold from other samples"


def test_the_order_of_the_rows_does_not_matter() -> None:
    generator = np.random.default_rng(1)
    points, names = generator.normal(size=(60, 3)), np.arange(60) % 12
    order = generator.permutation(60)
    sets = [(points, names), (points[order], names[order])]
    found = [openset.evaluate(one, one, distance="cosine", far=0.2, seed=5) for one in sets]
    assert found[0] == found[1]


def test_a_rate_too_fine_for_the_strangers_is_not_measurable() -> None:
    points, names = drawn(0)
    found = openset.evaluate((points, names), (points, names), distance="euclidean", far=0.001, seed=0)
    assert (found.detection_rate, found.false_alarm_rate, found.threshold) == (None, None, None)
    assert found.least_far == 1 / found.strangers
    assert 0 <= found.identification_rate <= 1


def test_embeddings_that_tell_nothing_apart_identify_nobody() -> None:
    names = np.arange(30) % 6
    found = openset.evaluate((np.ones((30, 2)), names), (np.ones((30, 2)), names), distance="cosine", far=0.5, seed=0)
    assert (found.identification_rate, found.detection_rate, found.false_alarm_rate) == (0.0, 0.0, 0.0)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), shots=st.integers(1, 3), share=st.sampled_from([0.1, 0.5, 0.99]))
def test_enrolment_is_a_partition_with_mates_and_strangers(seed: int, shots: int, share: float) -> None:
    generator = np.random.default_rng(seed)
    names = np.sort(generator.integers(0, 9, 40))
    points = generator.normal(size=(40, 2))
    able = sum(np.count_nonzero(names == name) > shots for name in set(names.tolist()))
    gallery, probes = enrol(points, names, share=share, shots=shots, seed=seed)
    assert sorted([*gallery, *probes]) == list(range(40))
    enrolled = set(names[gallery].tolist())
    assert all(np.count_nonzero(names[gallery] == name) == shots for name in enrolled)
    assert enrolled <= set(names[probes].tolist())
    assert set(names[probes].tolist()) - enrolled
    classes = len(set(names.tolist()))
    assert len(enrolled) == min(max(1, round(share * classes)), able, classes - 1)


def test_enrolment_is_uniform_over_classes_and_samples() -> None:
    points, names = np.arange(12.0)[:, None], np.repeat(np.arange(4), 3)
    counts = np.zeros(12)
    for seed in range(600):
        gallery, _ = enrol(points, names, seed=seed)
        counts[gallery] += 1
    assert counts.sum() == 1200
    assert counts.min() > 70
    assert counts.max() < 130


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"far": 0.0}, "between 0 and 1, not at 0.0"),
        ({"far": 1.0}, "between 0 and 1, not at 1.0"),
        ({"share": 1.0}, "share is the part of the classes"),
        ({"shots": 0}, "shots must be at least 1"),
        ({"shots": 5}, "one of them with more than 5 samples; of 8 there are 0"),
        ({"rank": 5}, "between 1 and the 4 enrolled classes, not at 5"),
        ({"distance": "hamming"}, "unknown distance 'hamming'"),
        ({"val": (np.full((4, 1), np.nan), [0, 0, 1, 1])}, "4 of the 4 embeddings hold NaN"),
        ({"val": (np.ones((4, 1)), [0, 0, 0, 0])}, "an open set needs two classes"),
        ({"test": (np.ones((4, 1)), [0, 0, 1])}, "4 embeddings came with labels of shape .3,."),
    ],
)
def test_bad_input_is_refused(change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"val": drawn(0), "test": drawn(1), "distance": "euclidean", "far": 0.3, "seed": 0}
    with pytest.raises(ValueError, match=message):
        openset.evaluate(**(good | change))


@pytest.mark.parametrize(
    ("labels", "enrolled", "message"),
    [
        (["a", "b"], ["a", "b"], "none of the 2 probes is of a class that is not enrolled"),
        (["c", "d"], ["a", "b"], "none of the 2 probes is of an enrolled class"),
        (["a"], ["a", "b"], "2 embeddings of the probes came with labels"),
        (["a", "c"], ["a"], "2 embeddings of the gallery came with labels"),
    ],
)
def test_bad_galleries_are_refused(labels: list[str], enrolled: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        search(np.eye(2), labels, gallery=(np.eye(2), enrolled), distance="cosine")

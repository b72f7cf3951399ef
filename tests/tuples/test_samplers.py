from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from likewise.tuples.samplers import episodes, p_by_k, plain

Labels = npt.NDArray[Any]


def check_epoch(labels: Labels, epoch: npt.NDArray[np.int64], classes: int, samples: int) -> None:
    """A loop over every batch of an epoch."""
    assert epoch.dtype == np.int64
    assert epoch.shape[1] == classes * samples
    assert set(epoch.ravel().tolist()) == set(range(len(labels)))
    sizes = Counter(labels.tolist())
    for batch in epoch:
        for part in batch.reshape(classes, samples):
            (name,) = set(labels[part].tolist())
            times = Counter(part.tolist())
            assert len(times) == min(samples, sizes[name])
            assert max(times.values()) - min(times.values()) <= 1
        assert len(set(labels[batch].tolist())) == classes


@given(
    sizes=st.lists(st.integers(1, 30), min_size=2, max_size=12),
    classes=st.integers(2, 12),
    samples=st.integers(2, 6),
    seed=st.integers(0, 1000),
    weights=st.lists(st.floats(0, 10), min_size=12, max_size=12) | st.none(),
)
@settings(deadline=None)
def test_every_sample_is_seen_in_batches_of_p_classes_times_k(
    sizes: list[int], classes: int, samples: int, seed: int, weights: list[float] | None
) -> None:
    classes = min(classes, len(sizes))
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    chosen = None if weights is None or not sum(weights[: len(sizes)]) else dict(enumerate(weights))
    epoch = p_by_k(labels, classes_per_batch=classes, samples_per_class=samples, seed=seed, epoch=1, weights=chosen)
    check_epoch(labels, epoch, classes, samples)


def test_an_epoch_has_no_more_batches_than_coverage_takes() -> None:
    labels = np.repeat(np.arange(10), 40)
    epoch = p_by_k(labels, classes_per_batch=5, samples_per_class=4, seed=0, epoch=0)
    assert len(epoch) == 20
    assert sorted(epoch.ravel().tolist()) == list(range(400))
    # The largest class alone takes 25 places, each in a batch of its own.
    uneven = np.repeat(np.arange(3), [100, 3, 8])
    epoch = p_by_k(uneven, classes_per_batch=2, samples_per_class=4, seed=0, epoch=0)
    assert len(epoch) == 25


def test_room_that_is_left_is_shared_evenly() -> None:
    labels = np.repeat(np.arange(5), [100, 4, 4, 4, 4])
    epoch = p_by_k(labels, classes_per_batch=3, samples_per_class=4, seed=0, epoch=0)
    places = np.bincount(labels[epoch[:, ::4].ravel()])
    assert places[0] == 25
    assert places[1:].max() - places[1:].min() <= 1


def test_all_pairs_of_classes_meet_about_equally_often() -> None:
    labels = np.repeat(np.arange(12), 400)
    together = np.zeros((12, 12))
    epoch = p_by_k(labels, classes_per_batch=4, samples_per_class=2, seed=0, epoch=0)
    for batch in labels[epoch[:, ::2]]:
        together[np.ix_(batch, batch)] += 1
    meetings = together[np.triu_indices(12, 1)]
    # 600 batches of 6 couples over 66 couples of classes: each meets 54.5 times, give or take 7.
    assert len(epoch) == 600
    assert meetings.sum() == 3600
    assert meetings.min() > 27
    assert meetings.std() < 12


def test_weights_say_how_often_a_class_is_seen() -> None:
    labels = np.repeat(["large", "middle", "small", "tiny"], [800, 400, 80, 20])

    def places(weights: dict[str, float] | None) -> dict[str, int]:
        epoch = p_by_k(labels, classes_per_batch=2, samples_per_class=4, seed=0, epoch=0, weights=weights)
        check_epoch(labels, epoch, 2, 4)
        return Counter(labels[epoch[:, ::4].ravel()].tolist())

    natural = places(None)
    assert natural["large"] == 200
    assert natural["middle"] + natural["small"] + natural["tiny"] == 200
    even = places({"large": 1, "middle": 1, "small": 1, "tiny": 1})
    # Coverage takes 325 places, a quarter of which is 81; the large classes keep theirs.
    assert even["large"] == 200
    assert min(even.values()) >= 81
    heavy = places({"large": 0, "middle": 0, "small": 3, "tiny": 1})
    assert heavy["small"] >= 244
    assert heavy["tiny"] >= 81
    assert heavy["large"] >= 200


def test_samples_of_a_class_are_seen_equally_often() -> None:
    labels = np.repeat(np.arange(4), [100, 6, 30, 7])
    epoch = p_by_k(labels, classes_per_batch=3, samples_per_class=4, seed=0, epoch=0)
    seen = np.bincount(epoch.ravel())
    for name in range(4):
        assert np.ptp(seen[labels == name]) <= 1


def test_companions_in_a_place_are_random() -> None:
    labels = np.repeat(np.arange(2), 6)
    together = Counter(
        tuple(sorted(part))
        for epoch in range(600)
        for batch in p_by_k(labels, classes_per_batch=2, samples_per_class=2, seed=0, epoch=epoch)
        for part in batch.reshape(2, 2).tolist()
    )
    assert len(together) == 30
    # An epoch deals each class into three couples, so the counts vary less than the test supposes.
    assert chisquare(list(together.values())).pvalue > 1e-3


@pytest.mark.parametrize("seed", [0, 7])
def test_an_epoch_is_a_function_of_seed_and_epoch(seed: int) -> None:
    labels = np.arange(60) % 7

    def batches(seed: int, epoch: int) -> list[list[list[int]]]:
        support, query = episodes(labels, ways=3, shots=2, queries=1, count=9, seed=seed, epoch=epoch)
        mined = p_by_k(labels, classes_per_batch=3, samples_per_class=2, seed=seed, epoch=epoch)
        shuffled = plain(60, batch_size=7, seed=seed, epoch=epoch)
        return [mined.tolist(), [part.tolist() for part in shuffled], support.tolist(), query.tolist()]

    first, again = batches(seed, 3), batches(seed, 3)
    assert first == again
    for other in (batches(seed, 4), batches(seed + 1, 3), batches(3, seed)):
        assert all(part != changed for part, changed in zip(first, other, strict=True))


@pytest.mark.parametrize(
    ("classes", "samples", "message"),
    [
        (4, 2, "4 classes was asked for, but the labels have 3: ask for at most 3"),
        (1, 2, "1 classes x 2 samples lacks pairs"),
        (2, 1, "2 classes x 1 samples lacks pairs"),
        (0, 0, "lacks pairs"),
    ],
)
def test_batches_that_cannot_be_are_refused(classes: int, samples: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        p_by_k([0, 0, 1, 1, 2], classes_per_batch=classes, samples_per_class=samples, seed=0, epoch=0)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({0: 1.0}, "1 classes have no weight, 1 first"),
        ({0: 1.0, 1: -1.0}, "none below 0"),
        ({0: 0.0, 1: 0.0}, "one above"),
        ({0: 1.0, 1: float("nan")}, "finite"),
        ({0: 1.0, 1: float("inf")}, "finite"),
    ],
)
def test_weights_that_make_no_sense_are_refused(weights: dict[int, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        p_by_k([0, 0, 1, 1], classes_per_batch=2, samples_per_class=2, seed=0, epoch=0, weights=weights)


def test_sixty_thousand_samples_of_every_shape_are_covered() -> None:
    generator = np.random.default_rng(0)
    for labels, classes in (
        (generator.integers(0, 10, 60_000), 10),
        (generator.integers(0, 10_000, 60_000), 32),
        (generator.geometric(0.01, 60_000), 16),
    ):
        epoch = p_by_k(labels, classes_per_batch=classes, samples_per_class=4, seed=0, epoch=0)
        assert (np.bincount(epoch.ravel(), minlength=60_000) > 0).all()
        seen = np.sort(labels[epoch[:, ::4]], axis=1)
        assert (seen[:, 1:] != seen[:, :-1]).all()


@given(
    sizes=st.lists(st.integers(1, 8), min_size=4, max_size=10),
    shots=st.integers(1, 2),
    queries=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
@settings(deadline=None)
def test_episodes_hold_distinct_classes_and_samples(sizes: list[int], shots: int, queries: int, seed: int) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    able = sum(size >= shots + queries for size in sizes)
    if able < 2:
        with pytest.raises(ValueError, match=f"2 ways were asked for, but {able} of {len(sizes)} classes"):
            episodes(labels, ways=2, shots=shots, queries=queries, count=1, seed=seed, epoch=0)
        return
    support, query = episodes(labels, ways=able, shots=shots, queries=queries, count=5, seed=seed, epoch=0)
    assert support.shape == (5, able, shots)
    assert query.shape == (5, able, queries)
    for one, other in zip(support, query, strict=True):
        samples = np.concatenate([one, other], axis=1)
        assert len(set(samples.ravel().tolist())) == samples.size
        names = labels[samples]
        assert (names == names[:, :1]).all()
        assert len(set(names[:, 0].tolist())) == able


def test_episodes_pick_classes_and_samples_uniformly() -> None:
    labels = np.repeat(np.arange(7), [1, 3, 4, 5, 6, 7, 8])
    support, query = episodes(labels, ways=3, shots=1, queries=2, count=20_000, seed=0, epoch=0)
    for way in range(3):
        assert chisquare(np.bincount(labels[support[:, way, 0]], minlength=7)[1:]).pvalue > 1e-3
    for part in (support[..., 0], query[..., 0], query[..., 1]):
        seen = np.bincount(part.ravel(), minlength=len(labels))
        for name in range(1, 7):
            assert chisquare(seen[labels == name]).pvalue > 1e-4


@pytest.mark.parametrize(
    ("ways", "shots", "queries", "count"), [(1, 1, 1, 1), (2, 0, 1, 1), (2, 1, 0, 1), (2, 1, 1, 0)]
)
def test_episodes_that_cannot_be_are_refused(ways: int, shots: int, queries: int, count: int) -> None:
    with pytest.raises(ValueError, match="two ways or more"):
        episodes([0, 0, 1, 1], ways=ways, shots=shots, queries=queries, count=count, seed=0, epoch=0)


@given(st.integers(1, 50), st.integers(1, 60), st.booleans())
@settings(deadline=None)
def test_plain_epochs_hold_every_sample_once(count: int, batch_size: int, drop_last: bool) -> None:
    batches = plain(count, batch_size=batch_size, seed=0, epoch=0, drop_last=drop_last)
    seen = [sample for batch in batches for sample in batch.tolist()]
    assert len(seen) == len(set(seen))
    if drop_last:
        assert [len(batch) for batch in batches] == [batch_size] * (count // batch_size)
        assert set(seen) <= set(range(count))
    else:
        assert set(seen) == set(range(count))
        assert all(len(batch) == batch_size for batch in batches[:-1])


def test_plain_refuses_nothing_to_shuffle() -> None:
    for count, batch_size in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="give at least one of each"):
            plain(count, batch_size=batch_size, seed=0, epoch=0)

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from likewise import distances
from likewise.evaluation import all_pairs, bootstrap
from likewise.evaluation.blocks import Scores
from likewise.evaluation.checks import as_embeddings
from likewise.evaluation.measures import (
    MEASURES,
    Measure,
    accuracy,
    false_accept_rate,
    false_reject_rate,
    tar_at_far,
)
from likewise.evaluation.verification import roc_all_pairs

Array = NDArray[Any]
FREE = {**MEASURES, "tar": tar_at_far(0.05)}


def samples(count: int, classes: int, *, seed: int = 0) -> tuple[Array, Array]:
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    spread = draw.uniform(0.3, 1.2, classes)[labels]
    return draw.standard_normal((classes, 3))[labels] + spread[:, None] * draw.standard_normal((count, 3)), labels


def listed(vectors: Array, labels: Array, measures: dict[str, Measure], distance: str) -> dict[str, Any]:
    """Return the intervals of all pairs as a list of trials."""
    left, right = np.triu_indices(len(labels), k=1)
    matrix = as_embeddings(vectors)
    scores = Scores.build(matrix, matrix, distance).pairs(left, right)
    same = labels[left] == labels[right]
    return bootstrap.intervals(scores, same, labels[left], labels[right], measures, resamples=200, seed=3)


@pytest.mark.parametrize("distance", distances.DISTANCES)
def test_it_is_the_bootstrap_of_the_list_of_all_pairs(distance: str) -> None:
    vectors, labels = samples(48, 8)
    roc = roc_all_pairs(vectors, labels, distance)
    found = all_pairs.intervals(vectors, labels, roc, FREE, distance=distance, resamples=200, seed=3)
    for name, wanted in listed(vectors, labels, FREE, distance).items():
        each = found[name]
        assert each is not None
        ends = (each.value, each.low, each.high)
        assert ends == pytest.approx((wanted.value, wanted.low, wanted.high), abs=1e-12)
        assert (each.classes, each.resamples) == (8, 200)
        assert each.low < each.high


def test_figures_at_a_threshold_are_counted_there() -> None:
    vectors, labels = samples(48, 8)
    at = -1.2345
    measures = {"right": accuracy(at), "far": false_accept_rate(at), "frr": false_reject_rate(at)}
    roc = roc_all_pairs(vectors, labels, "euclidean", thresholds=[at])
    asked: dict[str, Any] = {"distance": "euclidean", "thresholds": [at], "resamples": 200, "seed": 3}
    found = all_pairs.intervals(vectors, labels, roc, measures, **asked)
    for name, wanted in listed(vectors, labels, measures, "euclidean").items():
        each = found[name]
        assert each is not None
        assert (each.low, each.high) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


def test_fewer_operating_points_change_little(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, labels = samples(300, 20)
    at = -1.0
    measures = {**FREE, "far": false_accept_rate(at)}
    roc = roc_all_pairs(vectors, labels, "euclidean", thresholds=[at])
    asked: dict[str, Any] = {"distance": "euclidean", "thresholds": [at], "resamples": 100, "seed": 0}
    every = all_pairs.intervals(vectors, labels, roc, measures, **asked)
    monkeypatch.setattr(all_pairs, "EDGES", 300)
    assert len(all_pairs._edges(roc, [at])) < 310 < roc.thresholds.size
    some = all_pairs.intervals(vectors, labels, roc, measures, **asked)
    for name in measures:
        one, other = every[name], some[name]
        assert one is not None
        assert other is not None
        assert other.value == one.value
        assert (other.low, other.high) == pytest.approx((one.low, one.high), rel=0.03)


def test_many_classes_are_drawn_by_groups_of_like_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, labels = samples(360, 120)
    roc = roc_all_pairs(vectors, labels, "euclidean")
    measures = {"eer": MEASURES["eer"], "auc": MEASURES["auc"]}
    widths: dict[str, list[float]] = {"single": [], "eer": [], "auc": []}
    monkeypatch.setattr(all_pairs, "UNITS", 120)
    single = all_pairs.intervals(vectors, labels, roc, measures, distance="euclidean", resamples=100, seed=0)
    monkeypatch.setattr(all_pairs, "UNITS", 24)
    for seed in range(5):
        found = all_pairs.intervals(vectors, labels, roc, measures, distance="euclidean", resamples=100, seed=seed)
        for name in measures:
            each = found[name]
            assert each is not None
            assert each.classes == 120
            widths[name].append(each.high - each.low)
    for name in measures:
        alone = single[name]
        assert alone is not None
        assert np.mean(widths[name]) == pytest.approx(alone.high - alone.low, rel=0.25)


def test_the_order_of_the_rows_does_not_matter_and_the_seed_does() -> None:
    vectors, labels = samples(60, 10)
    order = np.random.default_rng(1).permutation(60)
    roc = roc_all_pairs(vectors, labels, "cosine")
    asked: dict[str, Any] = {"distance": "cosine", "resamples": 100}
    found = all_pairs.intervals(vectors, labels, roc, FREE, **asked, seed=0)
    assert found == all_pairs.intervals(vectors[order], labels[order], roc, FREE, **asked, seed=0)
    assert found != all_pairs.intervals(vectors, labels, roc, FREE, **asked, seed=1)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, labels = samples(60, 6)
    roc = roc_all_pairs(vectors, labels, "euclidean")
    asked: dict[str, Any] = {"distance": "euclidean", "resamples": 100, "seed": 0}
    found = all_pairs.intervals(vectors, labels, roc, FREE, **asked)
    monkeypatch.setattr(all_pairs, "BLOCK", 61)
    monkeypatch.setattr(all_pairs, "TOGETHER", 7)
    assert all_pairs.intervals(vectors, labels, roc, FREE, **asked) == found


def test_too_few_classes_and_what_cannot_be_measured() -> None:
    vectors, labels = samples(12, 3)
    roc = roc_all_pairs(vectors, labels, "euclidean")
    with pytest.raises(bootstrap.TooFewClassesError, match="resamples of the 3 classes hold no genuine or no impostor"):
        all_pairs.intervals(vectors, labels, roc, FREE, distance="euclidean", seed=0)
    with pytest.raises(bootstrap.TooFewClassesError, match="all samples are of one class"):
        all_pairs.intervals(vectors, np.zeros(12), roc, FREE, distance="euclidean", seed=0)
    with pytest.raises(ValueError, match="it takes at least 40"):
        all_pairs.intervals(vectors, labels, roc, FREE, distance="euclidean", resamples=39, seed=0)
    vectors, labels = samples(24, 8)
    roc = roc_all_pairs(vectors, labels, "euclidean")
    fine = {"tar": tar_at_far(1e-4)}
    assert all_pairs.intervals(vectors, labels, roc, fine, distance="euclidean", seed=0) == {"tar": None}

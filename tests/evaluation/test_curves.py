from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from likewise.evaluation.curves import Roc
from likewise.evaluation.verification import roc_from_trials

Array = NDArray[Any]


@st.composite
def rocs(draw: st.DrawFn) -> tuple[Array, Array, Roc]:
    size = draw(st.integers(2, 40))
    scores = np.array(draw(st.lists(st.integers(-5, 5), min_size=size, max_size=size))) / 5
    same = np.array(draw(st.lists(st.integers(0, 1), min_size=size, max_size=size).filter(lambda s: len(set(s)) == 2)))
    return scores, same, roc_from_trials(scores, same)


def rates(scores: Array, same: Array, threshold: float) -> tuple[float, float]:
    """Return FAR and FRR by counting trial by trial."""
    false_accepts = sum(1 for score, kind in zip(scores, same, strict=True) if score >= threshold and kind == 0)
    false_rejects = sum(1 for score, kind in zip(scores, same, strict=True) if score < threshold and kind == 1)
    return false_accepts / int((same == 0).sum()), false_rejects / int((same == 1).sum())


def thresholds(scores: Array) -> list[float]:
    return [np.inf, *sorted(set(scores.tolist()), reverse=True)]


def crossing(points: list[tuple[float, float]]) -> float:
    """Return where a broken line of (FAR, FRR) points meets the diagonal, segment by segment."""
    for (far, frr), (next_far, next_frr) in pairwise(points):
        if next_far >= next_frr:
            share = (frr - far) / ((frr - far) + (next_far - next_frr))
            return far + share * (next_far - far)
    raise AssertionError("the line ends at (1, 0)")


@given(rocs())
def test_plain_eer_is_where_the_curve_meets_the_diagonal(given: tuple[Array, Array, Roc]) -> None:
    scores, same, roc = given
    points = [rates(scores, same, threshold) for threshold in thresholds(scores)]
    assert roc.eer_plain == pytest.approx(crossing(points), abs=1e-12)


@given(rocs())
def test_hull_eer_is_the_least_over_all_pairs_of_operating_points(given: tuple[Array, Array, Roc]) -> None:
    scores, same, roc = given
    points = [rates(scores, same, threshold) for threshold in thresholds(scores)]
    candidates = [crossing([a, b]) for a in points for b in points if a[0] <= a[1] and b[0] >= b[1] and a != b]
    assert roc.eer == pytest.approx(min(candidates), abs=1e-12)
    assert roc.eer <= roc.eer_plain + 1e-12
    assert roc.eer <= 0.5 + 1e-12


@given(rocs())
def test_detection_cost_by_trying_every_threshold(given: tuple[Array, Array, Roc]) -> None:
    scores, same, roc = given
    for prior, miss, accept in ((0.01, 1.0, 1.0), (0.5, 1.0, 1.0), (0.3, 10.0, 2.0)):
        costs = []
        for threshold in thresholds(scores):
            far, frr = rates(scores, same, threshold)
            costs.append(prior * miss * frr + (1 - prior) * accept * far)
        expected = min(costs) / min(prior * miss, (1 - prior) * accept)
        settings = {"prior": prior, "cost_miss": miss, "cost_false_accept": accept}
        assert roc.min_dcf(**settings) == pytest.approx(expected, abs=1e-12)
        far, frr = rates(scores, same, roc.cost_threshold(**settings))
        assert prior * miss * frr + (1 - prior) * accept * far == pytest.approx(min(costs), abs=1e-12)


@given(rocs(), st.sampled_from([0.05, 0.1, 0.25, 1 / 3, 0.5, 1.0]))
def test_tar_at_far_by_trying_every_threshold(given: tuple[Array, Array, Roc], far: float) -> None:
    scores, same, roc = given
    allowed = [1 - frr for rate, frr in (rates(scores, same, t) for t in thresholds(scores)) if rate <= far + 1e-12]
    measurable = far * (same == 0).sum() >= 1 - 1e-12
    assert roc.tar_at_far(far) == (pytest.approx(max(allowed)) if measurable else None)
    rate, frr = rates(scores, same, roc.threshold_at_far(far))
    assert rate <= far + 1e-12
    assert 1 - frr == pytest.approx(max(allowed))


@given(rocs())
def test_accuracy_and_its_best_threshold_by_counting(given: tuple[Array, Array, Roc]) -> None:
    scores, same, roc = given
    for threshold in [*thresholds(scores), 0.05, -0.31]:
        assert roc.accuracy(threshold) == pytest.approx(np.mean((scores >= threshold) == same))
    best = roc.best_threshold()
    assert np.isfinite(best)
    assert np.mean((scores >= best) == same) == max(np.mean((scores >= t) == same) for t in thresholds(scores))


@given(rocs())
def test_eer_threshold_has_the_smallest_gap(given: tuple[Array, Array, Roc]) -> None:
    scores, same, roc = given
    gaps = [abs(np.subtract(*rates(scores, same, threshold))) for threshold in thresholds(scores)]
    assert abs(np.subtract(*rates(scores, same, roc.eer_threshold))) == pytest.approx(min(gaps), abs=1e-12)


@given(rocs())
def test_min_cllr_is_below_every_affine_map(given: tuple[Array, Array, Roc]) -> None:
    scores, same, roc = given
    for slope in (0.0, 0.5, 2.0, 8.0):
        for offset in (-1.0, 0.0, 1.0):
            ratio = slope * scores + offset
            cost = np.logaddexp(0, -ratio[same == 1]).mean() + np.logaddexp(0, ratio[same == 0]).mean()
            assert roc.min_cllr <= cost / 2 / np.log(2) + 1e-12


def test_constant_scores_tell_nothing_apart() -> None:
    roc = roc_from_trials([0.5] * 6, [1, 0, 1, 0, 0, 0])
    assert (roc.auc, roc.eer, roc.eer_plain) == (0.5, 0.5, 0.5)
    assert roc.min_cllr == pytest.approx(1.0)
    assert (roc.tar_at_far(0.25), roc.tar_at_far(1.0), roc.min_dcf()) == (0.0, 1.0, 1.0)
    assert roc.accuracy(roc.best_threshold()) == pytest.approx(4 / 6)


def test_one_genuine_trial() -> None:
    roc = roc_from_trials([0.9, 0.5, 0.4], [0, 1, 0])
    assert (roc.genuine, roc.impostors, roc.auc) == (1, 2, 0.5)
    assert roc.eer_plain == 0.5


def test_threshold_lies_midway_and_survives_single_precision() -> None:
    low, high = np.float32(0.3), np.nextafter(np.float32(0.3), np.float32(1))
    scores = np.array([high, low], dtype=np.float32)
    threshold = roc_from_trials(scores, [1, 0]).best_threshold()
    assert (scores >= np.float32(threshold)).tolist() == [True, False]
    assert roc_from_trials([3.0, 1.0], [1, 0]).best_threshold() == 2.0


def test_threshold_that_accepts_nothing_is_just_above_the_highest_score() -> None:
    roc = roc_from_trials([0.9, 0.1], [0, 1])
    assert roc.threshold_at_far(0.01) == pytest.approx(0.9, abs=1e-6)
    assert roc.threshold_at_far(0.01) > 0.9


def test_rates_that_the_impostors_cannot_show_are_not_measurable() -> None:
    roc = roc_from_trials(np.arange(1001), np.append(np.zeros(1000), 1))
    assert (roc.least_far, roc.tar_at_far(0.001), roc.tar_at_far(0.0009)) == (0.001, 1.0, None)


@pytest.mark.parametrize("far", [0.0, -0.1, 1.5, float("nan")])
def test_a_rate_outside_its_range_is_refused(far: float) -> None:
    roc = roc_from_trials([0.9, 0.1], [1, 0])
    with pytest.raises(ValueError, match="false-accept rate lies above 0"):
        roc.tar_at_far(far)
    with pytest.raises(ValueError, match="false-accept rate lies above 0"):
        roc.threshold_at_far(far)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prior": 0.0}, "between 0 and 1"),
        ({"prior": 1.0}, "between 0 and 1"),
        ({"cost_miss": -1.0}, "costs must be above 0"),
        ({"cost_false_accept": float("inf")}, "costs must be above 0"),
    ],
)
def test_costs_outside_their_range_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        roc_from_trials([0.9, 0.1], [1, 0]).min_dcf(**settings)


def test_a_threshold_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not NaN"):
        roc_from_trials([0.9, 0.1], [1, 0]).accuracy(float("nan"))

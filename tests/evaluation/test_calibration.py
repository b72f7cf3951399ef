import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from likewise.evaluation import calibration
from likewise.evaluation.calibration import Calibration, calibrate
from likewise.evaluation.verification import roc_from_trials

Array = NDArray[Any]
WHERE: dict[str, Any] = {"distance": "cosine", "split": "val"}


def trials(size: int = 400, *, seed: int = 0, scale: float = 1.0, shift: float = 0.0) -> tuple[Array, Array]:
    generator = np.random.default_rng(seed)
    same = np.arange(size) % 2
    return scale * (generator.standard_normal(size) + 1.5 * same) + shift, same


def test_calibrations_survive_json() -> None:
    scores, same = trials()
    for method in calibration.METHODS:
        fitted = calibrate(scores, same, method, **WHERE)
        again = Calibration.from_dict(json.loads(json.dumps(fitted.to_dict(), allow_nan=False)))
        np.testing.assert_array_equal(again.probability(scores), fitted.probability(scores))


def test_a_stored_object_with_other_keys_is_refused() -> None:
    stored = calibrate(*trials(), **WHERE).to_dict()
    with pytest.raises(ValueError, match=r"not a stored Calibration: missing \['prior'\], unknown \['priro'\]"):
        Calibration.from_dict({"priro" if key == "prior" else key: value for key, value in stored.items()})
    with pytest.raises(ValueError, match="unknown calibration 'plat'"):
        Calibration.from_dict({**stored, "method": "plat"})


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1e-4, 0.9), (50.0, -800.0)])
def test_platt_is_logistic_regression_on_smoothed_targets(scale: float, shift: float) -> None:
    scores, same = trials(scale=scale, shift=shift)
    count = 200
    weights = np.where(same == 1, (count + 1) / (count + 2), 1 / (count + 2))
    standard = ((scores - shift) / scale)[:, None]
    oracle = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(
        np.concatenate((standard, standard)),
        np.repeat([1, 0], len(scores)),
        sample_weight=np.concatenate((weights, 1 - weights)),
    )
    fitted = calibrate(scores, same, "platt", **WHERE)
    np.testing.assert_allclose(fitted.probability(scores), oracle.predict_proba(standard)[:, 1], atol=1e-6)


def test_isotonic_is_scikit_learns_on_smoothed_targets() -> None:
    scores, same = trials()
    scores = scores.round(1)
    targets = np.where(same == 1, 201 / 202, 1 / 202)
    oracle = IsotonicRegression(out_of_bounds="clip").fit(scores, targets)
    fitted = calibrate(scores, same, "isotonic", **WHERE)
    grid = np.linspace(-6, 6, 500)
    np.testing.assert_allclose(fitted.probability(grid), oracle.predict(grid), atol=1e-9)


def test_beta_fits_at_least_as_well_as_platt_and_rises() -> None:
    generator = np.random.default_rng(3)
    same = np.arange(3000) % 2
    scores = np.where(same == 1, generator.beta(5, 1, 3000), generator.beta(1, 2, 3000))
    loss = {}
    for method in ("platt", "beta"):
        fitted = calibrate(scores, same, method, **WHERE)
        loss[method] = calibration.cllr(fitted.log_likelihood_ratio(scores), same)
        assert (np.diff(fitted.probability(np.linspace(0, 1, 200))) >= -1e-12).all()
    assert loss["beta"] < loss["platt"]
    assert loss["beta"] >= roc_from_trials(scores, same).min_cllr


def best_that_rises(features: Array, weights: Array, targets: Array) -> bool:
    """Tell whether weights have the least logistic loss of those whose features, but for the last, do not fall.

    The loss is convex, so these conditions are enough (Karush, Kuhn and Tucker): no weight is negative, and the loss
    falls neither where a weight may move both ways, nor where one that is nought may only rise.
    """
    gradient = features @ (expit(weights @ features) - targets) / targets.size
    slopes, lead = weights[:-1], gradient[:-1]
    still = np.abs(gradient) < 1e-6 * np.abs(features).mean(axis=1)
    return bool((slopes >= 0).all() and still[-1] and (still[:-1] | ((slopes == 0) & (lead > 0))).all())


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([-2.0, -0.2, 0.0, 0.2, 2.0]), st.sampled_from([0.3, 1.0, 3.0]))
def test_no_map_that_rises_fits_better(seed: int, lead: float, shape: float) -> None:
    # Upside down for a negative lead, of unequal spread otherwise, so that either weight of beta may want to fall.
    generator = np.random.default_rng(seed)
    same = np.arange(80) % 2
    scores = generator.standard_normal(80) * np.where(same == 1, shape, 1) + lead * same
    targets, one = np.where(same == 1, 41 / 42, 1 / 42), np.ones(80)
    platt, beta = (calibrate(scores, same, method, **WHERE) for method in ("platt", "beta"))
    line = np.array([platt.parameters["slope"][0], platt.parameters["intercept"][0]])
    assert best_that_rises(np.stack([scores, one]), line, targets)
    odds = platt.log_odds(scores)
    curves = np.stack([-np.logaddexp(0, -odds), np.logaddexp(0, odds), one])
    if line[0] > 0:
        # Of one probability for all its own features are constants, among which no weights are the best.
        assert best_that_rises(curves, np.array(beta.parameters["weights"]), targets)
    grid = np.linspace(scores.min() - 1, scores.max() + 1, 200)
    for fitted in (platt, beta):
        assert (np.diff(fitted.log_odds(grid)) >= -1e-12).all()


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([-0.8, 0.0, 0.8]))
def test_the_best_bounded_weights_are_found_whichever_want_to_be_negative(seed: int, alike: float) -> None:
    generator = np.random.default_rng(seed)
    targets = np.where(np.arange(60) % 2, 31 / 32, 1 / 32)
    first = generator.standard_normal(60) + generator.choice([-0.5, 0.0, 0.5]) * (targets > 0.5)
    second = alike * first + generator.standard_normal(60) + generator.choice([-0.5, 0.0, 0.5]) * (targets > 0.5)
    features = np.stack([first, second, np.ones(60)])
    assert best_that_rises(features, calibration._rising(features, targets), targets)


def test_scores_that_are_upside_down_get_one_probability() -> None:
    scores, same = trials()
    for method in ("platt", "beta"):
        chances = calibrate(-scores, same, method, **WHERE).probability(scores)
        np.testing.assert_allclose(chances, 0.5, atol=1e-9)


@pytest.mark.parametrize("method", ["platt", "isotonic", "beta"])
def test_edges_of_calibration(method: str) -> None:
    apart = calibrate([3.0, 2.0, 1.0, 0.0], [1, 1, 0, 0], method, **WHERE)
    chances = apart.probability([-1e6, 0.0, 3.0, 1e6])
    assert np.isfinite(apart.log_odds([-1e6, 1e6])).all()
    assert (np.diff(chances) >= 0).all()
    assert 0 <= chances[0] < 0.5 < chances[-1] <= 1
    flat = calibrate([0.5] * 4, [1, 1, 0, 0], method, **WHERE)
    assert float(flat.probability(0.5)) == pytest.approx(0.5)
    assert flat.probability(0.5).shape == ()


@pytest.mark.parametrize("method", ["platt", "isotonic", "beta"])
@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_order_of_the_trials_does_not_matter(method: str, seed: int) -> None:
    scores, same = trials(60, seed=seed)
    order = np.random.default_rng(seed).permutation(60)
    assert calibrate(scores, same, method, **WHERE) == calibrate(scores[order], same[order], method, **WHERE)


def test_a_calibration_of_another_distance_or_an_unknown_one_is_an_error() -> None:
    fitted = calibrate(*trials(), **WHERE)
    fitted.check("cosine")
    with pytest.raises(ValueError, match="this calibration belongs to cosine"):
        fitted.check("manhattan")
    with pytest.raises(ValueError, match=r"unknown calibration 'isotonc'; known: isotonic, "):
        calibrate(*trials(), "isotonc", **WHERE)


def test_likelihood_ratio_takes_the_prior_out() -> None:
    scores, same = trials()
    few = np.concatenate((np.flatnonzero(same == 0), np.flatnonzero(same == 1)[:50]))
    all_of_them, fewer = (calibrate(scores[rows], same[rows], **WHERE) for rows in (np.arange(400), few))
    assert (all_of_them.prior, fewer.prior) == (0.5, 0.2)
    difference = fewer.log_likelihood_ratio([0.75]) - all_of_them.log_likelihood_ratio([0.75])
    assert abs(float(difference[0])) < 0.5
    assert fewer.probability([0.75]) < all_of_them.probability([0.75]) - 0.15


def test_brier_and_cllr_by_formula() -> None:
    scores, same = trials()
    chances = calibrate(scores, same, **WHERE).probability(scores)
    assert calibration.brier(chances, same) == pytest.approx(brier_score_loss(same, chances))
    odds = np.log(chances / (1 - chances))
    genuine, impostor = odds[same == 1], odds[same == 0]
    bits = [
        sum(np.log2(1 + np.exp(sign * o)) for o in part) / len(part) for sign, part in ((-1, genuine), (1, impostor))
    ]
    expected = sum(bits) / 2
    assert calibration.cllr(odds, same) == pytest.approx(expected)


def test_ece_by_loop() -> None:
    generator = np.random.default_rng(0)
    chances, same = np.append(generator.random(300), [0.0, 1.0]), np.append(generator.integers(0, 2, 300), [0, 1])
    expected = 0.0
    for low in range(10):
        inside = [i for i, p in enumerate(chances) if low / 10 <= p < (low + 1) / 10 or (low == 9 and p == 1)]
        if inside:
            expected += abs(chances[inside].mean() - same[inside].mean()) * len(inside) / len(chances)
    assert calibration.ece(chances, same, bins=10) == pytest.approx(expected)


def test_probabilities_outside_their_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"between 0 and 1; these reach from -0\.1 to 1\.2"):
        calibration.brier([-0.1, 1.2], [0, 1])
    with pytest.raises(ValueError, match="bins must be at least 1"):
        calibration.ece([0.1, 0.9], [0, 1], bins=0)
    with pytest.raises(ValueError, match="NaN"):
        calibration.ece([float("nan"), 0.9], [0, 1])

"""From scores to probabilities: calibrations that know which distance they belong to, and how good they are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from likewise.choices import one_of
from likewise.evaluation.checks import OfDistance, Values, as_trials, as_vector

Floats = NDArray[np.float64]
Parameters = dict[str, list[float]]


@dataclass(frozen=True)
class Calibration(OfDistance):
    """A monotone map from score to the probability of "same", fitted on one split for one distance.

    Attributes:
        method: a name in `METHODS`.
        distance: the name of the distance whose scores it maps.
        split: the samples it was fitted on.
        prior: the share of genuine trials there, which the probability takes for granted.
        parameters: what the method fitted.
    """

    called = "calibration"

    method: str
    distance: str
    split: str
    prior: float
    parameters: Parameters

    def log_odds(self, scores: Values | float) -> Floats:
        """Return the natural logarithm of P(same) / P(different) for each score."""
        values = np.asarray(as_vector(np.atleast_1d(scores), name="scores"))
        odds: Floats = METHODS[self.method][1](values, self.parameters)
        return odds if np.ndim(scores) else odds.reshape(())

    def probability(self, scores: Values | float) -> Floats:
        """Return the probability of "same" for each score, where genuine trials are as frequent as in `prior`."""
        return _sigmoid(self.log_odds(scores))

    def log_likelihood_ratio(self, scores: Values | float) -> Floats:
        """Return ln of P(score | same) / P(score | different), which no prior enters."""
        ratio: Floats = self.log_odds(scores) - np.log(self.prior / (1 - self.prior))
        return ratio

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the calibration that `to_dict` wrote.

        Raises:
            ValueError: when a value is missing or unknown, or the method is.
        """
        stored = super().from_dict(values)
        one_of("calibration", stored.method, METHODS)
        return stored


def calibrate(scores: Values, same: Values, method: str = "platt", *, distance: str, split: str) -> Calibration:
    """Fit the map from score to the probability of "same".

    Args:
        scores: (trials,) larger is more alike.
        same: (trials,) 1 for a genuine trial, 0 for an impostor.
        method: "platt", "isotonic" or "beta".
        distance: the name of the distance that gave the scores.
        split: the name of the samples they were computed on.

    Raises:
        ValueError: for an unknown method, NaN scores or trials of one kind only.

    >>> fitted = calibrate([0.9, 0.8, 0.6, 0.5, 0.3, 0.1], [1, 1, 0, 1, 0, 0], distance="cosine", split="val")
    >>> fitted.probability([0.1, 0.55, 0.9]).round(2)
    array([0.17, 0.51, 0.79])
    """
    one_of("calibration", method, METHODS)
    score, genuine = as_trials(scores, same)
    order = np.lexsort((genuine, score))
    parameters = METHODS[method][0](score[order], genuine[order])
    return Calibration(method, distance, split, float(genuine.mean()), parameters)


def brier(probability: Values, same: Values) -> float:
    """Return the mean squared difference of probability and answer, 0 at best (Brier, 1950).

    >>> brier([1.0, 0.5], [1, 0])
    0.125
    """
    chance, genuine = _as_probabilities(probability, same)
    return float(np.mean((chance - genuine) ** 2))


def ece(probability: Values, same: Values, *, bins: int = 15) -> float:
    """Return the expected calibration error, sum over bins of n_b / n |mean probability - share genuine|.

    Bins are equally wide (Naeini, Cooper and Hauskrecht, 2015).

    >>> ece([0.75, 0.75, 0.25, 0.25], [1, 1, 0, 0])
    0.25
    """
    table = reliability(probability, same, bins=bins)
    return float(np.sum(table["trials"] * np.abs(table["probability"] - table["genuine"])) / table["trials"].sum())


def reliability(probability: Values, same: Values, *, bins: int = 15) -> dict[str, Floats]:
    """Return mean probability, share genuine and number of trials of each bin that holds any."""
    if bins < 1:
        raise ValueError(f"bins must be at least 1, not {bins}")
    chance, genuine = _as_probabilities(probability, same)
    place = np.minimum((chance * bins).astype(np.int64), bins - 1)
    trials = np.bincount(place, minlength=bins).astype(np.float64)
    used = trials > 0
    return {
        "probability": np.bincount(place, chance, bins)[used] / trials[used],
        "genuine": np.bincount(place, genuine, bins)[used] / trials[used],
        "trials": trials[used],
    }


def cllr(log_likelihood_ratios: Values, same: Values) -> float:
    """Return the cost of log-likelihood ratios in bits: 0 at best, 1 for a system that says nothing.

    1/2 (mean over genuine of log2(1 + exp(-l)) + mean over impostors of log2(1 + exp(l))); Brümmer and du Preez,
    "Application-independent evaluation of speaker detection", 2006. `Roc.min_cllr` is what is left of it after
    the best monotone map.

    >>> cllr([0.0, 0.0], [1, 0])
    1.0
    """
    ratio, genuine = as_trials(log_likelihood_ratios, same)
    misses, accepts = np.logaddexp(0, -ratio[genuine]), np.logaddexp(0, ratio[~genuine])
    return float((misses.mean() + accepts.mean()) / (2 * np.log(2)))


def _fit_platt(score: Floats, genuine: NDArray[np.bool_]) -> Parameters:
    """Fit a logistic curve that does not fall: Platt, "Probabilistic outputs for support vector machines", 1999.

    His targets are smoothed. Scores that are upside down get slope 0, one probability for all, rather than a
    probability that falls where the answer turns to "same".
    """
    middle, spread = float(score.mean()), float(score.std()) or 1.0
    standard = (score - middle) / spread
    slope, intercept = _rising(np.stack((standard, np.ones_like(standard))), _targets(genuine))
    return {"slope": [slope / spread], "intercept": [intercept - slope * middle / spread]}


def _platt(score: Floats, parameters: Parameters) -> Floats:
    return score * parameters["slope"][0] + parameters["intercept"][0]


def _fit_isotonic(score: Floats, genuine: NDArray[np.bool_]) -> Parameters:
    """Pool adjacent violators: Zadrozny and Elkan, 2002; targets smoothed as Platt's keep off 0 and 1."""
    from scipy.optimize import isotonic_regression

    values, place, trials = np.unique(score, return_inverse=True, return_counts=True)
    means = np.bincount(place, _targets(genuine)) / trials
    pooled = isotonic_regression(means, weights=trials)
    firsts, lasts = pooled.blocks[:-1], pooled.blocks[1:] - 1
    knots = np.unique(np.concatenate((firsts, lasts)))
    return {"scores": values[knots].tolist(), "probabilities": pooled.x[knots].tolist()}


def _isotonic(score: Floats, parameters: Parameters) -> Floats:
    probability = np.interp(score, parameters["scores"], parameters["probabilities"])
    return np.log(probability) - np.log1p(-probability)


def _fit_beta(score: Floats, genuine: NDArray[np.bool_]) -> Parameters:
    """Fit c + a ln p - b ln(1 - p), a and b at least 0, on Platt's p: Kull, Silva Filho and Flach, 2017."""
    platt = _fit_platt(score, genuine)
    weights = _rising(_beta_features(_platt(score, platt)), _targets(genuine))
    return {**platt, "weights": weights.tolist()}


def _beta(score: Floats, parameters: Parameters) -> Floats:
    weights: Floats = np.asarray(parameters["weights"])
    return weights @ _beta_features(_platt(score, parameters))


def _beta_features(odds: Floats) -> Floats:
    """Return (3, trials) ln p, -ln(1 - p) and 1 for p = sigmoid(odds)."""
    return np.stack((-np.logaddexp(0, -odds), np.logaddexp(0, odds), np.ones_like(odds)))


def _targets(genuine: NDArray[np.bool_]) -> Floats:
    count = int(genuine.sum())
    return np.where(genuine, (count + 1) / (count + 2), 1 / (genuine.size - count + 2))


def _rising(features: Floats, targets: Floats) -> Floats:
    """Return the weights of least logistic loss among those of which all but the last, the intercept, are at least 0.

    The loss is convex, so where the free minimum has a negative weight the bounded one has some weight at 0: each
    way to leave weights out is tried, and of those with no negative weight the best is taken.
    """
    slopes = len(features) - 1
    best, least = np.zeros(len(features)), np.inf
    for used in product((True, False), repeat=slopes):
        kept = [*used, True]
        weights = np.zeros(len(features))
        weights[kept] = _logistic(features[kept], targets)
        if weights[:slopes].min() >= 0 and (loss := _loss(weights, features, targets)) < least:
            best, least = weights, loss
    return best


def _loss(weights: Floats, features: Floats, targets: Floats) -> float:
    odds = weights @ features
    return float(np.sum(np.logaddexp(0, odds) - targets * odds))


def _logistic(features: Floats, targets: Floats) -> Floats:
    """Return the weights of (features, trials) that minimise the logistic loss, by Newton's method with halving."""
    weights = np.zeros(len(features))
    ridge = 1e-9 * np.eye(len(features)) * targets.size
    for _ in range(100):
        chance = _sigmoid(weights @ features)
        gradient = features @ (chance - targets)
        curvature = (features * (chance * (1 - chance))) @ features.T + ridge
        step = np.linalg.solve(curvature, gradient)
        if gradient @ step < 1e-18 * targets.size:
            break
        before, size = _loss(weights, features, targets), 1.0
        while _loss(weights - size * step, features, targets) > before and size > 1e-10:
            size /= 2
        weights = weights - size * step
    return weights


def _sigmoid(odds: Floats) -> Floats:
    # tanh does not overflow at either end.
    return 0.5 + 0.5 * np.tanh(odds / 2)


def _as_probabilities(probability: Values, same: Values) -> tuple[Floats, NDArray[np.bool_]]:
    chance, genuine = as_trials(probability, same)
    if chance.min() < 0 or chance.max() > 1:
        raise ValueError(f"probabilities lie between 0 and 1; these reach from {chance.min()} to {chance.max()}")
    return chance, genuine


METHODS: dict[str, tuple[Callable[[Floats, NDArray[np.bool_]], Parameters], Callable[[Floats, Parameters], Floats]]] = {
    "platt": (_fit_platt, _platt),
    "isotonic": (_fit_isotonic, _isotonic),
    "beta": (_fit_beta, _beta),
}

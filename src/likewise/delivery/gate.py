"""The gate: may the challenger take the champion's place? Both are judged on the same trials, over the same classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from likewise.choices import choose
from likewise.evaluation import slices
from likewise.evaluation.bootstrap import Comparison, TooFewClassesError, compare
from likewise.evaluation.measures import MEASURES, Measure, accuracy

METRICS = ("eer", "auc", "accuracy", "min_dcf", "min_cllr")
"""What the gate may go by; accuracy is that of each model's own threshold."""

Scores = NDArray[np.floating]
Names = NDArray[np.object_]


@dataclass(frozen=True)
class Rule:
    """When the challenger takes the champion's place.

    Attributes:
        metric: a name in `METRICS`.
        margin: by how much the challenger must be better, in the unit of the metric.
        confidence: in which share of the resamples over classes it must be so.
        slice_limit: by how much no slice may be worse.
        seed: of the resamples.
    """

    metric: str
    margin: float
    confidence: float
    slice_limit: float
    seed: int


@dataclass(frozen=True)
class Same:
    """The trials that both models are judged on.

    Attributes:
        same: (trials,) 1 for a genuine trial, 0 for an impostor.
        units: (2, trials) the class of each side, or what else was drawn at random.
        slices: (2, trials) the slice of each side that is guarded; None where none is.
    """

    same: NDArray[np.integer]
    units: Names
    slices: Names | None = None


@dataclass(frozen=True)
class Judged:
    """A model on the trials: its scores (trials,), and the score from which it says "same"."""

    scores: Scores
    threshold: float


@dataclass(frozen=True)
class Decision:
    """What the gate says, and why.

    Attributes:
        promote: whether the challenger takes the champion's place.
        reason: in a sentence.
        figures: challenger, champion, difference (positive where the challenger is better), least (that it is with the
            confidence asked for) and trials; empty where the two could not be compared.
    """

    promote: bool
    reason: str
    figures: Mapping[str, float]


def judge(challenger: Judged, champion: Judged, trials: Same, rule: Rule) -> Decision:
    """Decide whether the challenger takes the champion's place.

    It does if it is better by the margin at the confidence asked for, by a paired bootstrap over classes
    (`likewise.evaluation.bootstrap.compare`), and no slice is worse by more than the limit.

    Raises:
        ValueError: for a metric that the gate does not know, or trials of one kind only.

    >>> same = np.tile([1, 0], 200)
    >>> units = np.stack([np.arange(400) // 2 % 40, np.arange(400) // 2 % 40 + np.tile([0, 1], 200)]).astype(object)
    >>> noise = np.cos(np.arange(400.0))
    >>> good, poor = Judged(noise + 4 * same, 2.0), Judged(noise + same, 0.5)
    >>> rule = Rule(metric="eer", margin=0.0, confidence=0.95, slice_limit=0.02, seed=0)
    >>> judge(good, poor, Same(same, units), rule).promote, judge(poor, good, Same(same, units), rule).promote
    (True, False)
    """
    pair = _measures(rule.metric, challenger, champion)
    # The ends of a two-sided interval of this level each leave out what the confidence leaves out on one side.
    level = 2 * rule.confidence - 1
    left, right = trials.units
    try:
        found = compare(
            challenger.scores,
            champion.scores,
            trials.same,
            left,
            right,
            {rule.metric: pair},
            level=level,
            seed=rule.seed,
        )[rule.metric]
    except TooFewClassesError as error:
        return Decision(False, f"too few classes to tell: {error}", {})
    assert found is not None
    figures = _figures(found, pair[0], len(trials.same))
    told = f"{rule.metric} {figures['challenger']:.4g} against {figures['champion']:.4g}"
    ahead = (
        f"better by {figures['difference']:.4g}, at least {figures['least']:.4g} at {rule.confidence:.3g} confidence"
    )
    if figures["least"] <= rule.margin:
        return Decision(False, f"{told}: {ahead}; more than {rule.margin:g} is asked for", figures)
    worse = _worse_slices(challenger, champion, trials, rule)
    if worse:
        return Decision(False, f"{told}: {ahead}; but worse by more than {rule.slice_limit:g} on {worse}", figures)
    return Decision(True, f"{told}: {ahead}", figures)


def _measures(metric: str, challenger: Judged, champion: Judged) -> tuple[Measure, Measure]:
    if metric == "accuracy":
        return accuracy(challenger.threshold), accuracy(champion.threshold)
    found = choose("metric of the gate", metric, {name: MEASURES[name] for name in METRICS if name in MEASURES})
    return found, found


def _figures(found: Comparison, measure: Measure, trials: int) -> dict[str, float]:
    """Return the figures with a sign that is positive where the challenger is better."""
    sign = 1 if measure.larger_is_better else -1
    ends = sign * found.difference.low, sign * found.difference.high
    return {
        "challenger": found.first,
        "champion": found.second,
        "difference": sign * found.difference.value,
        "least": min(ends),
        "trials": float(trials),
    }


def _worse_slices(challenger: Judged, champion: Judged, trials: Same, rule: Rule) -> str:
    """Name the slices in which the challenger is worse by more than the limit, each with both figures."""
    if trials.slices is None:
        return ""
    pair = _measures(rule.metric, challenger, champion)
    left, right = trials.slices
    found = [
        slices.evaluate(each.scores, trials.same, left, right, {rule.metric: measure}, trials="touching").groups
        for each, measure in zip((challenger, champion), pair, strict=True)
    ]
    sign = 1 if pair[0].larger_is_better else -1
    worse = []
    for name in found[0]:
        mine, theirs = (groups[name].values[rule.metric] for groups in found)
        if mine is not None and theirs is not None and sign * (theirs - mine) > rule.slice_limit:
            worse.append(f"{name} ({mine:.4g} against {theirs:.4g})")
    return ", ".join(worse)

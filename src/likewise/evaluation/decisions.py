"""What calibration.json holds: every threshold and calibration chosen on val, and which of them the model carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from likewise.evaluation.bootstrap import Interval
from likewise.evaluation.calibration import METHODS, Calibration, calibrate
from likewise.evaluation.checks import TooFewError
from likewise.evaluation.measures import Measure, percent_name
from likewise.evaluation.thresholds import Costs, Rule, Threshold, on_roc
from likewise.evaluation.trials import Trials


@dataclass(frozen=True)
class Decisions:
    """What was chosen on one split.

    Attributes:
        threshold: the one that the model carries.
        calibration: the one that the model carries.
        thresholds: all that the trials can show, by name.
        calibrations: all of them, by method.
        reasons: for each threshold that they cannot show, why.
    """

    threshold: Threshold
    calibration: Calibration
    thresholds: dict[str, Threshold]
    calibrations: dict[str, Calibration]
    reasons: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold, the chosen ones as `threshold` and `probability`."""
        shown = {name: each.to_dict() for name, each in self.thresholds.items()}
        return {
            "distance": self.threshold.distance,
            "threshold": self.threshold.to_dict(),
            "probability": self.calibration.to_dict(),
            "thresholds": {**shown, **dict.fromkeys(self.reasons)},
            "calibrations": {name: each.to_dict() for name, each in self.calibrations.items()},
            "not_measurable": self.reasons,
        }


def rules(fars: Sequence[float], costs: Mapping[str, Costs]) -> dict[str, Rule]:
    """Return the rules that thresholds are stored for, by name.

    >>> list(rules([0.01], {"rare": {"prior": 0.01}}))
    ['accuracy', 'eer', 'far_1_percent', 'cost_rare']
    """
    return {
        "accuracy": Rule("accuracy"),
        "eer": Rule("eer"),
        **{f"far_{percent_name(far)}": Rule("far", far=far) for far in fars},
        **{f"cost_{name}": Rule("cost", costs=each) for name, each in costs.items()},
    }


def decide(
    trials: Trials, wanted: Mapping[str, Rule], *, threshold: str, method: str, distance: str, split: str, seed: int
) -> Decisions:
    """Choose a threshold for each rule and fit each calibration.

    A threshold's 95 % interval is that of the bootstrap: the classes are drawn again and it is chosen anew each time.

    Args:
        trials: of the split.
        wanted: the rules, by a name of the caller's.
        threshold: the name of the rule whose threshold the model carries.
        method: the calibration that the model carries.
        distance: the name of the distance that gave the scores.
        split: the name of the samples.
        seed: of the draws.

    Raises:
        TooFewError: where the trials are too few for the threshold that the model is to carry.
        ValueError: for trials that cannot be judged.
    """
    wanted[threshold].check(trials.roc)
    reasons = _reasons(trials, wanted)
    shown = {name: rule for name, rule in wanted.items() if name not in reasons}
    measures = {name: Measure(of=rule.value, larger_is_better=False) for name, rule in shown.items()}
    ends = trials.intervals(measures, seed=seed)
    thresholds = {name: _threshold(trials, rule, ends[name], distance, split) for name, rule in shown.items()}
    calibrations = {
        name: calibrate(trials.scores, trials.same, name, distance=distance, split=split) for name in METHODS
    }
    return Decisions(thresholds[threshold], calibrations[method], thresholds, calibrations, reasons)


def _threshold(trials: Trials, rule: Rule, ends: Interval | None, distance: str, split: str) -> Threshold:
    chosen = on_roc(trials.roc, rule, distance=distance, split=split)
    return chosen if ends is None else replace(chosen, low=ends.low, high=ends.high)


def _reasons(trials: Trials, wanted: Mapping[str, Rule]) -> dict[str, str]:
    found = {}
    for name, rule in wanted.items():
        try:
            rule.check(trials.roc)
        except TooFewError as error:
            found[name] = str(error)
    return found

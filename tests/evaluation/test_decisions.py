import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from likewise.evaluation import bootstrap
from likewise.evaluation.calibration import METHODS, calibrate
from likewise.evaluation.checks import TooFewError
from likewise.evaluation.decisions import rules
from likewise.evaluation.thresholds import Rule, choose_threshold
from tests.evaluation import judged

NAMES = ["accuracy", "eer", "far_10_percent", "far_0_1_percent", "cost_even"]


def test_each_rule_has_a_name() -> None:
    costs = {"even": judged.EVEN}
    found = rules([0.1, 0.001], costs)
    assert list(found) == NAMES
    assert found["far_0_1_percent"] == Rule("far", far=0.001)
    assert found["cost_even"] == Rule("cost", costs=judged.EVEN)


def test_thresholds_and_calibrations_are_those_of_val() -> None:
    of = judged.samples()
    val = judged.trials(of, "val")
    found = judged.decided(of, "eer", method="beta")
    where: dict[str, Any] = {"distance": "euclidean", "split": "val"}
    assert found.threshold is found.thresholds["eer"]
    assert found.calibration is found.calibrations["beta"]
    for name, each in found.thresholds.items():
        rule = rules([0.1, 0.001], {"even": judged.EVEN})[name]
        assert replace(each, low=None, high=None) == choose_threshold(val.scores, val.same, rule, **where)
    assert found.calibrations == {name: calibrate(val.scores, val.same, name, **where) for name in METHODS}


def test_a_threshold_has_the_interval_of_choosing_it_anew() -> None:
    of = judged.samples()
    val, chosen = judged.trials(of, "val"), judged.decided(of).thresholds["far_10_percent"]
    codes = {name: code for code, name in enumerate(sorted(set(val.units[0])))}
    left, right = (np.array([codes[name] for name in side]) for side in val.units)
    values = []
    for drawn in bootstrap.draw(len(codes), 1000, 0):
        times = np.where(left == right, drawn[left], drawn[left] * drawn[right])
        if set(val.same[times > 0]) == {0, 1}:
            highest = np.sort(np.repeat(val.scores, times * (1 - val.same)))[::-1]
            values.append(float(highest[int(0.1 * highest.size)]))
    # The threshold lies between this impostor and the next score above it.
    assert (chosen.low, chosen.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=0.02)
    assert chosen.low is not None
    assert chosen.high is not None
    assert chosen.low < chosen.value < chosen.high


def test_what_val_cannot_show_is_null_with_a_reason_unless_it_is_what_the_model_is_to_carry() -> None:
    of = judged.samples()
    told = json.loads(json.dumps(judged.decided(of).to_dict(), allow_nan=False))
    assert set(told["thresholds"]) == set(NAMES)
    assert told["thresholds"]["far_0_1_percent"] is None
    words = "960 impostor trials cannot show a false-accept rate of 0.001; the least they can is 0.001"
    assert told["not_measurable"] == {"far_0_1_percent": words}
    assert told["threshold"] == told["thresholds"]["accuracy"]
    assert told["probability"] == told["calibrations"]["platt"]
    assert told["distance"] == "euclidean"
    with pytest.raises(TooFewError, match=words):
        judged.decided(of, "far_0_1_percent")


def test_too_few_classes_have_thresholds_without_intervals() -> None:
    chosen = judged.decided(judged.samples(classes=3)).threshold
    assert (chosen.low, chosen.high) == (None, None)

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from likewise.config import ConfigError, load_params
from likewise.evaluation.decisions import rules
from likewise.stages.evaluate_params import Params
from tests.imports import ROOT
from tests.projects import write_params


def default(**changes: Any) -> Params:
    return Params.model_validate(load_params(ROOT)["evaluate"].model_dump() | changes)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({}, "accuracy"),
        ({"threshold": "eer"}, "eer"),
        ({"threshold": "far", "far": 0.05}, "far_5_percent"),
        ({"threshold": "cost", "cost": "rare"}, "cost_rare"),
    ],
)
def test_the_rule_of_the_model_is_one_of_those_stored(changes: dict[str, Any], rule: str) -> None:
    params = default(**changes)
    assert params.rule == rule
    assert rule in rules(params.rates, params.named_costs)
    assert params.asked().threshold == rule


def test_the_rate_of_the_threshold_is_told_at_too_and_once() -> None:
    assert default(threshold="far", far=0.05).rates == [0.1, 0.01, 0.001, 0.05]
    assert default(threshold="far", far=0.01).rates == [0.1, 0.01, 0.001]
    assert default(far=0.05).rates == [0.1, 0.01, 0.001]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"threshold": "cost", "cost": "even", "costs": {}}, "cost: even is none of costs: there are none"),
        ({"fars": [0.1, 0.1]}, r"fars: \[0\.1, 0\.1\] names one twice"),
        ({"k": [5]}, r"k: \[5\] lacks 1"),
        ({"fars": [1.0]}, "less than 1"),
        ({"costs": {"Rare one": {"prior": 0.1, "cost_miss": 1.0, "cost_false_accept": 1.0}}}, "pattern"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        default(**changes)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "rare: {prior: 0.01",
            "rare: {priro: 0.01",
            "evaluate.costs.rare.priro: unknown key; did you mean evaluate.costs.rare.prior?",
        ),
        ("rare: {prior: 0.01", "rare: {prior: 1.5", "evaluate.costs.rare.prior: given 1.5; allowed: less than 1"),
        (
            "calibration: platt ",
            "calibration: plat ",
            "evaluate.calibration: given the text 'plat'; allowed: platt, isotonic, beta; nearest: platt",
        ),
        ("fars: [0.1, ", "fars: [10, ", "evaluate.fars.0: given 10; allowed: "),
    ],
)
def test_a_typo_is_one_line_with_its_key(tmp_path: Any, old: str, new: str, words: str) -> None:
    write_params(tmp_path, {old: new})
    with pytest.raises(ConfigError) as caught:
        load_params(tmp_path)
    lines = str(caught.value).splitlines()
    assert any(line.startswith(f"params.yaml: {words}") for line in lines), lines

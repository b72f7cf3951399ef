import json
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from likewise.evaluation.checks import TooFewError
from likewise.evaluation.thresholds import Rule, Threshold, choose_threshold, on_roc
from likewise.evaluation.verification import roc_from_trials

Array = NDArray[Any]
WHERE: dict[str, Any] = {"distance": "cosine", "split": "val"}
RARE = {"prior": 0.1, "cost_miss": 1.0, "cost_false_accept": 2.0}


def trials(size: int = 400) -> tuple[Array, Array]:
    same = np.arange(size) % 2
    return np.random.default_rng(0).standard_normal(size) + 1.5 * same, same


@pytest.mark.parametrize("rule", [Rule("accuracy"), Rule("eer"), Rule("cost", costs=RARE), Rule("far", far=0.1)])
def test_threshold_stores_what_it_cost(rule: Rule) -> None:
    scores, same = trials()
    chosen = choose_threshold(scores, same, rule, **WHERE)
    accepted = scores >= chosen.value
    assert chosen.far == pytest.approx(accepted[same == 0].mean())
    assert chosen.frr == pytest.approx((~accepted[same == 1]).mean())
    assert chosen.accuracy == pytest.approx((accepted == same).mean())
    assert (chosen.rule, chosen.distance, chosen.split) == (rule.name, "cosine", "val")
    assert (chosen.genuine, chosen.impostors) == (200, 200)
    assert (chosen.target_far, chosen.costs) == (rule.far, rule.costs)
    assert chosen == on_roc(roc_from_trials(scores, same), rule, **WHERE)


def test_threshold_of_each_rule_by_trying_all() -> None:
    scores, same = trials()
    every = [*scores, np.inf]
    accepted = [scores >= at for at in every]
    far, frr = (np.array([(a == kind)[same != kind].mean() for a in accepted]) for kind in (1, 0))
    costs = 0.1 * frr + 0.9 * 2.0 * far
    found = {
        name: choose_threshold(scores, same, rule, **WHERE)
        for name, rule in (("accuracy", Rule("accuracy")), ("eer", Rule("eer")), ("cost", Rule("cost", costs=RARE)))
    }
    assert found["accuracy"].accuracy == pytest.approx(max((a == same).mean() for a in accepted))
    assert abs(found["eer"].far - found["eer"].frr) == pytest.approx(np.abs(far - frr).min())
    assert 0.1 * found["cost"].frr + 0.9 * 2.0 * found["cost"].far == pytest.approx(costs.min())


def test_threshold_for_a_named_rate_is_the_lowest_that_keeps_it() -> None:
    scores, same = trials(2000)
    chosen = choose_threshold(scores, same, Rule("far", far=0.01), **WHERE)
    assert chosen.far == pytest.approx(0.01)
    assert chosen.target_far == 0.01
    assert chosen.frr == pytest.approx(1 - float(roc_from_trials(scores, same).tar_at_far(0.01) or 0))


def test_threshold_of_the_rules_on_data_that_is_told_apart() -> None:
    for rule in (Rule("accuracy"), Rule("eer"), Rule("far", far=0.5), Rule("cost", costs=RARE)):
        chosen = choose_threshold([3.0, 1.0, 0.0], [1, 0, 0], rule, **WHERE)
        assert chosen.value == pytest.approx(0.5 if rule.name == "far" else 2.0)


def test_a_threshold_of_another_distance_is_an_error() -> None:
    chosen = choose_threshold(*trials(), **WHERE)
    chosen.check("cosine")
    with pytest.raises(ValueError, match="belongs to cosine scores and means nothing for euclidean"):
        chosen.check("euclidean")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"name": "acuracy"}, "unknown rule 'acuracy'; known: accuracy, "),
        ({"name": "far"}, "the rule 'far' needs 'far'; given: None"),
        ({"name": "eer", "far": 0.01}, "the rule 'eer' takes no 'far'; given: 0.01"),
        ({"name": "cost"}, "the rule 'cost' needs 'costs'"),
        ({"name": "accuracy", "costs": RARE}, "the rule 'accuracy' takes no 'costs'"),
        ({"name": "far", "far": 0.0}, "lies above 0"),
        ({"name": "cost", "costs": {"prior": 1.0}}, "between 0 and 1, not 1"),
    ],
)
def test_bad_rules_are_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose_threshold(*trials(), Rule(**asked), **WHERE)


def test_a_rate_finer_than_the_impostors_show_is_too_few_of_them() -> None:
    words = "200 impostor trials cannot show a false-accept rate of 0.001; the least they can is 0.005"
    with pytest.raises(TooFewError, match=words):
        choose_threshold(*trials(), Rule("far", far=0.001), **WHERE)


def test_thresholds_survive_json_and_those_without_interval_are_read() -> None:
    chosen = choose_threshold(*trials(), Rule("cost", costs=RARE), **WHERE)
    stored = json.loads(json.dumps(chosen.to_dict()))
    assert Threshold.from_dict(stored) == chosen
    older = {key: value for key, value in stored.items() if key not in ("low", "high", "costs")}
    assert asdict(Threshold.from_dict(older)) == {**stored, "costs": None}


def test_a_stored_object_with_other_keys_is_refused() -> None:
    values = choose_threshold(*trials(), **WHERE).to_dict()
    with pytest.raises(ValueError, match=r"not a stored Threshold: missing \['far'\], unknown \['fra'\]"):
        Threshold.from_dict({"fra" if key == "far" else key: value for key, value in values.items()})

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from likewise.delivery.gate import METRICS, Decision, Judged, Rule, Same, judge

CLASSES, EACH = 30, 6


def trials(*, count: int = 6000, grouped: bool = False) -> Same:
    """All pairs of thirty classes of six samples; the first ten classes are of the slice "few"."""
    labels = np.repeat(np.arange(CLASSES), EACH)
    left, right = np.triu_indices(labels.size, 1)
    chosen = np.random.default_rng(0).permutation(left.size)[:count]
    units = np.stack([labels[left[chosen]], labels[right[chosen]]]).astype(object)
    named = np.where(units.astype(int) < 10, "few", "many").astype(object)
    return Same((units[0] == units[1]).astype(int), units, named if grouped else None)


def model(on: Same, strength: float, *, seed: int, weak: float | None = None) -> Judged:
    """Scores with so much between genuine and impostor; `weak` instead where a side is of the first ten classes."""
    noise = np.random.default_rng(seed).standard_normal(on.same.size)
    few = (on.units.astype(int) < 10).any(axis=0)
    gain = strength if weak is None else np.where(few, weak, strength)
    return Judged(noise + gain * on.same, strength / 2)


def rule(**changes: Any) -> Rule:
    return replace(Rule(metric="eer", margin=0.0, confidence=0.95, slice_limit=0.02, seed=0), **changes)


@pytest.mark.parametrize("metric", METRICS)
def test_the_clearly_better_model_wins_whichever_way_is_better(metric: str) -> None:
    on = trials()
    good, poor = model(on, 3.0, seed=1), model(on, 1.0, seed=2)
    won, lost = judge(good, poor, on, rule(metric=metric)), judge(poor, good, on, rule(metric=metric))
    assert (won.promote, lost.promote) == (True, False)
    assert won.figures["difference"] == pytest.approx(-lost.figures["difference"])
    assert won.figures["least"] > 0 > lost.figures["least"]
    assert metric in won.reason


def test_the_figures_are_those_of_the_trials() -> None:
    on = trials()
    good, poor = model(on, 3.0, seed=1), model(on, 2.0, seed=2)
    found = judge(good, poor, on, rule(metric="auc")).figures
    assert found["challenger"] == pytest.approx(roc_auc_score(on.same, good.scores))
    assert found["champion"] == pytest.approx(roc_auc_score(on.same, poor.scores))
    assert found["difference"] == pytest.approx(found["challenger"] - found["champion"])
    assert found["trials"] == 6000


def test_the_same_model_again_and_one_no_better_are_kept_out() -> None:
    on = trials()
    one, other = model(on, 2.0, seed=1), model(on, 2.0, seed=2)
    again = judge(one, one, on, rule())
    assert (again.promote, again.figures["difference"], again.figures["least"]) == (False, 0, 0)
    assert "more than 0 is asked for" in again.reason
    assert not judge(one, other, on, rule()).promote
    assert not judge(other, one, on, rule()).promote


def test_of_models_that_are_alike_few_win_by_chance() -> None:
    on = trials(count=2000)
    won = [
        judge(model(on, 2.0, seed=2 * draw), model(on, 2.0, seed=2 * draw + 1), on, rule(confidence=0.9)).promote
        for draw in range(20)
    ]
    # One in ten is what the confidence allows; of 20 more than 6 would come once in 400 times.
    assert sum(won) <= 6


def test_the_margin_and_the_confidence_raise_the_bar() -> None:
    on = trials()
    good, poor = model(on, 2.4, seed=1), model(on, 2.0, seed=2)
    found = judge(good, poor, on, rule())
    assert found.promote
    assert not judge(good, poor, on, rule(margin=found.figures["least"])).promote
    assert judge(good, poor, on, rule(margin=0.9 * found.figures["least"])).promote
    assert judge(good, poor, on, rule(confidence=0.99)).figures["least"] < found.figures["least"]


def test_accuracy_is_by_each_ones_own_threshold() -> None:
    on = trials()
    good = model(on, 3.0, seed=1)
    moved = Judged(good.scores - 100, good.threshold - 100)
    assert judge(good, moved, on, rule(metric="accuracy")).figures["difference"] == 0
    wrong = Judged(good.scores, good.threshold - 100)
    assert judge(good, wrong, on, rule(metric="accuracy")).promote


def test_a_better_model_that_serves_one_slice_worse_is_kept_out() -> None:
    on = trials(grouped=True)
    uneven, even = model(on, 6.0, seed=1, weak=2.2), model(on, 2.5, seed=2)
    found = judge(uneven, even, on, rule())
    assert not found.promote
    assert "worse by more than 0.02 on few" in found.reason
    assert "many" not in found.reason
    assert judge(uneven, even, on, rule(slice_limit=1.0)).promote
    assert judge(uneven, even, trials(), rule()).promote


def test_too_few_classes_keep_the_champion() -> None:
    on = trials()
    two = (on.units.astype(int) < 2).all(axis=0)
    small = Same(on.same[two], on.units[:, two])
    good, poor = (Judged(each.scores[two], each.threshold) for each in (model(on, 3.0, seed=1), model(on, 1.0, seed=2)))
    found = judge(good, poor, small, rule())
    assert found == Decision(False, found.reason, {})
    assert found.reason.startswith("too few classes to tell")


def test_an_unknown_metric_is_refused_with_the_nearest_first() -> None:
    on = trials()
    with pytest.raises(ValueError, match="known: eer"):
        judge(model(on, 1, seed=1), model(on, 1, seed=2), on, rule(metric="err"))

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score, roc_curve

from likewise.evaluation import all_pairs, bootstrap, calibration, pair_metrics
from likewise.evaluation.measures import MEASURES
from likewise.evaluation.pair_metrics import Operating
from likewise.evaluation.thresholds import Rule
from likewise.evaluation.trials import Classed
from likewise.evaluation.verification import roc_all_pairs, roc_from_trials
from tests.evaluation import judged
from tests.evaluation.judged import few_resamples

__all__ = ["few_resamples"]
pytestmark = pytest.mark.usefixtures("few_resamples")

AT = Operating([0.1, 0.001], {"even": judged.EVEN}, seed=0)


def cost(far: Any, frr: Any) -> Any:
    return (0.5 * frr + 0.5 * far) / 0.5


def test_verification_is_what_scikit_learn_finds() -> None:
    of = judged.samples()
    test, chosen = judged.trials(of, "test"), judged.decided(of)
    found = pair_metrics.verification(test, chosen, AT)
    far, tar, _ = roc_curve(test.same, test.scores, drop_intermediate=False)
    accepted = test.scores >= chosen.threshold.value
    assert found["auc"] == pytest.approx(roc_auc_score(test.same, test.scores))
    assert found["accuracy"] == pytest.approx(np.mean(accepted == test.same))
    assert found["false_accept_rate"] == pytest.approx(accepted[test.same == 0].mean())
    assert found["false_reject_rate"] == pytest.approx((~accepted)[test.same == 1].mean())
    assert found["tar_at_far_10_percent"] == pytest.approx(tar[far <= 0.1].max())
    assert found["min_dcf_even"] == pytest.approx(cost(far, 1 - tar).min())
    by_cost = test.scores >= chosen.thresholds["cost_even"].value
    rates = by_cost[test.same == 0].mean(), (~by_cost)[test.same == 1].mean()
    assert found["dcf_even"] == pytest.approx(cost(*rates))
    shares = np.linspace(0, 1, 20_001)[:, None]
    assert found["eer"] == pytest.approx((shares * far + (1 - shares) * (1 - tar)).min(axis=1).max(), abs=1e-4)
    assert found["eer_plain"] >= found["eer"]
    assert (found["trials"], found["genuine"], found["impostors"]) == (1128, 168, 960)


def test_a_rate_too_fine_is_null_with_a_reason_and_the_least_that_is_not() -> None:
    of = judged.samples()
    found = pair_metrics.verification(judged.trials(of, "test"), judged.decided(of), AT)
    assert [found[f"tar_at_far_0_1_percent{end}"] for end in ("", "_low", "_high")] == [None] * 3
    assert found["least_far"] == 1 / 960
    words = "960 impostor trials cannot show a false-accept rate of 0.001; the least they can is 0.001"
    assert found["not_measurable"] == words
    coarse = replace(AT, fars=[0.1])
    assert pair_metrics.verification(judged.trials(of, "test"), judged.decided(of), coarse)["not_measurable"] is None


def test_forgeries_have_an_eer_of_their_own() -> None:
    of = judged.samples()
    test = judged.trials(of, "test")
    assert "eer_skilled" not in pair_metrics.verification(test, judged.decided(of), AT)
    skilled = (test.same == 0) & (np.arange(len(test.same)) % 3 == 0)
    found = pair_metrics.verification(replace(test, skilled=skilled), judged.decided(of), AT)
    for sort, impostors in (("skilled", skilled), ("random", ~skilled & (test.same == 0))):
        some = impostors | (test.same == 1)
        assert found[f"eer_{sort}"] == roc_from_trials(test.scores[some], test.same[some]).eer
        assert found[f"eer_{sort}_low"] <= found[f"eer_{sort}"] <= found[f"eer_{sort}_high"]


def test_all_pairs_are_those_of_the_samples_that_have_a_class() -> None:
    of = judged.samples()
    chosen = judged.decided(of).threshold
    classed = of.classed("test")
    found = pair_metrics.over_all_pairs(classed, chosen, AT)
    whole = pair_metrics.verification(judged.trials(of, "test"), judged.decided(of), AT)
    for key in ("trials", "genuine", "impostors", "eer", "auc", "tar_at_far_10_percent", "false_accept_rate"):
        assert found[key] == pytest.approx(whole[key], rel=1e-6)
    roc = roc_all_pairs(classed.embeddings, classed.labels, "euclidean")
    drawn = all_pairs.intervals(
        classed.embeddings, classed.labels, roc, {"eer": MEASURES["eer"]}, distance="euclidean", resamples=40, seed=0
    )["eer"]
    assert drawn is not None
    assert (found["eer_low"], found["eer_high"]) == (drawn.low, drawn.high)
    assert (found["samples"], found["classes"]) == (48, 6)
    few = pair_metrics.over_all_pairs(judged.samples(classes=2).classed("test"), chosen, AT)
    assert few["eer_low"] is None
    assert few["protocol"].endswith("too few classes for intervals")


def oracle(scores: Any, cohort: Any, top: int) -> Any:
    """Return the AS-norm of trials from the cohort scores of both sides, by a loop."""
    found = []
    for score, (left, right) in zip(scores, cohort, strict=True):
        parts = [(score - np.mean(best)) / np.std(best) for best in (np.sort(left)[-top:], np.sort(right)[-top:])]
        found.append(sum(parts) / 2)
    return np.array(found)


def test_normalised_scores_are_judged_with_a_threshold_of_their_own() -> None:
    of = judged.samples()
    train = judged.samples(classes=9, seed=5).classed("val")
    cohort = Classed(train.embeddings, np.array([f"k{4 + int(name[1:])}" for name in train.labels]), train.groups)
    val, test = judged.trials(of, "val"), judged.trials(of, "test")
    asked: dict[str, Any] = {"cohort": cohort, "method": "as", "top": 4, "rule": Rule("accuracy"), "at": AT}
    found = pair_metrics.normalised(of, val, test, **asked)
    means = np.stack([cohort.embeddings[cohort.labels == name].mean(axis=0) for name in sorted(set(cohort.labels))])
    near = -np.linalg.norm(of.embeddings[:, None] - means[None], axis=2)
    own = {
        name: oracle(t.scores, zip(near[t.left], near[t.right], strict=True), 4)
        for name, t in (("val", val), ("test", test))
    }
    assert found["auc"] == pytest.approx(roc_auc_score(test.same, own["test"]))
    best = max(own["val"], key=lambda at: np.mean((own["val"] >= at) == val.same))
    assert found["accuracy"] == pytest.approx(np.mean((own["test"] >= best) == test.same), abs=2 / 1128)
    assert found["protocol"].startswith(
        "pairs of the test split, as-norm by the 4 highest of 9 training classes, 2 of "
    )
    plain = pair_metrics.normalised(of, val, test, **(asked | {"method": "z"}))
    assert plain["auc"] != found["auc"]
    none = Classed(cohort.embeddings[:0], cohort.labels[:0], cohort.groups[:0])
    with pytest.raises(ValueError, match="no training sample has a class"):
        pair_metrics.normalised(of, val, test, **(asked | {"cohort": none}))
    with pytest.raises(ValueError, match="10 cohort scores were asked for out of 9"):
        pair_metrics.normalised(of, val, test, **(asked | {"top": 10}))


def test_probabilities_are_judged_on_test() -> None:
    of = judged.samples()
    test, chosen = judged.trials(of, "test"), judged.decided(of, method="beta")
    found = pair_metrics.probabilities(test, chosen)
    assert found["delivered"] == "beta"
    assert found["min_cllr"] == test.roc.min_cllr
    for method, fitted in chosen.calibrations.items():
        chance = fitted.probability(test.scores)
        assert found[f"{method}_brier"] == pytest.approx(brier_score_loss(test.same, chance))
        assert found[f"{method}_ece"] == calibration.ece(chance, test.same)
        ratios = fitted.log_likelihood_ratio(test.scores)
        bits = [np.mean(np.log2(1 + np.exp(sign * ratios[test.same == kind]))) for kind, sign in ((1, -1), (0, 1))]
        assert found[f"{method}_cllr"] == pytest.approx(np.mean(bits))
        assert found[f"{method}_cllr"] >= found["min_cllr"]


def test_groups_have_a_worst_and_a_gap() -> None:
    of = judged.samples()
    test, threshold = judged.trials(of, "test"), judged.decided(of).threshold
    found = pair_metrics.by_group(of, test, threshold, ["group", "taken in", "class"])
    assert list(found) == ["group", "taken_in", "class"]
    groups = of.frame["group"].to_numpy()
    eers = {}
    for name in ("even", "odd"):
        own = (groups[test.left] == name) & (groups[test.right] == name)
        eers[name] = roc_from_trials(test.scores[own], test.same[own]).eer
    told = found["group"]
    assert {each["group"]: each["eer"] for each in told["groups"]} == eers
    assert told["eer_worst"] == max(eers.values())
    assert told["eer_worst_group"] == max(eers, key=lambda name: eers[name])
    assert told["eer_gap"] == pytest.approx(abs(eers["even"] - eers["odd"]))
    assert "both sides in the group" in told["protocol"]
    assert {each["group"] for each in found["taken_in"]["groups"]} == {"2000", "2001", "2002"}
    # Inside a class there are no impostors: the trials that touch it.
    assert "either side in the group" in found["class"]["protocol"]
    assert found["class"]["measured"] == 6


def test_groups_that_are_too_small_or_lack_a_name_are_counted() -> None:
    of = judged.samples()
    marked = of.frame["group"].mask(of.frame["id"].isin(["s048", "s049"]))
    rare = marked.mask(of.frame["id"] == "s050", "rare")
    named = replace(of, frame=of.frame.assign(group=rare))
    found = pair_metrics.by_group(named, judged.trials(named, "test"), judged.decided(of).threshold, ["group"])["group"]
    assert (found["measured"], found["not_measured"], found["unnamed"]) == (2, 1, 47 + 46)
    assert found["groups"][-1] == {"group": "rare", "genuine": 0, "impostors": 0}


def test_a_column_that_is_not_there_is_refused_with_those_that_are() -> None:
    of = judged.samples()
    with pytest.raises(ValueError, match="samples have no column 'taken'; they have: taken in, "):
        pair_metrics.by_group(of, judged.trials(of, "test"), judged.decided(of).threshold, ["taken"])


def test_values_of_any_type_are_words() -> None:
    values = pd.Series([1, None, 3], dtype="Int64")
    assert pair_metrics._words(values).tolist() == ["1", None, "3"]
    assert pair_metrics._words(pd.Series([True, None, 2.5], dtype=object)).tolist() == ["True", None, "2.5"]


def test_intervals_follow_every_figure() -> None:
    of = judged.samples()
    test = judged.trials(of, "test")
    found = pair_metrics.verification(test, judged.decided(of), AT)
    left, right = test.units
    wanted = {"eer": MEASURES["eer"]}
    drawn = bootstrap.intervals(test.scores, test.same, left, right, wanted, resamples=40, seed=0)["eer"]
    assert drawn is not None
    assert (found["eer_low"], found["eer_high"]) == (drawn.low, drawn.high)
    measured = [key for key in found if f"{key}_low" in found]
    assert len(measured) == 10

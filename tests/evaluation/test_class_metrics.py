from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from likewise.evaluation import class_metrics, clustering, oneshot, openset, retrieval
from likewise.evaluation.checks import TooFewError
from likewise.evaluation.trials import Classed
from tests.evaluation import judged


@pytest.fixture
def test() -> Classed:
    return judged.samples().classed("test")


def part(of: Classed, chosen: Any) -> Classed:
    return Classed(of.embeddings[chosen], of.labels[chosen], of.groups[chosen])


def test_retrieval_has_all_its_figures(test: Classed) -> None:
    found = class_metrics.nearest(test, [1, 5], distance="euclidean")
    oracle = retrieval.evaluate(test.embeddings, test.labels, distance="euclidean", k=[1, 5])
    for name, by in (("recall", oracle.recall), ("precision", oracle.precision), ("ndcg", oracle.ndcg)):
        assert {k: found[f"{name}_at_{k}"] for k in (1, 5)} == by
    assert (found["map_at_r"], found["r_precision"]) == (oracle.map_at_r, oracle.r_precision)
    assert (found["queries"], found["excluded"], found["gallery"]) == (48, 0, 47)
    assert found["not_measurable"] is None


def test_cut_offs_beyond_the_samples_are_null_with_a_reason(test: Classed) -> None:
    few = part(test, np.flatnonzero(np.isin(test.labels, ["k0", "k1"]))[[0, 1, 8, 9]])
    found = class_metrics.nearest(few, [1, 5, 9], distance="euclidean")
    assert found["recall_at_1"] is not None
    assert found["ndcg_at_5"] is None
    assert found["not_measurable"] == "at 5 and 9: there are 3 others"
    only = class_metrics.nearest(few, [5], distance="euclidean")
    assert only["recall_at_5"] is None
    assert only["map_at_r"] == found["map_at_r"]
    with pytest.raises(TooFewError, match="none of the 2 probes has another sample of its class"):
        class_metrics.nearest(part(few, [0, 2]), [1], distance="euclidean")


def test_episodes_are_those_asked_for(test: Classed) -> None:
    asked: dict[str, Any] = {"distance": "euclidean", "ways": 3, "shots": 2, "count": 40, "seed": 3}
    found = class_metrics.episodes(test, **asked)
    drawn: dict[str, Any] = {"distance": "euclidean", "ways": 3, "shots": 2, "episodes": 40, "seed": 3}
    oracle = oneshot.evaluate(test.embeddings, test.labels, **drawn)
    assert (found["accuracy"], found["protocol"], found["episodes"]) == (oracle.accuracy, oracle.protocol, 40)
    assert (found["accuracy_low"], found["accuracy_high"]) == oracle.interval
    within = class_metrics.episodes(test, within=True, **asked)
    inside = oneshot.evaluate(test.embeddings, test.labels, groups=test.groups.astype(str), **drawn)
    assert (within["accuracy"], within["protocol"]) == (inside.accuracy, inside.protocol)
    means = class_metrics.episodes(test, mode="prototype", **asked)
    assert means["accuracy"] == oneshot.evaluate(test.embeddings, test.labels, mode="prototype", **drawn).accuracy
    with pytest.raises(ValueError, match=r"1 of 48 test samples have no group: set evaluate\.within: any"):
        class_metrics.episodes(replace(test, groups=np.array([None, *test.groups[1:]])), within=True, **asked)
    with pytest.raises(TooFewError, match=r"7-way episodes need 7 classes .* is 6"):
        class_metrics.episodes(test, **(asked | {"ways": 7}))


def test_open_set_takes_its_thresholds_from_val(test: Classed) -> None:
    val = judged.samples().classed("val")
    asked: dict[str, Any] = {"distance": "euclidean", "share": 0.5, "shots": 1, "seed": 2}
    found = class_metrics.open_set(val, test, fars=[0.1, 0.01], **asked)
    oracle = openset.evaluate((val.embeddings, val.labels), (test.embeddings, test.labels), far=0.1, **asked)
    assert found["detection_rate_at_far_10_percent"] == oracle.detection_rate
    assert found["false_alarm_rate_at_far_10_percent"] == oracle.false_alarm_rate
    assert found["identification_rate"] == oracle.identification_rate
    assert (found["mates"], found["strangers"], found["classes"]) == (oracle.mates, oracle.strangers, oracle.classes)
    assert found["detection_rate_at_far_1_percent"] is None
    assert found["least_far"] == 1 / 24
    assert found["not_measurable"].startswith("val: 24 strangers cannot show a false-alarm rate of 0.01; the least")
    with pytest.raises(TooFewError, match="an open set needs two classes"):
        class_metrics.open_set(part(val, val.labels == "k0"), test, fars=[0.1], **asked)


def test_clusters_are_as_many_as_classes(test: Classed) -> None:
    found = class_metrics.clusters(test, distance="euclidean", seed=1)
    oracle = clustering.evaluate(test.embeddings, test.labels, distance="euclidean", seed=1)
    assert (found["nmi"], found["ari"], found["purity"]) == (oracle.nmi, oracle.ari, oracle.purity)
    assert (found["classes"], found["clusters"], found["samples"]) == (6, 6, 48)
    assert 0 < found["nmi"] < 1
    with pytest.raises(TooFewError, match="a single class"):
        class_metrics.clusters(part(test, test.labels == "k0"), distance="euclidean", seed=1)

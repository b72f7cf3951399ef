from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise.evaluation import slices
from likewise.evaluation.measures import MEASURES, accuracy, tar_at_far
from likewise.evaluation.verification import roc_from_trials

KNOWN = {"eer": MEASURES["eer"], "auc": MEASURES["auc"], "accuracy": accuracy(0.0), "tar": tar_at_far(0.2)}


@pytest.mark.parametrize("trials", ["within", "touching"])
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), least=st.integers(1, 4))
def test_every_group_by_loops(trials: str, seed: int, least: int) -> None:
    generator = np.random.default_rng(seed)
    size = 40
    scores, same = generator.integers(-3, 4, size) / 2, generator.permutation(np.arange(size) % 2)
    left, right = (np.array(["a", "b", "c", "d", None], dtype=object)[generator.integers(0, 5, size)] for _ in range(2))
    right = np.where(generator.random(size) < 0.6, left, right)
    found = slices.evaluate(scores, same, left, right, KNOWN, trials=trials, least=least)
    pairs = list(zip(left, right, strict=True))
    assert found.unnamed == sum(one is None or other is None for one, other in pairs)
    assert found.across == sum(None not in pair and pair[0] != pair[1] for pair in pairs)
    seen = set()
    for name in sorted({side for pair in pairs if None not in pair for side in pair}):
        own = [None not in p and (set(p) == {name} if trials == "within" else name in p) for p in pairs]
        counts = int(same[own].sum()), int((1 - same[own]).sum())
        if min(counts) < least:
            assert found.not_measurable[name] == counts
            continue
        roc = roc_from_trials(scores[own], same[own])
        group = found.groups[name]
        assert (group.genuine, group.impostors) == counts
        assert group.values == {key: measure.value(roc) for key, measure in KNOWN.items()}
        seen.add(name)
    assert set(found.groups) == seen
    assert not seen & set(found.not_measurable)
    for key, measure in KNOWN.items():
        values = {name: value for name in seen if (value := found.groups[name].values[key]) is not None}
        bad = [name for name in values if not any(measure.better(values[name], other) for other in values.values())]
        assert found.worst[key] == min(bad, default=None)
        expected = max(values.values()) - min(values.values()) if len(values) > 1 else None
        assert found.gap[key] == expected


def test_groups_that_are_classes_have_impostors_only_when_touched() -> None:
    left = np.array(["Ann", "Bob", "Cem", "Ann", "Bob", "Cem"])
    right = np.array(["Ann", "Bob", "Cem", "Bob", "Cem", "Ann"])
    scores, same = np.array([0.9, 0.8, 0.1, 0.2, 0.3, 0.4]), [1, 1, 1, 0, 0, 0]
    known = {"auc": MEASURES["auc"]}
    within = slices.evaluate(scores, same, left, right, known, least=1)
    assert within.groups == {}
    assert within.not_measurable == {"Ann": (1, 0), "Bob": (1, 0), "Cem": (1, 0)}
    assert (within.worst, within.gap) == ({"auc": None}, {"auc": None})
    touching = slices.evaluate(scores, same, left, right, known, trials="touching", least=1)
    assert {name: group.values["auc"] for name, group in touching.groups.items()} == {"Ann": 1, "Bob": 1, "Cem": 0}
    assert (touching.worst, touching.gap) == ({"auc": "Cem"}, {"auc": 1.0})


def test_a_figure_that_no_group_can_show_has_no_worst() -> None:
    same, groups = np.arange(8) % 2, np.repeat(["x", "y"], 4)
    found = slices.evaluate(same * 1.0, same, groups, groups, {"tar": tar_at_far(0.01)}, least=2)
    assert [group.values for group in found.groups.values()] == [{"tar": None}] * 2
    assert (found.worst, found.gap) == ({"tar": None}, {"tar": None})


def test_order_does_not_matter_and_frames_are_taken() -> None:
    generator = np.random.default_rng(0)
    frame = pd.DataFrame({"score": generator.normal(size=90).round(1), "same": np.arange(90) % 2})
    frame["left"] = frame["right"] = pd.Series(generator.integers(0, 3, 90)).map({0: "p", 1: "q", 2: None})
    mixed = frame.sample(frac=1, random_state=1)
    found = [
        slices.evaluate(f["score"].to_numpy(), f["same"].to_numpy(), f["left"], f["right"], KNOWN, least=5)  # type: ignore[arg-type]
        for f in (frame, mixed)
    ]
    assert found[0] == found[1]
    assert list(found[0].groups) == ["p", "q"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trials": "witin"}, "unknown kind of trials 'witin'; known: within"),
        ({"left": ["a"]}, "2 scores came with groups of shape .1,."),
        ({"same": [1, 1]}, "none of the 2 trials is impostor"),
        ({"scores": [float("inf"), 0.0]}, "NaN or infinite"),
    ],
)
def test_bad_input_is_refused(change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"scores": [0.9, 0.1], "same": [1, 0], "left": ["a", "a"], "right": ["a", "a"]}
    with pytest.raises(ValueError, match=message):
        slices.evaluate(**(good | change), measures=KNOWN)

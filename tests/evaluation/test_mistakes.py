from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from likewise.evaluation import mistakes
from tests.evaluation import judged


def test_hardest_trials_come_worst_first_and_ties_in_order() -> None:
    accepts, rejects = mistakes.hardest([0.9, 0.8, 0.8, 0.1, 0.2, 0.95], [1, 0, 0, 0, 1, 1], count=2)
    assert accepts.tolist() == [1, 2]
    assert rejects.tolist() == [4, 0]


def test_examples_have_ids_classes_scores_and_portraits() -> None:
    of = judged.samples()
    trials = judged.trials(of, "test")
    accepts, rejects = mistakes.examples(of, trials, count=3, portrait=lambda row: (None, f"row {row}"))
    impostors, genuine = trials.scores[trials.same == 0], trials.scores[trials.same == 1]
    assert [each.score for each in accepts] == pytest.approx(sorted(impostors, reverse=True)[:3])
    assert [each.score for each in rejects] == pytest.approx(sorted(genuine)[:3])
    ids = of.frame["id"].tolist()
    for example in (*accepts, *rejects):
        for side in (example.left, example.right):
            row = ids.index(side.id)
            assert side.words == f"row {row}"
            assert side.label == of.frame["class"][row]
        assert (example.left.label == example.right.label) == (example in rejects)


def test_labels_say_forged_and_nothing_without_a_class() -> None:
    rows = pd.DataFrame({"class": ["a", None, None], "forges": [None, "a", None]}, dtype="str")
    assert [mistakes.label(row) for _, row in rows.iterrows()] == ["a", "a, forged", None]


def test_errors_are_every_wrong_answer_the_worst_first() -> None:
    of = judged.samples()
    trials = judged.trials(of, "test")
    threshold = float(np.median(trials.scores))
    found = mistakes.errors(of, trials, threshold)
    accepted, genuine = trials.scores >= threshold, trials.same == 1
    wrong = {
        (of.frame["id"][left], of.frame["id"][right])
        for left, right, is_wrong in zip(trials.left, trials.right, accepted != genuine, strict=True)
        if is_wrong
    }
    assert set(zip(found["left"], found["right"], strict=True)) == wrong
    assert len(found) == len(wrong) > 10
    assert found["error"].is_monotonic_increasing
    for name, each in found.groupby("error"):
        assert (each["score"] - threshold).abs().is_monotonic_decreasing
        assert ((each["left_class"] == each["right_class"]) == (name == "false reject")).all()
    none = replace(trials, scores=trials.same.astype(np.float32))
    assert mistakes.errors(of, none, 0.5).empty

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from likewise import distances
from likewise.evaluation import bootstrap, trials
from likewise.evaluation.checks import TooFewError
from likewise.evaluation.measures import MEASURES
from likewise.evaluation.trials import Samples
from likewise.evaluation.verification import roc_from_trials
from tests.evaluation import judged


def listed(*pairs: tuple[str, str, int]) -> pd.DataFrame:
    return pd.DataFrame(pairs, columns=["left", "right", "same"])


def with_columns(of: Samples, **columns: Any) -> Samples:
    return replace(
        of, frame=of.frame.assign(**{name: pd.Series(values, dtype="str") for name, values in columns.items()})
    )


@pytest.mark.parametrize("distance", distances.DISTANCES)
def test_scores_are_those_of_the_distance_in_the_order_of_the_list(
    distance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "BLOCK", 12)
    of = judged.samples(distance=distance)
    found = of.trials(listed(("s050", "s060", 0), ("s048", "s049", 1), ("s060", "s051", 0)), split="test", where="t")
    assert found.left.tolist() == [50, 48, 60]
    x, y = of.embeddings[[50, 48, 60]].astype(float), of.embeddings[[60, 49, 51]].astype(float)
    oracle = {
        "euclidean": -np.sqrt(((x - y) ** 2).sum(1)),
        "squared_euclidean": -((x - y) ** 2).sum(1),
        "manhattan": -np.abs(x - y).sum(1),
        "cosine": (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1),
    }
    np.testing.assert_allclose(found.scores, oracle[distance], rtol=1e-6)
    assert found.same.tolist() == [0, 1, 0]
    assert found.units.tolist() == [["k0", "k0", "k1"], ["k1", "k0", "k0"]]


def test_an_unknown_id_is_named_with_its_row() -> None:
    words = r"^pairs\.parquet: row 2: 'gone' is no sample of val or test; run `dvc repro`$"
    with pytest.raises(ValueError, match=words):
        judged.samples().trials(listed(("s048", "s049", 1), ("s050", "gone", 0)), split="test", where="pairs.parquet")


@pytest.mark.parametrize("again", [("s050", "s060", 0), ("s060", "s050", 0), ("s060", "s050", 1)])
def test_a_trial_that_is_listed_twice_is_named_with_its_rows(again: tuple[str, str, int]) -> None:
    pairs = listed(("s048", "s049", 1), ("s050", "s060", 0), ("s049", "s050", 1), again)
    with pytest.raises(ValueError, match=r"^t: rows 2 and 4 are one trial, of 's0[56]0' and 's0[56]0': .* remove one"):
        judged.samples().trials(pairs, split="test", where="t")


def test_the_roc_is_that_of_the_scores_and_is_taken_once() -> None:
    found = judged.trials(judged.samples(), "test")
    oracle = roc_from_trials(found.scores, found.same)
    assert found.roc.auc == oracle.auc
    assert found.roc is found.roc
    with pytest.raises(TooFewError, match="none of the 168 trials is impostor"):
        _ = found.part(found.same == 1).roc


def test_intervals_are_drawn_over_the_classes_of_the_sides() -> None:
    of = judged.samples()
    found = judged.trials(of, "test")
    classes = of.frame["class"].to_numpy()
    wanted = {"auc": MEASURES["auc"]}
    oracle = bootstrap.intervals(found.scores, found.same, classes[found.left], classes[found.right], wanted, seed=4)
    assert found.intervals(wanted, seed=4) == oracle
    assert oracle["auc"] is not None
    assert found.drawn == "95 % intervals over classes"
    few = found.part(np.array([set(pair) <= {"k0", "k1"} for pair in found.units.T]))
    assert few.intervals(wanted, seed=4) == {"auc": None}


def test_a_forgery_is_drawn_with_the_class_that_it_imitates() -> None:
    of = judged.samples()
    forged = of.frame["id"] == "s050"
    marked = with_columns(of, **{"class": of.frame["class"].mask(forged), "forges": of.frame["class"].where(forged)})
    found = marked.trials(listed(("s048", "s050", 0), ("s048", "s049", 1)), split="test", where="t")
    assert found.units.tolist() == [["k0", "k0"], ["k0", "k0"]]
    assert found.skilled.tolist() == [True, False]
    assert found.part(np.array([True, False])).skilled.tolist() == [True]


def test_without_classes_the_groups_are_drawn_and_without_those_nothing() -> None:
    of = judged.samples()
    classless = with_columns(of, **{"class": [None] * len(of.frame)})
    found = classless.trials(listed(("s048", "s050", 1), ("s048", "s056", 0)), split="test", where="t")
    assert found.over == "groups"
    assert found.units.tolist() == [["even", "even"], ["even", "odd"]]
    alone = with_columns(classless, group=[None] * len(of.frame))
    found = alone.trials(listed(("s048", "s050", 1), ("s048", "s056", 0)), split="test", where="t")
    assert found.drawn == "no intervals, since 2 trials have a sample of no class"
    assert found.intervals({"auc": MEASURES["auc"]}, seed=0) == {"auc": None}


def test_samples_of_a_split_that_have_a_class() -> None:
    of = judged.samples()
    lost = of.frame["id"] == "s048"
    marked = with_columns(
        of, **{"class": of.frame["class"].mask(lost), "group": of.frame["group"].mask(of.frame["id"] == "s049")}
    )
    found = marked.classed("test")
    np.testing.assert_array_equal(found.embeddings, of.embeddings[49:])
    assert found.labels.tolist() == of.frame["class"].tolist()[49:]
    assert found.groups.tolist() == [None, *of.frame["group"].tolist()[50:]]
    assert len(with_columns(of, **{"class": [None] * len(of.frame)}).classed("test").labels) == 0

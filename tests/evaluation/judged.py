"""Samples of six classes in val and in test with embeddings made by hand, and all their pairs as trials."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from likewise.evaluation.decisions import Decisions, decide, rules
from likewise.evaluation.metrics import Asked
from likewise.evaluation.trials import Samples, Trials

EVEN = {"prior": 0.5, "cost_miss": 1.0, "cost_false_accept": 1.0}
ASKED: dict[str, Any] = {
    "threshold": "accuracy",
    "fars": [0.1, 0.001],
    "costs": {"even": EVEN},
    "k": [1, 5],
    "ways": 3,
    "shots": 1,
    "within": "any",
    "episodes": 50,
    "enrolled": 0.5,
    "normalisation": "none",
    "cohort_top": 5,
    "slices": [],
    "seed": 0,
}


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw classes less often for an interval, where it is not the interval that is looked at."""
    monkeypatch.setattr("likewise.evaluation.trials.RESAMPLES", 40)
    monkeypatch.setattr("likewise.evaluation.pair_metrics.RESAMPLES", 40)


def asked(**changes: Any) -> Asked:
    return Asked(**(ASKED | changes))


def samples(*, classes: int = 6, each: int = 8, distance: str = "euclidean", seed: int = 0) -> Samples:
    """Return samples of val and test, in two groups, with a column that is carried along."""
    draw = np.random.default_rng(seed)
    splits = np.repeat(["val", "test"], classes * each)
    numbers = np.tile(np.repeat(np.arange(classes), each), 2)
    centres = draw.standard_normal((classes, 4))
    vectors = centres[numbers] + 0.6 * draw.standard_normal((len(numbers), 4))
    frame = pd.DataFrame(
        {
            "id": [f"s{i:03}" for i in range(len(numbers))],
            "class": pd.Series([f"k{n}" for n in numbers], dtype="str"),
            "split": splits,
            "group": pd.Series(["odd" if n % 2 else "even" for n in numbers], dtype="str"),
            "forges": pd.Series([None] * len(numbers), dtype="str"),
            "carried.taken in": [2000 + i % 3 for i in range(len(numbers))],
        }
    )
    return Samples(frame, vectors.astype(np.float32), distance)


def every_pair(of: Samples, split: str) -> pd.DataFrame:
    """Return all pairs of a split that have a class, or a group where there are none, as a list of trials."""
    frame = of.frame[of.frame["split"] == split]
    ids, names = frame["id"].to_numpy(), frame["class"].fillna(frame["group"]).to_numpy()
    left, right = np.triu_indices(len(ids), k=1)
    return pd.DataFrame({"left": ids[left], "right": ids[right], "same": (names[left] == names[right]).astype(np.int8)})


def trials(of: Samples, split: str) -> Trials:
    return of.trials(every_pair(of, split), split=split, where=f"{split}.parquet")


def decided(of: Samples, threshold: str = "accuracy", **changes: Any) -> Decisions:
    costs = changes.pop("costs", ASKED["costs"])
    wanted: dict[str, Any] = {"threshold": threshold, "method": "platt", "split": "val", "seed": 0} | changes
    return decide(trials(of, "val"), rules(ASKED["fars"], costs), distance=of.distance, **wanted)

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from likewise.config import read_yaml
from likewise.data import kinds
from likewise.delivery.examples import MAKERS, example
from likewise.stages.ingest_params import Params
from tests.imports import ROOT

OPTIONS: dict[str, list[dict[str, Any]]] = {
    "image": [
        {"height": 28, "width": 28, "channels": 1},
        {"height": 8, "width": 64, "channels": 3, "crop": 0.1},
        {"height": 4, "width": 4, "channels": 1, "min_side": 100},
    ],
    "audio": [
        {"rate": 8000, "seconds": 0.5},
        {"rate": 16000, "seconds": 3.0, "trim": 30.0, "level": -20.0, "min_seconds": 1.0},
        {"rate": 8000, "seconds": 0.25, "min_rate": 22050, "max_seconds": 0.3},
    ],
    "sequence": [
        {"length": 16, "channels": 1},
        {"length": 16, "channels": 3, "time": 2},
        {"length": 4, "channels": ["x", "y"], "time": "t", "min_points": 40},
        {"length": 4, "channels": [3, 1], "differences": True},
        {"length": 4, "channels": ["a", 4], "time": 1},
    ],
    "text": [{"length": 4}, {"length": 200}],
}
CASES = [(kind, options) for kind, listed in OPTIONS.items() for options in listed]


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_the_model_takes_its_example_and_it_is_the_same_each_time(kind: str, options: dict[str, Any]) -> None:
    preprocessing = kinds.build(kind, **options)
    content = example(preprocessing)
    assert content == example(preprocessing)
    rows = preprocessing.rows(content)
    assert rows.shape[1:] == preprocessing.shape
    assert len(np.unique(rows)) > 1
    assert len(content) < 200_000


def test_every_kind_has_one() -> None:
    assert set(MAKERS) == set(kinds.KINDS) == set(OPTIONS)


@pytest.mark.parametrize("recipe", sorted(path.name for path in (ROOT / "recipes").glob("*.yaml")))
def test_every_recipes_model_takes_its_example(recipe: str) -> None:
    params = Params.model_validate(read_yaml(ROOT / "recipes" / recipe)["ingest"])
    preprocessing = params.preprocessing()
    assert preprocessing.rows(example(preprocessing)).shape[1:] == preprocessing.shape

"""docs/metrics.md says what is true: its keys are those of metrics.json, its examples run, what it names exists."""

from __future__ import annotations

import doctest
import json
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from likewise.evaluation import calibration, intervals, metrics, oneshot, retrieval
from likewise.evaluation.curves import Roc
from tests.imports import ROOT

TEXT = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
KEYS = re.findall(r"^\| `(\w+\.\w+)` \|", TEXT, flags=re.MULTILINE)


def written() -> dict[str, Any]:
    draw = np.random.Generator(np.random.Philox(0))
    embeddings, labels = draw.normal(size=(12, 3)), pd.Series(list("aaabbbcccddd"))
    scores, same = draw.normal(size=8), np.array([0, 1] * 4)
    threshold = calibration.choose_threshold(scores, same, distance="cosine", split="val")
    left, right = list("abcdefgh"), list("bbddffhh")
    skilled = [1, 0, 0, 0, 0, 0, 0, 0]
    return {
        "verification": metrics.verification_metrics(
            scores, same, left, right, threshold=threshold, seed=0, skilled=skilled
        ),
        "retrieval": metrics.retrieval_metrics(embeddings, labels, distance="cosine"),
        "oneshot": metrics.oneshot_metrics(embeddings, labels, distance="cosine", ways=2, shots=1, episodes=5, seed=0),
    }


def test_its_keys_are_those_that_evaluate_writes() -> None:
    found = written()
    assert json.loads(json.dumps(found)) == found
    assert [f"{section}.{key}" for section, values in found.items() for key in values] == KEYS


def test_its_examples_run() -> None:
    blocks = re.findall(r"^```pycon\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) > 5
    examples = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "metrics.md", None, None)
    assert doctest.DocTestRunner(verbose=False).run(examples).failed == 0


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`Roc\.(\w+)", TEXT))))
def test_figures_of_the_roc_exist(name: str) -> None:
    assert hasattr(Roc, name)


def test_rules_methods_and_modes_are_all_told_of() -> None:
    for name in (*calibration.RULES, *calibration.METHODS, *oneshot.MODES):
        assert f"`{name}`" in TEXT
    assert metrics.KS == (1, 5)
    assert float(re.findall(r"\((1\.95\d+)\)", TEXT)[0]) == intervals.Z
    figures = {"map_at_r", "recall", "precision", "ndcg", "r_precision", "queries", "excluded", "gallery"}
    assert set(retrieval.RetrievalResult.__annotations__) == figures

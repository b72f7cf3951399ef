"""docs/metrics.md says what is true: its keys are those of metrics.json, its examples run, what it names exists."""

from __future__ import annotations

import doctest
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from likewise.evaluation import calibration, intervals, metrics, normalisation, oneshot, retrieval, slices, thresholds
from likewise.evaluation.curves import Roc
from likewise.evaluation.tasks import parse
from tests.evaluation import judged
from tests.evaluation.judged import few_resamples
from tests.imports import ROOT

__all__ = ["few_resamples"]

TEXT = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
PLACEHOLDERS = {
    r"(far)_[0-9_]+_percent": r"\1_<far>",
    r"(dcf)_(even|rare)": r"\1_<cost>",
    r"(recall|precision|ndcg)_at_\d+": r"\1_at_<k>",
    r"(platt|isotonic|beta)_": "<method>_",
    r"(accuracy|eer|auc|false_accept_rate|false_reject_rate)_(worst|gap)": r"<figure>_\2",
}


def documented() -> dict[str, set[str]]:
    """Return the keys of each section, as the document has them."""
    found: dict[str, set[str]] = {}
    chapter = TEXT.split("## What stands where")[1].split("\n## ")[0]
    for part in chapter.split("\n### ")[1:]:
        sections = re.findall(r"`([\w.<>]+)`", part.splitlines()[0])
        for key, ends, where in re.findall(r"^\| `([\w<>]+)`( ±)? \|[^|]*\| ([^|]*) \|", part, flags=re.MULTILINE):
            for section in sections if where == "all" else re.findall(r"`(\w+)`", where):
                assert section in sections
                found.setdefault(section, set()).update([key, *([f"{key}_low", f"{key}_high"] if ends else [])])
    return found


def written() -> dict[str, set[str]]:
    """Return the keys of each section, of samples that have all of them."""
    of = judged.samples()
    costs = {"even": judged.EVEN, "rare": judged.EVEN | {"prior": 0.01}}
    asked = judged.asked(costs=costs, shots=2, normalisation="s")
    test, val = judged.trials(of, "test"), judged.trials(of, "val")
    forged = replace(test, skilled=(test.same == 0) & (np.arange(len(test.same)) % 2 == 0))
    chosen = judged.decided(of, costs=costs)
    cohort, tasks = judged.samples(classes=9, seed=5).classed("val"), parse(["s048 s049", "s056 s057"], where="t")
    told: dict[str, Any] = metrics.all_metrics(of, val, forged, chosen, asked, cohort=cohort, tasks=tasks)
    told["slices.<column>"] = told.pop("slices")["group"]
    return {name: {general(key) for key in section if key != "protocol"} for name, section in told.items()}


def general(key: str) -> str:
    for pattern, name in PLACEHOLDERS.items():
        key = re.sub(pattern, name, key)
    return key


@pytest.mark.usefixtures("few_resamples")
def test_its_keys_are_those_that_evaluate_writes() -> None:
    assert documented() == written()


def test_its_examples_run() -> None:
    blocks = re.findall(r"^```pycon\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) > 5
    examples = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "metrics.md", None, None)
    assert doctest.DocTestRunner(verbose=False).run(examples).failed == 0


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`Roc\.(\w+)", TEXT))))
def test_figures_of_the_roc_exist(name: str) -> None:
    assert hasattr(Roc, name)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(\w+\.py|evaluation/\w+\.py)`", TEXT))))
def test_modules_it_names_exist(name: str) -> None:
    assert (ROOT / "src/likewise" / name).is_file()


def test_rules_methods_and_modes_are_all_told_of() -> None:
    for name in (*thresholds.RULES, *calibration.METHODS, *oneshot.MODES, *normalisation.METHODS, *slices.TRIALS):
        assert f"`{name}`" in TEXT or f"    {name}   " in TEXT
    assert float(re.findall(r"\((1\.95\d+)\)", TEXT)[0]) == intervals.Z
    figures = {"map_at_r", "recall", "precision", "ndcg", "r_precision", "queries", "excluded", "gallery"}
    assert set(retrieval.RetrievalResult.__annotations__) == figures

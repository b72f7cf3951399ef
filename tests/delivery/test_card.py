from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from jinja2 import UndefinedError

from likewise import artifacts
from likewise.delivery import card
from tests.small import Fresh


def test_the_figures_are_those_of_the_metrics(evaluated: Path) -> None:
    text, told = card.render(evaluated), artifacts.METRICS.read(evaluated)
    verification, oneshot = told["verification"], told["oneshot"]

    def interval(values: dict[str, float], name: str) -> str:
        return f"{values[name]:.2%} ({values[f'{name}_low']:.2%} to {values[f'{name}_high']:.2%})"

    assert f"| verification accuracy | {interval(verification, 'accuracy')} | 160 test trials (80 genuine) |" in text
    assert f"| EER | {interval(verification, 'eer')} |" in text
    assert f"| AUC | {interval(verification, 'auc')} |" in text
    assert "| TAR at FAR 1 % | not measurable |" in text
    assert f"| TAR at FAR 10 % | {interval(verification, 'tar_at_far_10_percent')} |" in text
    assert f"| EER over all pairs | {interval(told['verification_all_pairs'], 'eer')} |" in text
    assert f"| recall@1 | {told['retrieval']['recall_at_1']:.2%} | each test sample that has a class " in text
    assert f"| recall@5 | {told['retrieval']['recall_at_5']:.2%} |" in text
    assert f"| one-shot accuracy | {interval(oneshot, 'accuracy')} | {oneshot['protocol']} |" in text


def test_the_rest_is_what_the_stages_wrote(evaluated: Path) -> None:
    text, trained = card.render(evaluated), artifacts.TRAIN.read(evaluated)
    threshold = artifacts.CALIBRATION.read(evaluated)["threshold"]
    assert (
        f"from a score of {threshold['value']:.4f} (euclidean distance), chosen on\nval by the rule `accuracy`" in text
    )
    assert "| train | 48 | 6 |" in text
    assert f"epoch {trained['best_epoch']} of 3 kept; train key `{trained['train_key']}`" in text
    assert "Encoder `mlp`, 8 numbers; loss `triplet` fed with `classes`" in text
    assert 'likewise.load("models:/likewise@champion")' in text


def test_no_blank_is_left_and_every_table_is_one(evaluated: Path) -> None:
    text = card.render(evaluated)
    assert not re.search(r"{{|}}|{%|\bNone\b|Undefined", text)
    assert text.startswith("# Is it the same?\n")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") and line.count("|") == 4 for line in rows)
    assert str(evaluated) not in text


def without(root: Path, table: artifacts.Json, *path: str) -> None:
    content: dict[str, Any] = table.read(root)
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    table.write(content, root)


def test_a_figure_that_is_missing_is_not_passed_over(fresh: Fresh) -> None:
    root = fresh()
    without(root, artifacts.METRICS, "verification", "trials")
    with pytest.raises(UndefinedError, match="has no attribute 'trials'"):
        card.render(root)


def test_a_stage_that_has_not_run_is_said(fresh: Fresh) -> None:
    root = fresh()
    (root / artifacts.METRICS.path).unlink()
    with pytest.raises(artifacts.ArtifactError, match=r"metrics\.json: missing; run `dvc repro`"):
        card.render(root)

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from jinja2 import UndefinedError

from likewise import artifacts
from likewise.delivery import card
from tests.small import Fresh


def cells(values: dict[str, Any], name: str) -> str:
    return f"{values[name]:.2%} | {values[f'{name}_low']:.2%} to {values[f'{name}_high']:.2%}"


def page(root: Path) -> str:
    """Return the card of the version's page, without the space that its tables have there."""
    return card.render(root).replace(card.GAP, "")


def test_the_figures_are_those_of_the_metrics(evaluated: Path) -> None:
    text, told = page(evaluated), artifacts.METRICS.read(evaluated)
    verification, oneshot = told["verification"], told["oneshot"]
    assert f"| verification accuracy | {cells(verification, 'accuracy')} |" in text
    assert f"| EER | {cells(verification, 'eer')} |" in text
    assert f"| AUC | {cells(verification, 'auc')} |" in text
    assert "| TAR at FAR 1 % | not measurable |  |" in text
    assert f"| TAR at FAR 10 % | {cells(verification, 'tar_at_far_10_percent')} |" in text
    assert f"| EER over all pairs | {cells(told['verification_all_pairs'], 'eer')} |" in text
    assert f"| recall@1 | {told['retrieval']['recall_at_1']:.2%} | |" in text
    assert f"| recall@5 | {told['retrieval']['recall_at_5']:.2%} | |" in text
    assert f"| one-shot accuracy | {cells(oneshot, 'accuracy')} |" in text
    for section in ("verification", "verification_all_pairs", "retrieval", "oneshot"):
        assert told[section]["protocol"] in text
    assert "80 genuine trials, 80 impostors" in text
    probabilities = told["calibration"]
    assert f"error {probabilities['platt_ece']:.4f}, Brier score {probabilities['platt_brier']:.4f}, " in text
    assert f"Cllr {probabilities['platt_cllr']:.4f} bits (" in text


def test_the_thresholds_are_those_of_the_calibration_with_their_intervals(evaluated: Path) -> None:
    text, told = page(evaluated), artifacts.CALIBRATION.read(evaluated)
    rows = [
        line.split(" | ") for line in text.split("## Thresholds")[1].split("##")[0].splitlines() if line[:2] == "| "
    ]
    assert [row[0].removeprefix("| ") for row in rows] == [
        "rule, chosen on val",
        "accuracy",
        "eer",
        "FAR 0.1 %",
        "FAR 1 %",
        "FAR 10 %",
        "cost, even",
        "cost, rare",
    ]
    found = told["thresholds"]["eer"]
    low, high = wilson(found["far"], found["impostors"])
    assert rows[2][1].startswith(f"{found['value']:.4f} ({found['low']:.4f} to ")
    assert rows[2][2] == f"{found['far']:.2%} ({low:.2%} to {high:.2%})"
    low, high = wilson(found["frr"], found["genuine"])
    assert rows[2][3] == f"{found['frr']:.2%} ({low:.2%} to {high:.2%}) |"
    assert rows[3][1] == "too few trials to tell"
    verification = artifacts.METRICS.read(evaluated)["verification"]
    rates = [cells(verification, f"false_{kind}_rate").replace(" | ", " (") for kind in ("accept", "reject")]
    assert f"The model uses `accuracy`: on the test trials FAR {rates[0]}), FRR {rates[1]})." in text


def wilson(share: float, trials: int) -> tuple[float, float]:
    """The ends of Wilson's interval by bisection: the shares that lie 1.96 of their own deviations from this one."""

    def end(inner: float, outer: float) -> float:
        for _ in range(100):
            middle = (inner + outer) / 2
            near = abs(share - middle) <= 1.959963984540054 * (middle * (1 - middle) / trials) ** 0.5
            inner, outer = (middle, outer) if near else (inner, middle)
        return inner

    return end(share, 0.0), end(share, 1.0)


def test_the_rest_is_what_the_stages_wrote(evaluated: Path) -> None:
    text, trained = page(evaluated), artifacts.TRAIN.read(evaluated)
    verification = artifacts.METRICS.read(evaluated)["verification"]
    first = f"EER {verification['eer']:.2%}, right {verification['accuracy']:.2%} of the time on 160 test trials: "
    assert text.startswith(f"{first}are these two images the same?\n\n")
    assert "the euclidean distance between" in text
    assert "prepared as `channels 1, height 8, min_side 4, width 8`" in text
    assert "| train | 48 | 6 | 6 |" in text
    assert "Nothing was put in quarantine." in text
    assert f"epoch {trained['best_epoch']} of 3 kept" in text
    assert f"Weights `{artifacts.file_sha256(evaluated / artifacts.WEIGHTS.path)[:16]}`, " in text
    assert f"train key `{trained['train_key']}`" in text
    assert "Encoder `mlp`; loss `triplet` fed with `classes`" in text
    assert 'likewise.load("models:/likewise@champion")' in text
    assert "mlflow models serve -m models:/likewise@champion --env-manager local" in text


def test_the_index_and_the_portable_encoders_are_told(fresh: Fresh) -> None:
    root = fresh()
    told = artifacts.ABOUT_PORTABLE.read(root)
    exact = told["encoders"]["fp32"]
    artifacts.ABOUT_PORTABLE.write(told | {"encoders": {"int8": {"refused": "no such"}, "fp32": exact}}, root)
    index = artifacts.ABOUT_INDEX.read(root)
    recall = index["recall"] | {"ten": 0.987}
    artifacts.ABOUT_INDEX.write(index | {"kind": "hnsw", "recall": recall}, root)
    text = page(root)
    size = f"{exact['bytes'] / 1e6:.2f} MB"
    assert "Index: hnsw, finds 98.70% of the 10 exact nearest." in text
    assert f"ONNX, EER on test: fp32 {exact['eer']:.3%} ({size}), no int8 (no such).\n" in text


def test_what_the_data_cannot_show_is_said(fresh: Fresh) -> None:
    root = fresh()
    text = page(root)
    assert "- classes that training has not seen: 6 of the 6 test classes were in training\n" in text
    assert "- false-accept rates below 1.25%: 80 impostor trials cannot show them\n" in text
    assert "- forgeries: there were none among the samples\n" in text
    assert "no groups were told apart" in text
    samples = artifacts.SAMPLES.read(root)
    test = samples["split"] == "test"
    samples.loc[test, "class"] = "new " + samples.loc[test, "class"]
    samples.loc[samples.index[0], ["class", "forges"]] = [None, "k0"]
    artifacts.SAMPLES.write(samples, root)
    text = page(root)
    assert "- classes unlike the 6 test classes, none of which training has seen\n" in text
    assert "| test | 36 | 6 | 0 |" in text
    assert "forgeries" not in text
    samples["class"] = None
    artifacts.SAMPLES.write(samples, root)
    assert "- classes: the samples have none, only pairs of them do\n" in page(root)


def test_slices_quarantine_and_errors_are_told(fresh: Fresh) -> None:
    root = fresh()
    metrics, summary = artifacts.METRICS.read(root), artifacts.SUMMARY.read(root)
    of_group = {"measured": 3, "eer_worst": 0.25, "eer_worst_group": "a|b", "accuracy_worst": None}
    artifacts.METRICS.write(metrics | {"slices": {"writer": of_group | {"accuracy_worst_group": None}}}, root)
    artifacts.SUMMARY.write(summary | {"quarantined": {"too small": 2, "not an image": 1}}, root)
    text, errors = page(root), artifacts.ERRORS.read(root)
    assert "| `writer` | 3 | 25.00% (`a/b`) | not measurable |" in text
    assert "no groups were told apart" not in text
    assert "In quarantine: 1 not an image, 2 too small." in text
    first = errors[errors["error"] == "false accept"].iloc[0]
    assert f"False accepts: `{first['left']}` and `{first['right']}` ({first['score']:.3f})" in text


def test_it_fits_on_the_versions_page_and_the_whole_of_it_into_a_file(fresh: Fresh) -> None:
    root = fresh()
    errors = artifacts.ERRORS.read(root)
    long = errors.assign(left=errors["left"] + "x" * 300)
    artifacts.ERRORS.write(long, root)
    short, whole = card.render(root), card.render(root, room=None)
    assert len(short) <= card.ROOM < len(whole)
    assert short.count("x" * 300) < 6 <= whole.count("x" * 300)
    assert short.rstrip().endswith("```")
    tight = card.render(root, room=2000)
    assert len(tight) <= 2000
    assert tight.endswith("\n\n(cut)\n")
    assert short.startswith(tight.removesuffix("\n(cut)\n"))


def test_no_blank_is_left_and_every_table_is_one(evaluated: Path) -> None:
    text = page(evaluated)
    assert not re.search(r"{{|}}|{%|\bNone\b|Undefined|\n\n\n", text)
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        rows = table.splitlines()
        assert len({line.count("|") for line in rows}) == 1
        assert all(line.endswith("|") for line in rows)
    assert str(evaluated) not in text
    # MLflow breaks a line where the Markdown does: a paragraph is one line.
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    assert not re.search(r"^[^|\n-].*\n[^|\n-]", prose, flags=re.MULTILINE)


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
        page(root)


def test_a_stage_that_has_not_run_is_said(fresh: Fresh) -> None:
    root = fresh()
    (root / artifacts.METRICS.path).unlink()
    with pytest.raises(artifacts.ArtifactError, match=r"metrics\.json: missing; run `dvc repro`"):
        page(root)

from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from likewise.evaluation.calibration import calibrate
from likewise.evaluation.charts import Figure
from likewise.evaluation.figures import (
    all_figures,
    det_table,
    percent,
    reliability_table,
    roc_table,
    score_histogram,
)
from likewise.evaluation.thresholds import choose_threshold
from likewise.evaluation.verification import roc_from_trials

Array = NDArray[Any]
HISTORY = pd.DataFrame({"epoch": [1, 2], "loss": [1.0, 0.5], "val_eer": [0.2, 0.1], "zero_loss_share": [None, None]})


def trials(size: int = 2000, gap: float = 1.5) -> tuple[Array, Array]:
    same = np.arange(size) % 2
    return np.random.default_rng(0).standard_normal(size) + gap * same, same


def figures_of(scores: Array, same: Array, history: pd.DataFrame) -> dict[str, Figure]:
    threshold = choose_threshold(scores, same, distance="cosine", split="val")
    fitted = calibrate(scores, same, distance="cosine", split="val")
    return {
        figure.title: figure
        for figure in all_figures(
            roc_from_trials(scores, same), scores, same, threshold=threshold, history=history, calibration=fitted
        )
    }


def test_every_figure_is_well_formed_and_has_words() -> None:
    figures = figures_of(*trials(), HISTORY)
    assert list(figures) == [
        "Receiver operating characteristic",
        "Scores",
        "Detection error trade-off",
        "Reliability",
        "Training loss",
        "Equal error rate on val",
    ]
    for figure in figures.values():
        assert len(ElementTree.fromstring(figure.svg).attrib["aria-label"]) > 40
        assert figure.caption.endswith(".")


@pytest.mark.parametrize("gap", [100.0, 0.0])
def test_perfect_and_useless_scores_can_be_drawn(gap: float) -> None:
    figures = figures_of(*trials(40, gap), HISTORY.iloc[:0])
    assert ("Detection error trade-off" in figures) == (gap == 0.0)
    assert "Training loss" not in figures


def test_constant_scores_can_be_drawn() -> None:
    assert "Scores" in figures_of(np.full(10, 0.5), np.arange(10) % 2, HISTORY)


def test_roc_table_is_thinned_to_its_ends_and_corners() -> None:
    roc = roc_from_trials(*trials(20_000))
    table = roc_table(roc)
    assert len(table) <= 500
    assert table.iloc[0].tolist() == [0.0, 0.0]
    assert table.iloc[-1].tolist() == [1.0, 1.0]
    assert np.trapezoid(table["tar"], table["far"]) == pytest.approx(roc.auc, abs=1e-3)
    assert len(roc_table(roc_from_trials([2.0, 1.0], [1, 0]))) == 3


def test_score_histogram_shares_add_up() -> None:
    scores, same = trials()
    table = score_histogram(scores, same)
    assert list(table) == ["score", "genuine", "impostor"]
    assert len(table) == 50
    assert table[["genuine", "impostor"]].sum().tolist() == pytest.approx([1.0, 1.0])
    assert (table["genuine"] * table["score"]).sum() == pytest.approx(scores[same == 1].mean(), abs=0.05)


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (None, "not measurable"),
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.99999, "99.99 %"),
        (0.00001, "0.01 %"),
        (0.5, "50.0 %"),
    ],
)
def test_a_rounded_share_never_reads_as_certainty(share: float | None, text: str) -> None:
    assert percent(share) == text


def test_det_table_has_the_deviates_of_rates_that_have_one() -> None:
    roc = roc_from_trials(*trials(20_000))
    table = det_table(roc, points=100)
    assert len(table) <= 100
    known = set(zip(roc.far, roc.frr, strict=True))
    assert set(zip(table["far"], table["frr"], strict=True)) <= known
    np.testing.assert_allclose(norm.cdf(table["far_deviate"]), table["far"])
    np.testing.assert_allclose(norm.cdf(table["frr_deviate"]), table["frr"])
    assert table["far"].is_monotonic_increasing
    assert table["frr"].is_monotonic_decreasing
    inside = [(far, frr) for far, frr in zip(roc.far, roc.frr, strict=True) if 0 < far < 1 and 0 < frr < 1]
    assert tuple(table[["far", "frr"]].iloc[0]) == inside[0]
    assert tuple(table[["far", "frr"]].iloc[-1]) == inside[-1]
    steps = np.abs(np.diff(table[["far_deviate", "frr_deviate"]], axis=0)).sum(axis=1)
    assert steps.max() < 20 * np.median(steps)


def test_det_table_of_scores_told_apart_is_empty() -> None:
    table = det_table(roc_from_trials(*trials(40, 100.0)))
    assert list(table.columns) == ["far", "frr", "far_deviate", "frr_deviate"]
    assert table.empty


def test_reliability_table_has_the_bins_of_the_calibration() -> None:
    scores, same = trials(400)
    fitted = calibrate(scores, same, distance="cosine", split="val")
    table = reliability_table(scores, same, fitted)
    chance = fitted.probability(scores)
    assert table["trials"].sum() == 400
    for _, row in table.iterrows():
        own = (chance * 15).astype(int) == int(row["probability"] * 15)
        assert row["genuine"] == pytest.approx(same[own].mean())
        assert row["probability"] == pytest.approx(chance[own].mean())

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from likewise.evaluation import report
from likewise.evaluation.calibration import calibrate
from likewise.evaluation.charts import Figure
from likewise.evaluation.thresholds import choose_threshold
from likewise.evaluation.verification import roc_from_trials

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


class Page(HTMLParser):
    """Collects what a test asks of a page: tags, attributes and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def example(score: float, picture: Pixels | None = None) -> report.Example:
    left, right = report.Side("digits-7", "one <b>", picture), report.Side("digits-9", "two", picture)
    return report.Example(left, right, score)


@pytest.fixture
def data() -> report.ReportData:
    generator = np.random.default_rng(0)
    same = np.arange(1000) % 2
    scores = generator.standard_normal(1000) + 2.5 * same
    picture = generator.integers(0, 256, (1, 28, 28), dtype=np.uint8)
    return report.ReportData(
        title="Likewise on digits",
        subject="pairs of unseen samples",
        metrics={
            "verification": {"trials": 1000, "accuracy": 0.9, "tar_at_far_0_1_percent": None, "auc": 0.95},
            "retrieval": {"recall_at_1": 0.97, "ndcg_at_5": 0.9, "queries": 50, "excluded": 0},
            "oneshot": {
                "protocol": "5-way 1-shot",
                "accuracy": 0.8,
                "accuracy_low": 0.7,
                "accuracy_high": 0.9,
                "episodes": 100,
            },
        },
        roc=roc_from_trials(scores, same),
        scores=scores,
        same=same,
        threshold=choose_threshold(scores, same, distance="cosine", split="val"),
        history=pd.DataFrame({"epoch": [1, 2], "loss": [1.0, 0.5], "val_eer": [0.2, 0.1]}),
        false_accepts=[example(9.0, picture), example(-9.0, picture)],
        false_rejects=[example(-9.0)],
        params={"train": {"loss": "contrastive", "margin": 0.5, "amp": False}, "seed": 7},
        summary={"splits": {"train": {"samples": 1200}}, "labels": ["a", "b"], "group": None},
        calibration=calibrate(scores, same, distance="cosine", split="val"),
    )


def test_the_page_is_the_same_bytes_and_needs_nothing_from_outside(data: report.ReportData) -> None:
    html = report.render(data)
    assert html == report.render(data)
    page = Page(html)
    assert not page.all("script")
    assert not page.all("link")
    assert "http" not in html
    assert all(str(image["src"]).startswith("data:image/png;base64,") for image in page.all("img"))


def test_every_picture_has_words(data: report.ReportData) -> None:
    page = Page(report.render(data))
    assert [image["alt"] for image in page.all("img")][:2] == [
        "Sample digits-7 of class one <b>",
        "Sample digits-9 of class two",
    ]
    assert len(page.all("svg")) == 6
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in page.all("svg"))
    assert page.all("html")[0]["lang"] == "en"
    assert page.all("meta")[1]["content"] == "width=device-width, initial-scale=1"


def test_the_verdict_is_a_sentence_of_counted_figures(data: report.ReportData) -> None:
    right = ((np.asarray(data.scores) >= data.threshold.value) == data.same).mean()
    words = report.verdict(data)
    assert words.startswith(f"On 1,000 pairs of unseen samples the answer was right {right * 100:.1f} % of the time")
    assert "chosen on val" in words
    assert words in Page(report.render(data)).text


def test_metrics_have_names_counts_and_intervals(data: report.ReportData) -> None:
    text = re.sub(r"\s+", " ", Page(report.render(data)).text)
    assert "True accepts at 0.1 % false accepts not measurable" in text.replace("acceptsnot", "accepts not")
    for words in ("Area under the ROC", "0.9500", "NDCG at 5", "Recall at 1", "(70.0 % to 90.0 %)", "5-way 1-shot"):
        assert words in text
    assert "(1,000 trials)" in text
    assert "50 queries, 0 excluded" in text


def test_text_from_the_data_is_escaped(data: report.ReportData) -> None:
    html = report.render(replace(data, title="<script>alert(1)</script>"))
    assert "<script>" not in html
    assert "one <b>" not in html


def test_params_and_summary_are_listed_leaf_by_leaf(data: report.ReportData) -> None:
    text = Page(report.render(data)).text
    for words in ("train.margin", "contrastive", "splits.train.samples", "1,200", "a, b", "train.amp", "no", "none"):
        assert words in text


def test_galleries_say_how_many_of_the_shown_are_errors(data: report.ReportData) -> None:
    apart = replace(
        data,
        roc=roc_from_trials(np.asarray(data.scores) + 100 * np.asarray(data.same), data.same),
        scores=np.asarray(data.scores) + 100 * np.asarray(data.same),
        threshold=replace(data.threshold, value=50.0),
    )
    page = Page(report.render(apart))
    assert "None of the impostor pairs was answered wrongly; these are the 2 nearest misses." in page.text
    scores, same = [5.0, 9.0, 0.0, 4.0], [1, 0, 0, 1]
    roc = roc_from_trials(scores, same)
    few = replace(data, same=same, scores=scores, roc=roc, threshold=replace(data.threshold, value=1.0))
    text = Page(report.render(few)).text
    assert "One impostor pair was answered wrongly: the first 1 of these 2" in text
    marks = [str(item["class"]) for item in Page(report.render(few)).all("li")]
    assert marks == ["pair wrong small", "pair small", "pair wrong"]


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 20, 10), (3, 300, 600)])
def test_pictures_survive_the_page(shape: tuple[int, int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    source = report._source(picture)
    assert source is not None
    image = Image.open(io.BytesIO(base64.b64decode(source.split(",")[1])))
    assert max(image.size) <= report.PICTURE
    if max(shape) <= report.PICTURE:
        pixels = np.asarray(image)
        np.testing.assert_array_equal(pixels if shape[0] == 1 else np.moveaxis(pixels, -1, 0), picture.squeeze())


def test_a_page_without_examples_or_history(data: report.ReportData) -> None:
    bare = replace(data, false_accepts=[], false_rejects=[], history=data.history.iloc[:0], calibration=None)
    page = Page(report.render(bare))
    assert "hardest" not in page.text
    assert len(page.all("svg")) == 3


@pytest.fixture
def shown(data: report.ReportData) -> report.ReportData:
    sides = [report.Side(f"s{number}", f"class<{number}>", np.zeros((1, 8, 8), np.uint8)) for number in range(4)]
    found = report.Exhibits(
        maps=[Figure("A map", "What it shows.", "<svg><title>s0</title></svg>")],
        confusions=[report.Confusion("class<0>", "class<1>", 3, 7, sides[0], sides[1])],
        confusions_note="For 3 samples.",
        tasks=[report.TaskShown(sides[0], sides[1:], 0, 2), report.TaskShown(sides[0], sides[1:], 1, 1)],
        tasks_note="Two tasks.",
    )
    return replace(data, exhibits=found, lineage={"weights (SHA-256)": "abc123"})


def test_samples_are_exhibited(shown: report.ReportData) -> None:
    html = report.render(shown)
    page = Page(html)
    for words in ("A map", "What it shows.", "class<0> taken for class<1>", "3 of 7", "Two tasks.", "abc123"):
        assert words in page.text
    assert "wrong: class<1>, it is class<3>" in page.text
    assert "right: class<2>" in page.text
    marked = [item["class"] for item in page.all("div") if "answer" in (item.get("class") or "")]
    assert [str(name).split() for name in marked] == [["answer"], ["answer", "right"]]
    assert "class<0>" not in html


def test_a_page_without_exhibits_has_no_room_for_them(data: report.ReportData) -> None:
    text = Page(report.render(data)).text
    assert "Where the samples lie" not in text
    assert "One-shot tasks" not in text

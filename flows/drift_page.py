"""The page about drift: the verdict, what each test says, and the distributions in pictures; one file, no scripts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jinja2
import numpy as np

from likewise.evaluation import charts
from likewise.evaluation.drift import Finding, Floats, Side, dimensions
from likewise.files import replacing

BINS = 30


def rows(findings: Sequence[Finding]) -> list[dict[str, str]]:
    """Return what the tests say as a table of words, each row with every column."""
    return [
        {
            "what": each.question,
            "reference": _share(each.reference),
            "new": _share(each.new),
            "difference": f"{each.effect:.3f}",
            "matters from": f"{each.least:g}",
            "p, corrected": "below 0.0001" if each.p < 0.0001 else f"{each.p:.4f}",
            "drifted": "yes" if each.drifted else "no",
        }
        for each in findings
    ]


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def write(
    path: Path,
    reference: Side,
    new: Side,
    findings: Sequence[Finding],
    *,
    days: float,
    level: float,
    threshold: float,
) -> None:
    """Write the page.

    Args:
        path: where.
        reference: what the model was judged on.
        new: what came since.
        findings: what the tests say.
        days: of how many days the new is.
        level: of the tests.
        threshold: the score from which somebody is known.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    text = environment.get_template("drift.html").render(
        style=charts.STYLE,
        rows=rows(findings),
        drifted=[finding.question for finding in findings if finding.drifted],
        counts=(len(reference.scores), len(new.scores)),
        figures=[_scores(reference.scores, new.scores, threshold), _numbers(reference, new)],
        days=days,
        level=level,
    )
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _scores(reference: Floats, new: Floats, threshold: float) -> charts.Figure:
    """Return how the scores with the nearest of the gallery are distributed on both sides."""
    both = np.concatenate([reference, new, [threshold]])
    edges = np.linspace(both.min(), both.max() + 1e-9, BINS + 1)
    shares = [np.histogram(side, edges)[0] / len(side) for side in (reference, new)]
    top = float(max(share.max() for share in shares))
    marks: list[charts.Mark] = [
        charts.Bars(edges, shares[0], "one", "reference"),
        charts.Bars(edges, shares[1], "two", "new"),
        charts.Rule(threshold, "known from here"),
    ]
    svg = charts.draw(
        marks,
        x=charts.Axis("score with the nearest of the gallery", charts.round_ticks(float(edges[0]), float(edges[-1]))),
        y=charts.Axis("share of samples", charts.round_ticks(0.0, top)),
        alternative="The scores of the reference and of the new samples",
    )
    return charts.Figure(
        "Scores with the nearest", "Larger is more alike; below the line a sample is nobody known.", svg
    )


def _numbers(reference: Side, new: Side) -> charts.Figure:
    """Return how far each number of the embeddings has moved, the farthest first."""
    effects = np.sort([answer.effect for answer in dimensions(reference.embeddings, new.embeddings)])[::-1]
    svg = charts.draw(
        [charts.Bars(np.arange(len(effects) + 1), effects, "two")],
        x=charts.Axis("numbers of the embedding, the most moved first", charts.round_ticks(0, len(effects))),
        y=charts.Axis("Kolmogorov-Smirnov distance", charts.round_ticks(0.0, max(0.2, float(effects[0])))),
        alternative="How far each number of the embeddings has moved",
    )
    return charts.Figure("Number by number", "0: the same distribution; 1: two that do not overlap.", svg)

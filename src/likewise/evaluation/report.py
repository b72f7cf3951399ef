"""What a person looks at: one self-contained HTML page with the verdict, the figures and what went wrong."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from likewise.evaluation.calibration import Calibration
from likewise.evaluation.charts import STYLE, Figure
from likewise.evaluation.checks import Values, as_trials
from likewise.evaluation.curves import Roc
from likewise.evaluation.figures import all_figures, percent
from likewise.evaluation.thresholds import Threshold
from likewise.evaluation.wording import sections

Pixels = NDArray[np.uint8]

# The longer side of a picture in the page, in pixels.
PICTURE = 128
# Pictures smaller than this are drawn with sharp pixels.
SMALL = 64


@dataclass(frozen=True)
class Side:
    """One of the two samples of a trial.

    Attributes:
        id: the sample's id.
        label: its class; None where it has none.
        picture: (channels, height, width) grey or colour; None for samples that have none.
        words: the sample itself, where it is a text.
    """

    id: str
    label: str | None
    picture: Pixels | None = None
    words: str = ""


@dataclass(frozen=True)
class Example:
    """A trial to look at."""

    left: Side
    right: Side
    score: float


@dataclass(frozen=True)
class Confusion:
    """A class some of whose samples are nearest to one of another class.

    Attributes:
        label: the class.
        taken_for: the other.
        samples: how many of its samples are.
        of: how many it has.
        left: one of them, the nearest to the other class.
        right: what it is nearest to.
    """

    label: str
    taken_for: str
    samples: int
    of: int
    left: Side
    right: Side


@dataclass(frozen=True)
class TaskShown:
    """A one-shot task: a probe, an example of each class, the place of the nearest one and of the right one."""

    probe: Side
    examples: Sequence[Side]
    answer: int
    right: int


@dataclass(frozen=True)
class Exhibits:
    """What there is to see of the test samples, each with a note; empty where they do not allow it.

    Attributes:
        maps: of their embeddings.
        confusions: the classes that are taken for each other most.
        confusions_note: how many samples are.
        tasks: one-shot tasks.
        tasks_note: what they were taken from.
    """

    maps: Sequence[Figure]
    confusions: Sequence[Confusion]
    confusions_note: str
    tasks: Sequence[TaskShown]
    tasks_note: str


@dataclass(frozen=True)
class ReportData:
    """All that the page shows.

    Attributes:
        title: the page's heading, such as the name of the data.
        subject: what the trials are, to follow their number, such as "pairs of unseen samples".
        metrics: the sections and values of the metrics file.
        roc: of the test trials.
        scores: (trials,) of the test trials, larger is more alike.
        same: (trials,) 1 for genuine, 0 for impostor.
        threshold: chosen on another split.
        history: one row an epoch, with columns such as loss and val_eer.
        layers: one row a layer and epoch, with what it did to one batch.
        false_accepts: the impostor trials with the highest scores, see `hardest`.
        false_rejects: the genuine trials with the lowest scores.
        params: what the run was asked to do, nested by block.
        summary: what is known about the data, nested freely.
        calibration: from score to probability, fitted on another split.
        exhibits: what there is to see of the test samples.
        lineage: what tells this model from any other, by name.
    """

    title: str
    subject: str
    metrics: Mapping[str, Mapping[str, Any]]
    roc: Roc
    scores: Values
    same: Values
    threshold: Threshold
    history: pd.DataFrame
    false_accepts: Sequence[Example]
    false_rejects: Sequence[Example]
    params: Mapping[str, Any]
    summary: Mapping[str, Any]
    layers: pd.DataFrame | None = None
    calibration: Calibration | None = None
    exhibits: Exhibits | None = None
    lineage: Mapping[str, str] = field(default_factory=dict)


def verdict(data: ReportData) -> str:
    """Return in a sentence or two how good the model is."""
    roc = data.roc
    return (
        f"On {roc.genuine + roc.impostors:,} {data.subject} the answer was right "
        f"{percent(roc.accuracy(data.threshold.value))} of the time, with the threshold chosen on "
        f"{data.threshold.split}. The equal error rate is {percent(roc.eer)}."
    )


def render(data: ReportData) -> str:
    """Return the page: HTML with its style and pictures inside, no scripts, the same bytes for the same data."""
    environment = Environment(
        loader=PackageLoader("likewise.evaluation", "."),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    figures = all_figures(
        data.roc,
        data.scores,
        data.same,
        threshold=data.threshold,
        history=data.history,
        layers=data.layers,
        calibration=data.calibration,
    )
    return environment.get_template("report.html").render(
        style=STYLE,
        data=data,
        verdict=verdict(data),
        sections=sections(data.metrics),
        figures=figures,
        galleries=_galleries(data),
        maps=data.exhibits.maps if data.exhibits else [],
        confusions=_confusions(data.exhibits),
        tasks=_tasks(data.exhibits),
        tables={
            "Lineage": list(data.lineage.items()),
            "Data": _flat(data.summary),
            "Parameters": _flat(data.params),
        },
    )


def _galleries(data: ReportData) -> list[dict[str, Any]]:
    """Return the two sets of examples, each with a heading that says how many of them are errors."""
    score, genuine = as_trials(data.scores, data.same)
    accepted = score >= data.threshold.value
    kinds = (
        ("false accepts", "impostor", data.false_accepts, accepted & ~genuine),
        ("false rejects", "genuine", data.false_rejects, ~accepted & genuine),
    )
    return [
        {
            "title": f"The hardest {name}",
            "note": _gallery_note(kind, errors=int(errors.sum()), shown=len(examples)),
            "examples": [_picture_pair(example, name, data.threshold.value) for example in examples],
        }
        for name, kind, examples, errors in kinds
    ]


def _gallery_note(kind: str, *, errors: int, shown: int) -> str:
    total = f"{errors:,} {kind} pairs were answered wrongly" if errors != 1 else f"One {kind} pair was answered wrongly"
    if errors >= shown:
        return f"{total}; these are the {shown} worst."
    if errors == 0:
        return f"None of the {kind} pairs was answered wrongly; these are the {shown} nearest misses."
    return f"{total}: the first {errors} of these {shown}. The others are the nearest misses."


def _picture_pair(example: Example, name: str, threshold: float) -> dict[str, Any]:
    wrong = (example.score >= threshold) == (name == "false accepts")
    return _pictured(example.left, example.right) | {"score": f"{example.score:.4f}", "wrong": wrong}


def _pictured(*sides: Side) -> dict[str, Any]:
    """Return samples with the sources of their pictures, and whether these are to be drawn with sharp pixels."""
    small = any(side.picture is not None and max(side.picture.shape[1:]) < SMALL for side in sides)
    return {"sides": [{"side": side, "source": _source(side.picture)} for side in sides], "small": small}


def _confusions(exhibits: Exhibits | None) -> dict[str, Any]:
    if exhibits is None:
        return {"note": "", "listed": []}
    listed = [
        _pictured(each.left, each.right)
        | {"told": f"{each.label} taken for {each.taken_for}", "count": f"{each.samples:,} of {each.of:,}"}
        for each in exhibits.confusions
    ]
    return {"note": exhibits.confusions_note, "listed": listed}


def _tasks(exhibits: Exhibits | None) -> dict[str, Any]:
    if exhibits is None:
        return {"note": "", "listed": []}
    listed = [
        _pictured(each.probe, *each.examples) | {"answer": each.answer, "right": each.right} for each in exhibits.tasks
    ]
    return {"note": exhibits.tasks_note, "listed": listed}


def _source(picture: Pixels | None) -> str | None:
    """Return a picture as the source of an `<img>`, made smaller where it is large."""
    if picture is None:
        return None
    pixels = picture[0] if len(picture) == 1 else np.moveaxis(picture, 0, -1)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((PICTURE, PICTURE))
    stream = io.BytesIO()
    image.save(stream, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return the leaves of nested values, each with its dotted name."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            rows += _flat(value, f"{name}.")
        else:
            rows.append((name, _text(value)))
    return rows


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, str | float):
        return f"{value}"
    return ", ".join(_text(item) for item in value)

"""What the report shows of the samples themselves: maps, classes that are confused, one-shot tasks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from likewise.evaluation import charts, maps, oneshot
from likewise.evaluation.charts import Axis, Dots, Figure
from likewise.evaluation.checks import TooFewError
from likewise.evaluation.confusions import confusions
from likewise.evaluation.portraits import Portrait
from likewise.evaluation.report import Confusion, Exhibits, Side, TaskShown
from likewise.evaluation.trials import Samples

Indices = NDArray[np.int64]

MAPPED = 400
"""Samples on a map, at most."""
COLOURED = 10
"""Classes that have a colour of their own on a map; the others share one."""
LETTERS = 14
"""Of a class's name on a map."""
CONFUSED = 12
TASKS, TRIED = 6, 200
"""One-shot tasks that are shown, and from how many they are taken."""


@dataclass(frozen=True)
class Shown:
    """The test samples with a class, and how each looks.

    Attributes:
        embeddings: (samples, dimensions).
        labels: (samples,) classes.
        groups: (samples,) what one-shot tasks stay within; None for no such limit.
        ids: (samples,) their ids.
        distance: its name.
        portrait: the picture or words of a sample, by its row here.
    """

    embeddings: NDArray[np.float32]
    labels: NDArray[np.str_]
    groups: NDArray[np.object_] | None
    ids: NDArray[np.object_]
    distance: str
    portrait: Callable[[int], Portrait]

    @classmethod
    def of(cls, samples: Samples, *, split: str, within: str, portrait: Callable[[int], Portrait]) -> Shown:
        """Return those of a split; `portrait` takes a row of `samples.frame`."""
        frame, classed = samples.frame, samples.classed(split)
        rows = np.flatnonzero((frame["split"] == split) & frame["class"].notna())
        return cls(
            classed.embeddings,
            classed.labels,
            classed.groups if within == "group" else None,
            frame["id"].to_numpy(dtype=object)[rows],
            samples.distance,
            lambda row: portrait(int(rows[row])),
        )

    def side(self, row: int) -> Side:
        """Return a sample to look at."""
        return Side(str(self.ids[row]), str(self.labels[row]), *self.portrait(row))


def exhibits(shown: Shown, *, ways: int, seed: int) -> Exhibits:
    """Return what there is to see of the samples; what too few samples do not allow is left out."""
    if len(shown.labels) < maps.FEWEST:
        return Exhibits([], [], "", [], "")
    found, note = confused(shown)
    tasks, told = one_shot_tasks(shown, ways=ways, seed=seed)
    return Exhibits(map_figures(shown, seed=seed), found, note, tasks, told)


def map_figures(shown: Shown, *, seed: int) -> list[Figure]:
    """Return the two maps of at most `MAPPED` samples."""
    rows = maps.spread(shown.labels, count=MAPPED, seed=seed)
    embeddings = shown.embeddings[rows]
    flat, shares = maps.principal(embeddings)
    near = maps.neighbourhoods(embeddings, distance=shown.distance, seed=seed)
    many = f"{len(rows):,} of {len(shown.labels):,}" if len(rows) < len(shown.labels) else f"all {len(rows):,}"
    classes = len(np.unique(shown.labels[rows]))
    about = f"{many} test samples of {classes:,} classes"
    names = [f"direction {place} ({charts.rate(share)} of the variance)" for place, share in enumerate(shares, 1)]
    return [
        Figure(
            "Map by the directions of most variance",
            f"Principal components of {about}; what lies apart here is apart, what lies together need not be. "
            "Hold the pointer over a dot for its name.",
            _map(shown, rows, flat, names, f"Map of {about} by their first two principal components."),
        ),
        Figure(
            "Map of neighbourhoods",
            f"t-SNE of the distances of {about}: a class that is one island is told apart; sizes of islands, and how "
            "far apart they lie, mean nothing.",
            _map(shown, rows, near, ["", ""], f"Map of {about} that keeps near samples near (t-SNE)."),
        ),
    ]


def _map(shown: Shown, rows: Indices, places: NDArray[np.float64], names: list[str], alternative: str) -> str:
    labels = shown.labels[rows]
    known, counts = np.unique(labels, return_counts=True)
    largest = known[np.argsort(-counts, kind="stable")][:COLOURED]
    marks = [
        _dots(shown, rows, places, labels == name, f"hue{hue}", _short(str(name))) for hue, name in enumerate(largest)
    ]
    others = ~np.isin(labels, largest)
    if others.any():
        marks.insert(0, _dots(shown, rows, places, others, "hues", ""))
    x, y = (_blank(places[:, side], names[side]) for side in (0, 1))
    return charts.draw(marks, x=x, y=y, alternative=alternative)


def _short(label: str) -> str:
    """Return a class's name as it fits on a map: the end of a path, and no more than a few letters of that."""
    last = label.rpartition("/")[2]
    return last if len(last) <= LETTERS else f"{last[: LETTERS - 1]}…"


def _blank(values: NDArray[np.float64], label: str) -> Axis:
    """Return an axis without numbers: they mean nothing to a reader."""
    room = 0.04 * (float(np.ptp(values)) or 1.0)
    return Axis(label, [float(values.min()) - room, float(values.max()) + room], ["", ""])


def _dots(
    shown: Shown, rows: Indices, places: NDArray[np.float64], chosen: NDArray[np.bool_], style: str, label: str
) -> Dots:
    titles = [f"{shown.ids[row]}, class {shown.labels[row]}" for row in rows[chosen]]
    return Dots(places[chosen, 0], places[chosen, 1], style, label, titles)


def confused(shown: Shown) -> tuple[list[Confusion], str]:
    """Return the classes that are taken for each other most, and how many samples are."""
    found = confusions(shown.embeddings, shown.labels, distance=shown.distance)
    if not found.wrong:
        return [], f"The nearest other sample is of the same class for all of {found.samples:,} test samples."
    note = (
        f"For {found.wrong:,} of {found.samples:,} test samples the nearest other sample is of another class; "
        "each row shows the nearest two of its pair of classes."
    )
    listed = [
        Confusion(str(name), str(taken_for), int(count), int(of), shown.side(left), shown.side(right))
        for name, taken_for, count, of, left, right in found.table.head(CONFUSED).itertuples(index=False)
    ]
    return listed, note


def one_shot_tasks(shown: Shown, *, ways: int, seed: int) -> tuple[list[TaskShown], str]:
    """Return one-shot tasks to look at, wrong answers first, and what they were taken from."""
    try:
        drawn = oneshot.draw(
            shown.embeddings, shown.labels, groups=shown.groups, ways=ways, size=2, episodes=TRIED, seed=seed
        )
    except TooFewError:
        return [], ""
    asked = np.arange(TRIED) % ways
    probes = drawn[np.arange(TRIED), asked, 1]
    scores = oneshot.scores(shown.embeddings[probes, None], shown.embeddings[drawn[:, :, 0]], shown.distance)[:, 0]
    answers = scores.argmax(axis=1)
    wrong = answers != asked
    chosen = np.argsort(~wrong, kind="stable")[:TASKS]
    note = (
        f"The probe at the left, then {ways} examples of {ways} classes, the nearest of which is the answer. Answered "
        f"wrongly: {int(wrong.sum())} of {TRIED} tasks like these; wrong ones come first."
    )
    return [
        TaskShown(
            shown.side(int(probes[task])),
            [shown.side(int(row)) for row in drawn[task, :, 0]],
            int(answers[task]),
            int(asked[task]),
        )
        for task in chosen
    ], note

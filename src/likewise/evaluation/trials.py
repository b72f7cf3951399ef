"""Samples with their embeddings, and the trials among them: looked up, checked and scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from likewise import distances
from likewise.evaluation import bootstrap
from likewise.evaluation.bootstrap import Interval, TooFewClassesError
from likewise.evaluation.curves import Roc
from likewise.evaluation.measures import Measure
from likewise.evaluation.verification import roc_from_trials

Rows = NDArray[np.intp]
Flags = NDArray[np.bool_]
Names = NDArray[np.object_]
Singles = NDArray[np.float32]

# How often classes are drawn for an interval.
RESAMPLES = 1000
# Numbers in the embeddings of one block of trials.
BLOCK = 2**22


@dataclass(frozen=True)
class Classed:
    """Samples that have a class.

    Attributes:
        embeddings: (samples, dimensions).
        labels: (samples,) their classes.
        groups: (samples,) their groups; None where a sample has none.
    """

    embeddings: Singles
    labels: NDArray[np.str_]
    groups: Names


@dataclass(frozen=True)
class Trials:
    """The trials of one split.

    Attributes:
        left: (trials,) rows of the samples.
        right: (trials,) likewise.
        same: (trials,) 1 for a genuine trial, 0 for an impostor.
        scores: (trials,) larger is more alike.
        units: (2, trials) what was drawn at random when the sample of each side was; None where that is not known.
        over: what the units are called.
        skilled: (trials,) whether a side is a forgery.
    """

    left: Rows
    right: Rows
    same: NDArray[np.int8]
    scores: NDArray[np.floating]
    units: Names
    over: str
    skilled: Flags

    @cached_property
    def roc(self) -> Roc:
        """The ROC, taken once.

        Raises:
            TooFewError: where the trials are of one kind only.
            ValueError: for scores that are NaN or infinite.
        """
        return roc_from_trials(self.scores, self.same)

    def with_scores(self, scores: NDArray[np.floating]) -> Trials:
        """Return the same trials with other scores."""
        return replace(self, scores=scores)

    def part(self, chosen: Flags) -> Trials:
        """Return some of the trials."""
        return replace(
            self,
            left=self.left[chosen],
            right=self.right[chosen],
            same=self.same[chosen],
            scores=self.scores[chosen],
            units=self.units[:, chosen],
            skilled=self.skilled[chosen],
        )

    def intervals(self, measures: Mapping[str, Measure], *, seed: int) -> dict[str, Interval | None]:
        """Return the 95 % interval over units of each figure; None where it, or the interval, cannot be shown."""
        if self.without_interval:
            return dict.fromkeys(measures)
        try:
            left, right = self.units
            return bootstrap.intervals(self.scores, self.same, left, right, measures, resamples=RESAMPLES, seed=seed)
        except TooFewClassesError:
            return dict.fromkeys(measures)

    @cached_property
    def without_interval(self) -> str:
        """Why no interval can be had, in words; empty where one may be."""
        lost = int(pd.isna(self.units).any(axis=0).sum())
        return f"{lost} trials have a sample of no class" if lost else ""

    @property
    def drawn(self) -> str:
        """What intervals are drawn over, in words."""
        return (
            f"no intervals, since {self.without_interval}"
            if self.without_interval
            else f"95 % intervals over {self.over}"
        )


@dataclass(frozen=True)
class Samples:
    """The samples that training did not see.

    Attributes:
        frame: one row a sample: id, class, split, group, forges, and what was carried along.
        embeddings: (samples, dimensions), in the order of the frame.
        distance: the name of the distance between them.
    """

    frame: pd.DataFrame
    embeddings: Singles
    distance: str

    def classed(self, split: str) -> Classed:
        """Return the samples of a split that have a class."""
        chosen = ((self.frame["split"] == split) & self.frame["class"].notna()).to_numpy()
        frame = self.frame[chosen]
        groups = frame["group"].astype(object)
        return Classed(
            self.embeddings[chosen],
            frame["class"].to_numpy(dtype=str),
            groups.where(groups.notna(), None).to_numpy(dtype=object),
        )

    @cached_property
    def units(self) -> Names:
        """(samples,) What was drawn at random when a sample was.

        It is the class, for a forgery the one that it imitates; where there are no classes, the group that pairs join.
        """
        names = self.frame["class"].fillna(self.frame["forges"]).fillna(self.frame["group"])
        units: Names = names.to_numpy(dtype=object)
        return units

    def trials(self, listed: pd.DataFrame, *, split: str, where: str) -> Trials:
        """Look up and score a list of trials: columns left, right and same.

        Args:
            listed: the trials, by the ids of samples.
            split: what split they are of.
            where: the file that lists them, for a refusal.

        Raises:
            ValueError: for an id that is no sample here, or a trial that is listed twice: its row, 1 being the first.
        """
        ids = pd.Index(self.frame["id"])
        left, right = (_rows(listed[side], ids, where=where) for side in ("left", "right"))
        _check_unique(left, right, ids, where=where)
        classless = self.frame.loc[self.frame["split"] == split, "class"].isna().all()
        forged = self.frame["forges"].notna().to_numpy()
        return Trials(
            left,
            right,
            listed["same"].to_numpy(dtype=np.int8),
            self._scores(left, right),
            np.stack([self.units[left], self.units[right]]),
            "groups" if classless else "classes",
            forged[left] | forged[right],
        )

    def _scores(self, left: Rows, right: Rows) -> Singles:
        """Return the scores that the delivered model would give, a block of trials at a time."""
        measure, vectors = distances.build(self.distance), torch.from_numpy(self.embeddings)
        step = max(1, BLOCK // self.embeddings.shape[1])
        parts = [
            measure.score(measure.paired(vectors[left[at : at + step]], vectors[right[at : at + step]]))
            for at in range(0, left.size, step)
        ]
        scores: Singles = torch.cat(parts).numpy() if parts else np.empty(0, dtype=np.float32)
        return scores


def _rows(column: pd.Series[Any], ids: pd.Index[Any], *, where: str) -> Rows:
    rows: Rows = ids.get_indexer(pd.Index(column))
    astray = np.flatnonzero(rows < 0)
    if astray.size:
        raise ValueError(
            f"{where}: row {astray[0] + 1}: {column.iloc[astray[0]]!r} is no sample of val or test; run `dvc repro`"
        )
    return rows


def _check_unique(left: Rows, right: Rows, ids: pd.Index[Any], *, where: str) -> None:
    pairs = pd.DataFrame({"one": np.minimum(left, right), "other": np.maximum(left, right)})
    repeated = np.flatnonzero(pairs.duplicated())
    if repeated.size:
        again = int(repeated[0])
        first = int(np.flatnonzero((pairs == pairs.iloc[again]).all(axis=1))[0])
        raise ValueError(
            f"{where}: rows {first + 1} and {again + 1} are one trial, of {ids[left[again]]!r} and "
            f"{ids[right[again]]!r}: a trial counts once; run `dvc repro pairs`, or remove one from its list"
        )

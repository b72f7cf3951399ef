"""How far figures over all pairs may be off for other classes, in memory that does not grow with the pairs.

It is the bootstrap of `likewise.evaluation.bootstrap` with trials counted instead of kept: for each pair of classes
how many of its trials are accepted at each of some thresholds. With w_c how often class c was drawn,

    genuine accepted     sum over c of w_c genuine[c]
    impostors accepted   sum over c < d of w_c w_d impostors[c, d]

More than `UNITS` classes are put together at random into so many groups of classes, and the groups are drawn: the
variance comes out the same on average, from fewer draws (the method of random groups: Wolter, "Introduction to variance
estimation", 2007, chapter 2). A pair of two classes of one group then counts as often as the group was drawn.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from likewise.evaluation import bootstrap
from likewise.evaluation.blocks import Scores, Singles
from likewise.evaluation.bootstrap import Interval, TooFewClassesError
from likewise.evaluation.checks import Array, Labels, as_codes, as_embeddings
from likewise.evaluation.curves import Counts, Floats, Roc
from likewise.evaluation.measures import Measure

# Classes, or groups of them, that are drawn; and thresholds that are counted at, so that the counts take 40 MB.
UNITS = 100
EDGES = 1000
# Scores in one block of the matrix, and resamples taken at a time.
BLOCK = 2**22
TOGETHER = 100

Indices = NDArray[np.intp]


def intervals(
    embeddings: Array,
    labels: Labels,
    roc: Roc,
    measures: Mapping[str, Measure],
    *,
    distance: str,
    thresholds: Sequence[float] = (),
    resamples: int = 1000,
    level: float = 0.95,
    seed: int,
) -> dict[str, Interval | None]:
    """Return the percentile interval of figures over all pairs; None where a figure is not measurable.

    The figures themselves are exact. In resamples they are taken from at most about `EDGES` operating points of the
    ROC, close together where either rate is small; from all of them where there are no more.

    Args:
        embeddings: (samples, dimensions).
        labels: (samples,) the class of each sample.
        roc: what `roc_all_pairs` found for them.
        measures: the figures by a name of the caller's; see `likewise.evaluation.measures`.
        distance: a name that `likewise.distances.build` knows.
        thresholds: those that the figures ask for errors at, and that `roc_all_pairs` was given.
        resamples: how often the classes are drawn.
        level: the share of resamples between the ends.
        seed: of the draws.

    Raises:
        TooFewClassesError: for so few classes that over 5 % of the resamples lack a kind of trial.
        ValueError: for too few resamples for the level, or what `roc_all_pairs` refuses.

    >>> from likewise.evaluation.measures import MEASURES
    >>> from likewise.evaluation.verification import roc_all_pairs
    >>> points, names = np.cos(np.arange(60.0)).reshape(30, 2), np.arange(30) % 10
    >>> roc = roc_all_pairs(points, names, "euclidean")
    >>> auc = intervals(points, names, roc, {"auc": MEASURES["auc"]}, distance="euclidean", seed=0)["auc"]
    >>> auc.value == roc.auc, auc.low < auc.value < auc.high, auc.classes
    (True, True, 10)
    """
    bootstrap.check_level(level, resamples)
    matrix = as_embeddings(embeddings)
    codes = as_codes(labels, samples=len(matrix))
    counts = _Counts.build(matrix, codes, distance, _edges(roc, thresholds), seed=seed)
    shown = {name: measure for name, measure in measures.items() if measure.shown_by(roc)}
    rocs = (each for each in counts.rocs(resamples, seed) if each.genuine and each.impostors)
    table = np.array([[measure.of(each) for measure in shown.values()] for each in rocs])
    bootstrap.check_lost(resamples - len(table), resamples, counts.classes)
    found: dict[str, Interval | None] = dict.fromkeys(measures)
    for place, (name, measure) in enumerate(shown.items()):
        found[name] = bootstrap.percentile_interval(
            float(measure.of(roc)), table[:, place], level=level, classes=counts.classes
        )
    return found


def _edges(roc: Roc, thresholds: Sequence[float]) -> Singles:
    """Return falling thresholds: those of the ROC, or some of them, equally far apart in three ways.

    By what either rate grows, by the logarithm of FAR and by that of FRR, so that each decade has its share.
    """
    vertices = np.arange(1, roc.thresholds.size)
    if vertices.size > EDGES:
        far, frr = np.maximum(roc.far, 1 / roc.impostors), np.maximum(roc.frr, 1 / roc.genuine)
        ways = roc.far + roc.tar, np.log(far), -np.log(frr)
        picked = [np.searchsorted(way, np.linspace(way[0], way[-1], EDGES // 3)) for way in ways]
        asked = [roc.vertex(threshold) for threshold in thresholds]
        vertices = np.unique(np.clip(np.concatenate([*picked, asked, [vertices[-1]]]), 1, vertices[-1]))
    return roc.thresholds[vertices.astype(np.intp)].astype(np.float32)


@dataclass(frozen=True)
class _Counts:
    """Trials accepted at each edge.

    Attributes:
        edges: (edges,) falling thresholds; at the last all trials are accepted.
        genuine: (units, edges) genuine trials of each unit.
        within: (units, edges) impostors with both sides in it.
        between: (pairs of units, edges) impostors between two, in the order of `numpy.triu_indices`.
        classes: how many classes there are.
    """

    edges: Singles
    genuine: Floats
    within: Floats
    between: Floats
    classes: int

    @classmethod
    def build(cls, matrix: Tensor, codes: Counts, distance: str, edges: Singles, *, seed: int) -> "_Counts":
        classes = int(codes.max()) + 1
        if classes < 2:
            raise TooFewClassesError("all samples are of one class; a bootstrap over classes needs two at least")
        unit_of = _units(classes, seed)[codes]
        order = np.lexsort((codes, unit_of))
        ordered = matrix[torch.from_numpy(order)]
        walk = _Walk(Scores.build(ordered, ordered, distance), codes[order], unit_of[order], edges[::-1].copy())
        units = min(classes, UNITS)
        genuine, within = np.empty((units, edges.size)), np.empty((units, edges.size))
        between = np.empty((units * (units - 1) // 2, edges.size))
        start = 0
        for unit in range(units):
            genuine[unit], impostors = walk.counts(unit, units)
            within[unit], others = impostors[unit], impostors[unit + 1 :]
            between[start : start + len(others)] = others
            start += len(others)
        return cls(edges, genuine, within, between, classes)

    def rocs(self, resamples: int, seed: int) -> Iterator[Roc]:
        """Yield the ROC of each resample. Counts are whole and below 2^53, so no order of sums changes them."""
        units = len(self.genuine)
        drawn = np.array(list(bootstrap.draw(units, resamples, seed)), dtype=np.float64)
        one, other = np.triu_indices(units, k=1)
        for start in range(0, resamples, TOGETHER):
            weights = drawn[start : start + TOGETHER]
            false = weights @ self.within + (weights[:, one] * weights[:, other]) @ self.between
            true = weights @ self.genuine
            yield from (self._roc(*each) for each in zip(false, true, strict=True))

    def _roc(self, false: Floats, true: Floats) -> Roc:
        """Return the ROC of accepted trials, without thresholds that accept no more of them."""
        kept = np.flatnonzero(np.diff(false + true, prepend=0) > 0)
        edges = self.edges[kept].astype(np.float64)
        return Roc(
            thresholds=np.concatenate(([np.inf], edges)),
            below=np.concatenate((edges, [-np.inf])),
            false_accepts=np.concatenate(([0], false[kept])).astype(np.int64),
            true_accepts=np.concatenate(([0], true[kept])).astype(np.int64),
        )


@dataclass(frozen=True)
class _Walk:
    """The score matrix above its diagonal, samples in the order of their units and classes.

    Attributes:
        scores: of all samples against each other.
        codes: (samples,) the class of each.
        units: (samples,) the unit of each.
        edges: (edges,) rising.
    """

    scores: Scores
    codes: Counts
    units: Counts
    edges: Singles

    def counts(self, unit: int, units: int) -> tuple[Floats, Floats]:
        """Return (edges,) genuine trials accepted in a unit, and (units, edges) impostors of it with each other.

        Edges fall here. Pairs with units before it were theirs.
        """
        first, last = np.searchsorted(self.units, [unit, unit + 1])
        width = self.edges.size + 1
        genuine, impostors = np.zeros(width, dtype=np.int64), np.zeros(units * width, dtype=np.int64)
        step = max(1, BLOCK // self.codes.size)
        for start in range(first, last, step):
            rows = slice(start, min(start + step, last))
            alike, places, others = self._block(rows)
            genuine += np.bincount(places[alike], minlength=width)
            impostors += np.bincount((others * width + places)[~alike], minlength=units * width)
        accepted = np.cumsum(np.vstack((genuine, impostors.reshape(units, width)))[:, :-1], axis=1, dtype=np.float64)
        return accepted[0], accepted[1:]

    def _block(self, rows: slice) -> tuple[NDArray[np.bool_], Indices, Indices]:
        """Return for the pairs of some rows with later ones: whether of one class, first falling edge, other's unit."""
        samples = self.codes.size
        row, column = np.arange(rows.start, rows.stop)[:, None], np.arange(rows.start, samples)
        later = column > row
        scores = self.scores.block(rows, slice(rows.start, samples))[later]
        places = self.edges.size - np.searchsorted(self.edges, scores, side="right")
        alike = (self.codes[row] == self.codes[column])[later]
        others = np.broadcast_to(self.units[column], later.shape)[later]
        return alike, places, others


def _units(classes: int, seed: int) -> Counts:
    """Return (classes,) the unit of each class: itself, or one of `UNITS` groups of equal size at random."""
    numbers = np.arange(classes)
    if classes <= UNITS:
        return numbers
    generator = np.random.Generator(np.random.Philox(seed))
    units: Counts = generator.permutation(numbers) % UNITS
    return units

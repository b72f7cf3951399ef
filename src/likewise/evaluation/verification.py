"""Are these two the same? Error rates over a list of trials, or over all pairs in bounded memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from likewise.evaluation.blocks import Scores, Singles
from likewise.evaluation.checks import Array, Labels, TooFewError, Values, as_codes, as_embeddings, as_trials, as_vector
from likewise.evaluation.curves import Counts, Roc
from likewise.evaluation.tally import Tally

# Scores in one block of the matrix.
BLOCK = 2**22


def roc_from_trials(scores: Values, same: Values) -> Roc:
    """Return the exact ROC of a list of trials.

    Args:
        scores: (trials,) larger is more alike; any float type.
        same: (trials,) 1 for a genuine trial, 0 for an impostor.

    Raises:
        TooFewError: for trials of one kind only.
        ValueError: for NaN or infinite scores, or answers other than 0 and 1.

    >>> roc = roc_from_trials([0.9, 0.8, 0.3, 0.1], [1, 0, 1, 0])
    >>> roc.auc, roc.eer_plain, roc.eer
    (0.75, 0.5, 0.25)
    >>> roc.tar_at_far(0.5), roc.tar_at_far(0.01), roc.least_far
    (1.0, None, 0.5)
    """
    score, genuine = as_trials(scores, same)
    order = np.argsort(-score)
    falling, genuine = score[order], genuine[order]
    ends = np.append(np.flatnonzero(np.diff(falling)), falling.size - 1)
    accepted, true_accepts = ends + 1, np.cumsum(genuine)[ends]
    values = falling[ends]
    return Roc(
        thresholds=np.concatenate(([np.inf], values)),
        below=np.concatenate((values, [-np.inf])),
        false_accepts=np.concatenate(([0], accepted - true_accepts)),
        true_accepts=np.concatenate(([0], true_accepts)),
    )


def roc_all_pairs(
    embeddings: Array, labels: Labels, distance: str = "cosine", *, thresholds: Sequence[float] = ()
) -> Roc:
    """Return the exact ROC over all N (N - 1) / 2 pairs, in memory that grows with the genuine pairs alone.

    Only at genuine scores does the ROC rise, so those are kept and sorted, and the impostors, block by block
    of the distance matrix, are counted between them. AUC, EER, minDCF, TAR at a FAR and the best accuracy
    come out exactly. Scores are compared in single precision, to which distances are rounded from double:
    pairs that are equally far apart tie, whatever the order of the rows.

    Args:
        embeddings: (samples, dimensions).
        labels: (samples,) the class of each sample.
        distance: a name that `likewise.distances.build` knows.
        thresholds: further thresholds at which errors are to be counted, for `Roc.accuracy`.

    Raises:
        TooFewError: for no genuine pair or no impostor pair.
        ValueError: for embeddings with NaN, or missing labels.

    >>> roc = roc_all_pairs(np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]]), [0, 0, 1, 1])
    >>> roc.genuine, roc.impostors, roc.eer, roc.auc
    (2, 4, 0.0, 1.0)
    """
    blocks = _Blocks.build(as_embeddings(embeddings), labels, distance)
    genuine = np.sort(blocks.genuine())
    impostors = blocks.pairs - genuine.size
    if not genuine.size or not impostors:
        kind = "impostor" if genuine.size else "genuine"
        raise TooFewError(f"none of the {blocks.pairs} pairs is {kind}; error rates need pairs of both kinds")
    tally = Tally.build(_edges(genuine, thresholds))
    for scores in blocks.impostors():
        tally.add(scores, share=scores.size / impostors)
    wanted = tally.missing()
    if wanted is not None:
        for scores in blocks.impostors():
            tally.look(scores, wanted)
    return _roc(tally, genuine=genuine, impostors=impostors)


def _edges(genuine: Singles, thresholds: Sequence[float]) -> Singles:
    """Return the scores to count impostors at: every genuine one, and each threshold rounded up to single."""
    asked = as_vector(thresholds, name="thresholds")
    single = asked.astype(np.float32)
    rounded_up = np.where(single < asked, np.nextafter(single, np.float32(np.inf)), single)
    return np.unique(np.concatenate((genuine, rounded_up)))


@dataclass(frozen=True)
class _Blocks:
    """The score matrix of samples in the order of their classes, walked above its diagonal in row blocks.

    Attributes:
        scores: of all samples against each other, ordered by class.
        ends: (samples,) the index after the last sample of each sample's class.
    """

    scores: Scores
    ends: Counts

    @classmethod
    def build(cls, matrix: Tensor, labels: Labels, distance: str) -> "_Blocks":
        codes = as_codes(labels, samples=len(matrix))
        order = np.argsort(codes, kind="stable")
        ends = np.cumsum(np.bincount(codes))[codes[order]]
        ordered = matrix[torch.from_numpy(order)]
        return cls(Scores.build(ordered, ordered, distance), ends)

    @property
    def pairs(self) -> int:
        return self.ends.size * (self.ends.size - 1) // 2

    def genuine(self) -> Singles:
        """Return the scores of all pairs of one class."""
        return np.concatenate([self._genuine(rows) for rows in self._rows()])

    def impostors(self) -> Iterator[Singles]:
        """Return the scores of all pairs of two classes by blocks; NaN where a pair belongs elsewhere."""
        for rows in self._rows():
            first, last = int(self.ends[rows.start]), int(self.ends[rows.stop - 1])
            if first < self.ends.size:
                scores = self.scores.block(rows, slice(first, self.ends.size))
                elsewhere = np.arange(first, last) < self.ends[rows, None]
                scores[:, : last - first][elsewhere] = np.nan
                yield scores

    def _genuine(self, rows: slice) -> Singles:
        columns = np.arange(rows.start, self.ends[rows.stop - 1])
        later = columns > np.arange(rows.start, rows.stop)[:, None]
        scores = self.scores.block(rows, slice(rows.start, int(columns[-1]) + 1))
        return scores[later & (columns < self.ends[rows, None])]

    def _rows(self) -> Iterator[slice]:
        samples = self.ends.size
        step = max(1, BLOCK // samples)
        return (slice(start, min(start + step, samples)) for start in range(0, samples, step))


def _roc(tally: Tally, *, genuine: Singles, impostors: int) -> Roc:
    """Return the vertices at each edge, and at the lowest impostor in the gap above each edge."""
    edges, (at_least, above) = tally.edges, tally.counts()
    left, right = (np.searchsorted(genuine, edges, side=side) for side in ("left", "right"))
    fenced = np.concatenate(([-np.inf], genuine)).astype(np.float32)
    under = np.maximum(tally.under, fenced[left])
    up_to = np.where((at_least > above) | (right > left), edges, under)
    gap = np.flatnonzero(tally.over < np.append(edges[1:], np.inf))
    top, bottom = max(genuine[-1], tally.highest), min(edges[0], tally.lowest)
    parts = [
        ([np.inf], [top], [0], [0]),
        (edges, under, at_least, genuine.size - left),
        (tally.over[gap], up_to[gap], above[gap], genuine.size - right[gap]),
        ([bottom], [-np.inf], [impostors], [genuine.size]),
    ]
    thresholds, below, false, true = (np.concatenate(column) for column in zip(*parts, strict=True))
    return _falling(thresholds, below, false, true)


def _falling(thresholds: NDArray[np.floating], below: NDArray[np.floating], false: Counts, true: Counts) -> Roc:
    """Return the ROC of operating points in any order, without thresholds that accept no more trials."""
    order = np.argsort(-thresholds, kind="stable")
    accepted = (false + true)[order]
    kept = order[np.append(True, np.diff(accepted) > 0)]
    return Roc(
        thresholds=thresholds[kept].astype(np.float64),
        below=below[kept].astype(np.float64),
        false_accepts=false[kept].astype(np.int64),
        true_accepts=true[kept].astype(np.int64),
    )

"""Scores made comparable between samples: each is measured by how it stands among impostors of a cohort.

Some samples look like everybody, others like nobody, so one threshold suits neither. A cohort of other classes, as a
rule the training classes, tells for each sample what scores its impostors get: their mean m and standard deviation d
(over the cohort, divided by its size). With e the enrolled sample (left) and t the one that is tested (right):

    z-norm     (s - m_e) / d_e                                   Li and Porter, 1988
    t-norm     (s - m_t) / d_t                                   Auckenthaler, Carey and Lloyd-Thomas, 2000
    s-norm     ((s - m_e) / d_e + (s - m_t) / d_t) / 2           Kenny, 2010
    AS-norm    s-norm, with m and d of each sample over the `top` cohort scores that are highest for it:
               "AS-norm1" of Matejka and others, 2017
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from likewise import distances
from likewise.choices import one_of
from likewise.evaluation.blocks import Indices, Scores
from likewise.evaluation.checks import Array, Labels, as_codes, as_embeddings

# Scores in one block of the sample-by-cohort matrix, and numbers in the embeddings of a block of trials.
BLOCK = 2**22

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Statistics:
    """How the scores of samples against a cohort lie.

    Attributes:
        mean: (samples,) their mean.
        spread: (samples,) their standard deviation, above 0.
    """

    mean: Floats
    spread: Floats

    def standardise(self, scores: Floats, samples: Indices) -> Floats:
        """Return the scores of trials less the mean of the sample in each, in units of its spread."""
        standard: Floats = (scores - self.mean[samples]) / self.spread[samples]
        return standard


def normalise(
    embeddings: Array,
    left: Indices,
    right: Indices,
    *,
    cohort: Array,
    distance: str,
    method: str = "as",
    top: int | None = None,
) -> Floats:
    """Return the normalised score of each trial, larger is more alike.

    Memory grows with the samples and the trials, not with their product with the cohort. The order of the cohort
    does not matter. A threshold or a calibration belongs to the method, the cohort and `top` as well as to the
    distance: choose it anew. A cohort that holds classes of the trials makes their genuine scores look common.

    Args:
        embeddings: (samples, dimensions) of the trials' samples.
        left: (trials,) the row of the enrolled sample.
        right: (trials,) the row of the tested sample.
        cohort: (cohort, dimensions) embeddings of other classes, such as `class_means` of the training samples.
        distance: a name that `likewise.distances.build` knows.
        method: "z", "t", "s" or "as".
        top: how many of the highest cohort scores of each sample count, for "as"; 200 to 500 are usual.

    Raises:
        ValueError: for an unknown method or distance, rows that are not there, a `top` that is missing, superfluous
            or larger than the cohort, and a sample to which the whole cohort is equally near.

    >>> samples, cohort = np.array([[0.0], [1.0], [8.0]]), np.array([[10.0], [12.0]])
    >>> left, right = np.array([0, 0]), np.array([1, 2])
    >>> normalise(samples, left, right, cohort=cohort, distance="euclidean", method="z")
    array([10.,  3.])
    >>> normalise(samples, left, right, cohort=cohort, distance="euclidean", method="s")
    array([ 9.5, -1. ])
    """
    one_of("normalisation", method, METHODS)
    _check_top(method, top)
    samples, sides = as_embeddings(embeddings), (np.asarray(left), np.asarray(right))
    _check_rows(*sides, samples=len(samples))
    used, places = np.unique(np.concatenate(sides), return_inverse=True)
    chosen = samples[torch.from_numpy(used)]
    first, second = places.reshape(2, -1)
    scores = _trial_scores(chosen, first, second, distance)
    known = statistics(chosen, cohort, distance=distance, top=top)
    return METHODS[method](known.standardise(scores, first), known.standardise(scores, second))


def statistics(embeddings: Array, cohort: Array, *, distance: str, top: int | None = None) -> Statistics:
    """Return the mean and the standard deviation of each sample's scores against the cohort.

    Args:
        embeddings: (samples, dimensions).
        cohort: (cohort, dimensions).
        distance: a name that `likewise.distances.build` knows.
        top: how many of the highest scores count; None for all.

    Raises:
        ValueError: for a cohort or a `top` of fewer than two, a `top` larger than the cohort, embeddings of another
            width, or a sample whose scores are all equal.

    >>> found = statistics(np.array([[0.0], [8.0]]), np.array([[10.0], [12.0], [40.0]]), distance="euclidean", top=2)
    >>> found.mean, found.spread
    (array([-11.,  -3.]), array([1., 1.]))
    """
    samples, others = as_embeddings(embeddings), as_embeddings(cohort)
    count = len(others) if top is None else top
    _check_cohort(samples, others, count)
    blocks = list(_blocks(Scores.build(samples, others, distance), count))
    mean, spread = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    flat = int(np.count_nonzero(spread == 0))
    if flat:
        raise ValueError(
            f"{flat} of the {len(samples)} samples are equally near to all {count} of the cohort, so their scores "
            "have no spread: take a larger cohort, or look for a collapsed encoder"
        )
    return Statistics(mean, spread)


def class_means(embeddings: Array, labels: Labels, *, distance: str) -> Tensor:
    """Return (classes, dimensions) one embedding for each class, to be a cohort; for cosine of vectors of length 1.

    Args:
        embeddings: (samples, dimensions).
        labels: (samples,) their classes.
        distance: the name of the distance that will score them.

    Raises:
        ValueError: for an unknown distance, NaN embeddings or missing labels.

    >>> class_means(np.array([[3.0, 0.0], [0.0, 1.0], [5.0, 5.0]]), ["a", "a", "b"], distance="euclidean")
    tensor([[1.5000, 0.5000],
            [5.0000, 5.0000]], dtype=torch.float64)
    """
    distances.build(distance)
    matrix = as_embeddings(embeddings).double()
    codes = torch.from_numpy(as_codes(labels, samples=len(matrix)))
    if distance == "cosine":
        matrix = torch.nn.functional.normalize(matrix, dim=1)
    sums = torch.zeros(int(codes.max()) + 1, matrix.shape[1], dtype=torch.float64).index_add_(0, codes, matrix)
    return sums / torch.bincount(codes)[:, None]


def _blocks(scores: Scores, count: int) -> Iterator[tuple[Floats, Floats]]:
    """Yield mean and spread of the `count` highest scores of each row, a block of rows at a time."""
    samples, cohort = (side.shape[0] for side in scores.sides)
    step = max(1, BLOCK // cohort)
    for start in range(0, samples, step):
        block = scores.block(slice(start, start + step), slice(0, cohort))
        block.sort(axis=1)
        # Sorted, so that sums are repeatable; in double, so that equal single-precision scores have no spread at all.
        highest = block[:, cohort - count :].astype(np.float64)
        yield highest.mean(axis=1), highest.std(axis=1)


def _trial_scores(samples: Tensor, left: Indices, right: Indices, distance: str) -> Floats:
    scores = Scores.build(samples, samples, distance)
    step = max(1, BLOCK // samples.shape[1])
    parts = [scores.pairs(left[at : at + step], right[at : at + step]) for at in range(0, left.size, step)]
    return np.concatenate(parts).astype(np.float64)


def _check_top(method: str, top: int | None) -> None:
    if (method == "as") != (top is not None):
        need = "needs" if method == "as" else "takes no"
        raise ValueError(f"the normalisation {method!r} {need} `top`, how many cohort scores count; given: {top}")


def _check_cohort(samples: Tensor, cohort: Tensor, count: int) -> None:
    if samples.shape[1] != cohort.shape[1]:
        raise ValueError(f"samples of width {samples.shape[1]} and a cohort of {cohort.shape[1]}: use one encoder")
    if not 2 <= count <= len(cohort):
        raise ValueError(f"{count} cohort scores were asked for out of {len(cohort)}; at least 2 of them are needed")


def _check_rows(left: Indices, right: Indices, *, samples: int) -> None:
    if left.ndim != 1 or left.shape != right.shape or not left.size:
        raise ValueError(f"left and right hold a row for each trial, not arrays of shape {left.shape}, {right.shape}")
    for side in (left, right):
        if side.dtype.kind not in "iu" or side.min() < 0 or side.max() >= samples:
            raise ValueError(f"left and right hold rows of the {samples} embeddings, whole numbers from 0")


METHODS: dict[str, Callable[[Floats, Floats], Floats]] = {
    "z": lambda enrolled, _tested: enrolled,
    "t": lambda _enrolled, tested: tested,
    "s": lambda enrolled, tested: (enrolled + tested) / 2,
    "as": lambda enrolled, tested: (enrolled + tested) / 2,
}

"""Have new samples drifted from the reference? Tests of embeddings, scores and rates, with effects, corrected together.

Each question has a test, whose p-value says whether chance alone would do, and an effect, which says whether it
matters: with many samples chance is ruled out for differences that nobody need mind. Drift is what both call one.
The p-values are corrected for there being several questions (Holm 1979, "A simple sequentially rejective multiple test
procedure"), so that a false alarm about any of them is as rare as the level says.

The tests take samples to be independent draws. Many files of few people are not: who comes is part of what drifts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Vectors = NDArray[np.float32]

BLOCK = 64
"""Permutations that are counted at a time."""


@dataclass(frozen=True)
class Answer:
    """What one test says.

    Attributes:
        effect: how large the difference is, 0 for none; at most 1.
        p: how often chance alone would show a difference at least so large.
    """

    effect: float
    p: float


@dataclass(frozen=True)
class Finding:
    """What one test says among others.

    Attributes:
        question: a name in `LEAST`.
        effect: how large the difference is.
        least: from where on it matters.
        p: corrected for all questions.
        drifted: whether it is both too large for chance and large enough to matter.
        reference: the rate in the reference, where the question is about one.
        new: the rate among the new samples.
    """

    question: str
    effect: float
    least: float
    p: float
    drifted: bool
    reference: float | None = None
    new: float | None = None


@dataclass(frozen=True)
class Rate:
    """So many of so many."""

    count: int
    total: int

    @property
    def share(self) -> float:
        """The rate itself; 0 of nothing."""
        return self.count / self.total if self.total else 0.0


@dataclass(frozen=True)
class Side:
    """What is compared of the reference, or of the new samples.

    Attributes:
        embeddings: (samples, dimensions).
        scores: (samples,) of each sample with the nearest in the gallery.
        unknown: samples for whom nobody in the gallery reaches the threshold, of all.
        poor: inputs that cannot be read or are constant, of all.
    """

    embeddings: Vectors
    scores: Floats
    unknown: Rate
    poor: Rate


DIMENSIONS = "embeddings, number by number"
WHOLE = "embeddings as a whole"
SCORES = "nearest scores"
UNKNOWN = "unknown rate"
POOR = "poor inputs"
LEAST = {DIMENSIONS: 0.1, WHOLE: 0.005, SCORES: 0.1, UNKNOWN: 0.05, POOR: 0.02}
"""The effects that matter: Kolmogorov-Smirnov distances, an energy coefficient, and differences of rates."""


def compare(
    reference: Side, new: Side, *, level: float = 0.01, permutations: int = 499, most: int = 1000, seed: int = 0
) -> list[Finding]:
    """Return what each test says, in the order of `LEAST`, corrected for all of them.

    Args:
        reference: what the model was judged on.
        new: what came since.
        level: how often there may be a false alarm about any question.
        permutations: of the test of embeddings as a whole; more than 1 / level.
        most: so many samples a side of that test, drawn at random: its time grows with their square.
        seed: of the draws and the permutations.

    Raises:
        ValueError: where a side has fewer than two samples, or there are too few permutations for the level.
    """
    if (permutations + 1) * level < len(LEAST):
        raise ValueError(
            f"permutations: given {permutations}; a level of {level:g} for {len(LEAST)} tests needs "
            f"{int(np.ceil(len(LEAST) / level))} or more"
        )
    sides = reference.embeddings, new.embeddings
    answers = {
        DIMENSIONS: strongest(dimensions(*sides)),
        WHOLE: energy(*sides, permutations=permutations, most=most, seed=seed),
        SCORES: kolmogorov_smirnov(reference.scores, new.scores),
        UNKNOWN: rates(reference.unknown, new.unknown),
        POOR: rates(reference.poor, new.poor, alternative="more"),
    }
    corrected = holm([answer.p for answer in answers.values()])
    shares = {name: (getattr(reference, key).share, getattr(new, key).share) for name, key in _RATES.items()}
    return [
        Finding(
            question,
            answer.effect,
            LEAST[question],
            p,
            p <= level and answer.effect >= LEAST[question],
            *shares.get(question, (None, None)),
        )
        for (question, answer), p in zip(answers.items(), corrected, strict=True)
    ]


_RATES = {UNKNOWN: "unknown", POOR: "poor"}


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected so that any false rejection among them is as rare as the level compared with.

    Sorted upwards, the i-th of n is multiplied by n - i + 1, at most to 1, and never falls below the one before
    (Holm 1979).

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(np.minimum(p[order] * np.arange(p.size, 0, -1), 1.0))
    corrected = np.empty_like(stepped)
    corrected[order] = stepped
    return [float(value) for value in corrected]


def kolmogorov_smirnov(reference: Floats | Vectors, new: Floats | Vectors) -> Answer:
    """Return the largest difference between two distribution functions, and its p-value.

    Example:
        >>> kolmogorov_smirnov(np.arange(4.0), np.arange(4.0) + 10).effect
        1.0
    """
    from scipy.stats import ks_2samp

    found = ks_2samp(reference, new)
    return Answer(float(found.statistic), float(found.pvalue))


def dimensions(reference: Vectors, new: Vectors) -> list[Answer]:
    """Return what the Kolmogorov-Smirnov test says of each number of the embeddings (samples, dimensions)."""
    return [kolmogorov_smirnov(reference[:, column], new[:, column]) for column in range(reference.shape[1])]


def strongest(answers: Sequence[Answer]) -> Answer:
    """Return the answer of several tests to the question whether any of them shows a difference.

    The effect is the largest of those that are significant once the p-values are corrected for each other, so that a
    large one that may be chance does not stand for a small one that is none; the p-value is the smallest corrected.

    Example:
        >>> strongest([Answer(0.3, 0.5), Answer(0.1, 0.001)])
        Answer(effect=0.1, p=0.002)
    """
    corrected = holm([answer.p for answer in answers])
    p = min(corrected)
    effects = [each.effect for each, own in zip(answers, corrected, strict=True) if own <= max(p, 0.05)]
    return Answer(max(effects), p)


def energy(reference: Vectors, new: Vectors, *, permutations: int, most: int = 1000, seed: int) -> Answer:
    """Return the energy coefficient of two samples of vectors, and the p-value of a permutation test.

    With X, X' drawn from the reference and Y, Y' from the new vectors, all pairs of each counted, also of one with
    itself,

        E = 2 mean |X - Y| - mean |X - X'| - mean |Y - Y'|,   coefficient = E / (2 mean |X - Y|),

    0 where the distributions are the same and at most 1 (Szekely and Rizzo 2013, "Energy statistics: a class of
    statistics based on distances"). The p-value is the share of random divisions of all vectors, this one among them,
    whose E is at least as large.

    Args:
        reference: (n, dimensions).
        new: (m, dimensions).
        permutations: how many random divisions.
        most: so many vectors a side, drawn at random where there are more.
        seed: of the draws.

    Raises:
        ValueError: where a side has fewer than two vectors.

    Example:
        >>> energy(np.array([[0.0], [0.0]]), np.array([[1.0], [1.0]]), permutations=9, seed=0).effect
        1.0
    """
    if min(len(reference), len(new)) < 2:
        raise ValueError(f"{len(reference)} and {len(new)} embeddings: a comparison needs two or more a side")
    from scipy.spatial.distance import cdist

    draw = np.random.Generator(np.random.Philox(seed))
    sides = [side[np.sort(draw.permutation(len(side))[:most])].astype(np.float64) for side in (reference, new)]
    vectors, size = np.concatenate(sides), len(sides[1])
    far = cdist(vectors, vectors)
    own = np.zeros((len(vectors), 1))
    own[len(sides[0]) :] = 1.0
    between, statistic = (float(each[0]) for each in _energies(far, own, size))
    below = statistic - 1e-9 * abs(between)
    larger = 1
    for start in range(0, permutations, BLOCK):
        count = min(BLOCK, permutations - start)
        divisions = np.zeros((len(vectors), count))
        rows = np.argsort(draw.random((len(vectors), count)), axis=0)[:size]
        np.put_along_axis(divisions, rows, 1.0, axis=0)
        larger += int((_energies(far, divisions, size)[1] >= below).sum())
    return Answer(statistic / (2 * between) if between else 0.0, larger / (permutations + 1))


def _energies(far: Floats, new: Floats, size: int) -> tuple[Floats, Floats]:
    """Return the mean distance between the sides and E of each division.

    Args:
        far: distances (vectors, vectors).
        new: (vectors, divisions) 1 for a vector of the new side.
        size: how many of those there are.
    """
    others = len(far) - size
    within = (new * (far @ new)).sum(axis=0)
    across = far.sum(axis=1) @ new - within
    rest = far.sum() - 2 * across - within
    mean = across / (size * others)
    return mean, 2 * mean - within / size**2 - rest / others**2


def rates(reference: Rate, new: Rate, *, alternative: Literal["other", "more"] = "other") -> Answer:
    """Return the difference of two rates, and the p-value of Fisher's exact test.

    Args:
        reference: the rate to compare with.
        new: the new one.
        alternative: "more": only a larger rate counts, and a smaller one has the effect 0.

    Example:
        >>> rates(Rate(0, 10), Rate(5, 10)).effect
        0.5
    """
    from scipy.stats import fisher_exact

    table = [[side.count, side.total - side.count] for side in (new, reference)]
    sided = "greater" if alternative == "more" else "two-sided"
    difference = new.share - reference.share
    effect = max(difference, 0.0) if alternative == "more" else abs(difference)
    return Answer(effect, float(fisher_exact(table, alternative=sided).pvalue))

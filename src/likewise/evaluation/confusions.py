"""Which classes are taken for each other? Of every sample, the class of the nearest other one."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from likewise.evaluation.blocks import Indices, Scores, Singles
from likewise.evaluation.checks import Array, Labels, as_codes, as_embeddings

# Scores in one block of the matrix.
BLOCK = 2**22


@dataclass(frozen=True)
class Confusions:
    """How often the nearest other sample is of another class.

    Attributes:
        table: a row each pair of classes that is confused: class, taken_for, samples (of the class, whose nearest is of
            the other), of (how many the class has), and left, right (rows of the two samples that are nearest of
            these); the most samples first.
        wrong: how many samples' nearest is of another class.
        samples: how many there are.
    """

    table: pd.DataFrame
    wrong: int
    samples: int


def confusions(embeddings: Array, labels: Labels, *, distance: str) -> Confusions:
    """Count, for each class, the classes of its samples' nearest others. Of equally near ones the first counts.

    A class of one sample has no other of its own, and is left out as a class that is taken for another.

    Args:
        embeddings: (samples, dimensions).
        labels: (samples,) classes.
        distance: a name that `likewise.distances.build` knows.

    Raises:
        ValueError: NaN embeddings, missing labels, an unknown distance.

    >>> points = np.array([[0.0], [1.0], [1.1], [5.0], [9.0]])
    >>> found = confusions(points, ["a", "a", "b", "b", "b"], distance="euclidean")
    >>> found.table[["class", "taken_for", "samples", "of"]].values.tolist(), found.wrong
    ([['a', 'b', 1, 2], ['b', 'a', 1, 3]], 2)
    """
    matrix = as_embeddings(embeddings)
    names, codes = np.asarray(labels), as_codes(labels, samples=len(matrix))
    counts = np.bincount(codes)
    nearest, scores = _nearest(Scores.build(matrix, matrix, distance))
    wrong = np.flatnonzero((codes != codes[nearest]) & (counts[codes] > 1))
    frame = pd.DataFrame(
        {
            "class": names[wrong],
            "taken_for": names[nearest[wrong]],
            "of": counts[codes[wrong]],
            "left": wrong,
            "right": nearest[wrong],
            "score": scores[wrong],
        }
    ).sort_values("score", ascending=False, kind="stable")
    grouped = frame.groupby(["class", "taken_for"], sort=True)
    table = grouped.first()[["of", "left", "right"]].assign(samples=grouped.size()).reset_index()
    table = table.sort_values("samples", ascending=False, kind="stable").reset_index(drop=True)
    return Confusions(table[["class", "taken_for", "samples", "of", "left", "right"]], wrong.size, len(matrix))


def _nearest(scores: Scores) -> tuple[Indices, Singles]:
    """Return for each sample the nearest other one, and its score."""
    samples = len(scores.squares[0])
    step = max(1, BLOCK // samples)
    columns, best = [], []
    for start in range(0, samples, step):
        rows = slice(start, min(start + step, samples))
        block = scores.block(rows, slice(0, samples))
        block[np.arange(len(block)), np.arange(rows.start, rows.stop)] = -np.inf
        columns.append(block.argmax(axis=1))
        best.append(block.max(axis=1))
    return np.concatenate(columns), np.concatenate(best)

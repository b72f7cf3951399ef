"""The score from which a probe is taken for somebody enrolled: chosen on samples of classes that are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from likewise.evaluation.checks import Array, Labels, OfDistance, TooFewError
from likewise.evaluation.openset import enrol_and_search


@dataclass(frozen=True)
class Acceptance(OfDistance):
    """Thresholds of open-set identification, one for each false-alarm rate that the strangers could show.

    Attributes:
        distance: the name of the distance whose scores they are compared with.
        split: the samples that they were chosen on.
        classes: how many classes were enrolled.
        shots: samples enrolled of each.
        strangers: how many probes were of other classes.
        fars: the false-alarm rates, the shares of strangers that are taken for somebody.
        thresholds: for each the score from which a probe is somebody.
    """

    called = "open-set threshold"

    distance: str
    split: str
    classes: int
    shots: int
    strangers: int
    fars: list[float]
    thresholds: list[float]


def choose(
    embeddings: Array,
    labels: Labels,
    *,
    distance: str,
    split: str,
    fars: Sequence[float],
    share: float = 0.5,
    shots: int = 1,
    seed: int,
) -> Acceptance | None:
    """Enrol a share of the classes and choose the thresholds at which the others raise so many false alarms.

    Args:
        embeddings: (samples, dimensions).
        labels: (samples,) their classes.
        distance: a name that `likewise.distances.build` knows.
        split: what the samples are called.
        fars: the false-alarm rates wanted; those finer than the strangers can show are left out.
        share: of the classes, how many are enrolled.
        shots: samples enrolled of each.
        seed: of the draw.

    Returns:
        The thresholds, or None where there are too few classes or strangers for any.

    Raises:
        ValueError: for NaN embeddings, a missing label, or a bad number.

    >>> import numpy as np
    >>> points, names = np.array([[0.0], [0.2], [5.0], [5.1], [9.0], [7.0]]), ["a", "a", "b", "b", "c", "d"]
    >>> found = choose(points, names, distance="euclidean", split="val", fars=[0.5, 0.01], seed=0)
    >>> found.fars, found.classes, found.strangers
    ([0.5], 2, 2)
    """
    try:
        found = enrol_and_search(embeddings, labels, distance=distance, share=share, shots=shots, seed=seed)
    except TooFewError:
        return None
    chosen: dict[float, float] = {}
    for far in fars:
        try:
            chosen[far] = found.threshold_at(far)
        except TooFewError:
            continue
    if not chosen:
        return None
    strangers = int(found.strangers.size)
    return Acceptance(distance, split, found.classes, shots, strangers, list(chosen), list(chosen.values()))

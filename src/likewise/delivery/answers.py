"""What a model answers: how two samples compare, who somebody is, and what is most alike."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Comparison:
    """The answer to "are these two the same?".

    Attributes:
        distance: how far the embeddings are, in the model's distance; smaller is more alike.
        score: the similarity, larger is more alike.
        probability: the calibrated probability that they are the same.
        same: whether the score reaches the threshold.
        threshold: the score at which the answer becomes "same".
    """

    distance: float
    score: float
    probability: float
    same: bool
    threshold: float


@dataclass(frozen=True)
class Identification:
    """The answer to "who of the gallery is it?".

    Attributes:
        name: who it is, or None: nobody of the gallery, for no score reaches the threshold.
        nearest: the name that is most alike, whether it is reached or not.
        id: the enrolled sample of that name that is most alike.
        distance: how far that sample's embedding is; smaller is more alike.
        score: the similarity, larger is more alike.
        probability: the calibrated probability that the probe and that sample are the same.
        threshold: the score from which the probe is somebody.
    """

    name: str | None
    nearest: str
    id: str
    distance: float
    score: float
    probability: float
    threshold: float


@dataclass(frozen=True)
class Hit:
    """One of the samples that are most alike.

    Attributes:
        id: which sample it is.
        name: its class, or the name that it was enrolled under; None where it has none.
        distance: how far its embedding is; smaller is more alike.
    """

    id: str
    name: str | None
    distance: float

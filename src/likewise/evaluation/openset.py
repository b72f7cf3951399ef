"""Who is it, if it is anybody we know? Open-set identification with a threshold chosen on other samples.

Some classes are enrolled in a gallery. A probe of an enrolled class is a mate, a probe of any other is a stranger. The
score of a probe with a class is that of the nearest enrolled sample of the class. At a threshold t

    detection and identification rate = mates whose own class is among the `rank` best, with a score >= t / mates
    false-alarm rate                  = strangers whose best class has a score >= t / strangers

Phillips, Grother and Micheals, "Evaluation methods in face recognition", Handbook of Face Recognition, 2011.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from likewise.evaluation.blocks import Scores
from likewise.evaluation.checks import Array, Labels, TooFewError, as_codes, as_embeddings
from likewise.evaluation.curves import SLACK

# Scores in one block of the probe-by-gallery matrix.
BLOCK = 2**22

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Samples = tuple[Array, Labels]


@dataclass(frozen=True)
class Search:
    """What searching a gallery for probes found.

    Attributes:
        mates: (mates,) the score of each mate with its own class; -inf where that is not among the `rank` best.
        strangers: (strangers,) the score of each stranger with its best class.
        rank: among how many best classes a mate's own must be.
        classes: how many classes are enrolled.
        gallery: how many samples are.
    """

    mates: Floats
    strangers: Floats
    rank: int
    classes: int
    gallery: int

    @property
    def least_far(self) -> float:
        """The smallest false-alarm rate above nought that this many strangers can show, 1 / strangers."""
        return 1 / self.strangers.size

    def detection_rate(self, threshold: float) -> float:
        """Return the detection and identification rate; at -inf the share identified with no threshold at all."""
        return float(np.mean((self.mates >= threshold) & np.isfinite(self.mates)))

    def false_alarm_rate(self, threshold: float) -> float:
        """Return the share of strangers taken for somebody; a score equal to the threshold raises the alarm."""
        return float(np.mean(self.strangers >= threshold))

    def threshold_at(self, far: float) -> float:
        """Return the lowest threshold with a false-alarm rate up to `far`, midway to the next score below.

        Strangers of one score raise the alarm together or not at all.

        Raises:
            TooFewError: for a rate finer than so many strangers can show.
            ValueError: for a rate that is not above 0 and below 1.
        """
        _check_rate(far)
        if far < self.least_far - SLACK:
            raise TooFewError(
                f"{self.strangers.size} strangers cannot show a false-alarm rate of {far:g}; "
                f"the least they can is {self.least_far:.2g}"
            )
        allowed = int(far * self.strangers.size + SLACK)
        barrier = float(np.sort(self.strangers)[::-1][allowed])
        above = np.concatenate((self.strangers, self.mates))
        return _between(barrier, float(np.min(above[above > barrier], initial=np.inf)))


@dataclass(frozen=True)
class OpenSetResult:
    """Open-set identification at the threshold that other samples chose.

    Attributes:
        detection_rate: the detection and identification rate; None where the false-alarm rate asked for is finer
            than the strangers that choose the threshold can show.
        false_alarm_rate: what the rate became on the samples judged; None likewise.
        threshold: the score from which a probe counts as known; None likewise.
        far: the false-alarm rate asked for.
        least_far: the least that could be asked for.
        identification_rate: the share of mates identified with no threshold.
        mates: how many probes are of an enrolled class.
        strangers: how many are not.
        classes: how many classes are enrolled.
        protocol: enrolment, rank and threshold in words.
    """

    detection_rate: float | None
    false_alarm_rate: float | None
    threshold: float | None
    far: float
    least_far: float
    identification_rate: float
    mates: int
    strangers: int
    classes: int
    protocol: str


def evaluate(
    val: Samples,
    test: Samples,
    *,
    distance: str,
    far: float = 0.01,
    share: float = 0.5,
    shots: int = 1,
    rank: int = 1,
    seed: int,
) -> OpenSetResult:
    """Enrol a share of the classes of each set, choose the threshold on `val` and judge it on `test`.

    Args:
        val: embeddings (samples, dimensions) and labels (samples,) that choose the threshold.
        test: those that are judged.
        distance: a name that `likewise.distances.build` knows.
        far: the false-alarm rate to allow.
        share: of the classes, how many are enrolled.
        shots: samples enrolled of each; all others of all classes are probes.
        rank: among how many best classes a mate's own must be.
        seed: of the draws.

    Raises:
        TooFewError: where a set has too few classes to enrol some and keep strangers.
        ValueError: for NaN embeddings, a missing label, or a bad number.

    >>> points, names = np.array([[0.0], [0.2], [5.0], [5.1], [9.0], [7.0]]), ["a", "a", "b", "b", "c", "d"]
    >>> found = evaluate((points, names), (points, names), distance="euclidean", far=0.5, seed=0)
    >>> found.detection_rate, found.false_alarm_rate, found.mates, found.strangers, found.classes
    (1.0, 0.5, 2, 2, 2)
    """
    _check_rate(far)
    chosen, judged = (
        enrol_and_search(*samples, distance=distance, share=share, shots=shots, rank=rank, seed=seed)
        for samples in (val, test)
    )
    shown = far >= chosen.least_far - SLACK
    threshold = chosen.threshold_at(far) if shown else None
    return OpenSetResult(
        detection_rate=None if threshold is None else judged.detection_rate(threshold),
        false_alarm_rate=None if threshold is None else judged.false_alarm_rate(threshold),
        threshold=threshold,
        far=far,
        least_far=chosen.least_far,
        identification_rate=judged.detection_rate(-np.inf),
        mates=judged.mates.size,
        strangers=judged.strangers.size,
        classes=judged.classes,
        protocol=f"{share:.0%} of the classes enrolled, {shots} {'sample' if shots == 1 else 'samples'} each, "
        f"rank {rank}, threshold from other samples",
    )


def enrol(
    embeddings: Array, labels: Labels, *, share: float = 0.5, shots: int = 1, seed: int
) -> tuple[Indices, Indices]:
    """Return the rows of the gallery and of the probes: `shots` samples of some classes, and everything else.

    Classes with more than `shots` samples are drawn uniformly, as many as make the share of all classes. What is
    drawn does not depend on the order of the rows.

    Raises:
        TooFewError: where no class has enough samples, or no probe of another class is left.
        ValueError: for a share or number that makes no sense.

    >>> gallery, probes = enrol(np.array([[0.0], [0.2], [5.0]]), ["a", "a", "b"], seed=0)
    >>> sorted(gallery.tolist() + probes.tolist())
    [0, 1, 2]
    """
    if not 0 < share < 1:
        raise ValueError(f"share is the part of the classes that is enrolled, between 0 and 1, not {share}")
    if shots < 1:
        raise ValueError(f"shots must be at least 1, not {shots}")
    matrix = as_embeddings(embeddings).numpy()
    codes = as_codes(labels, samples=len(matrix))
    counts = np.bincount(codes)
    able = np.flatnonzero(counts > shots)
    wanted = max(1, round(share * counts.size))
    if not able.size or counts.size < 2:
        raise TooFewError(
            f"an open set needs two classes, one of them with more than {shots} samples; of {counts.size} there are "
            f"{able.size} with that many"
        )
    generator = np.random.Generator(np.random.Philox(seed))
    enrolled = generator.permutation(able)[: min(wanted, counts.size - 1)]
    # By class, and at random inside each, from an order that the embeddings give.
    order = np.lexsort((*matrix.T, codes))
    order = order[np.lexsort((generator.random(order.size), codes[order]))]
    place = np.arange(order.size) - (np.cumsum(counts) - counts)[codes[order]]
    chosen = (place < shots) & np.isin(codes[order], enrolled)
    return order[chosen], order[~chosen]


def enrol_and_search(
    embeddings: Array, labels: Labels, *, distance: str, share: float, shots: int, rank: int = 1, seed: int
) -> Search:
    """Enrol some of the classes (`enrol`) and search for all other samples (`search`)."""
    matrix, names = as_embeddings(embeddings), np.asarray(labels)
    rows, others = enrol(matrix, names, share=share, shots=shots, seed=seed)
    enrolled = matrix[torch.from_numpy(rows)], names[rows]
    return search(matrix[torch.from_numpy(others)], names[others], gallery=enrolled, distance=distance, rank=rank)


def search(probes: Array, labels: Labels, *, gallery: Samples, distance: str, rank: int = 1) -> Search:
    """Search the gallery for every probe.

    Ties go against the model: a mate whose own class ties with others comes behind all of them.

    Args:
        probes: (probes, dimensions).
        labels: (probes,) the class of each, whether it is enrolled or not.
        gallery: embeddings (gallery, dimensions) and classes (gallery,) of the enrolled samples.
        distance: a name that `likewise.distances.build` knows.
        rank: among how many best classes a mate's own must be.

    Raises:
        TooFewError: for no mate or no stranger.
        ValueError: for NaN embeddings, or a `rank` beyond the enrolled classes.

    >>> found = search(np.array([[1.0], [4.0], [30.0]]), ["a", "b", "c"],
    ...                gallery=(np.array([[0.0], [5.0]]), ["a", "b"]), distance="euclidean")
    >>> found.mates, found.strangers, found.detection_rate(-3.0), found.false_alarm_rate(-3.0)
    (array([-1., -1.]), array([-25.]), 1.0, 0.0)
    """
    sides = as_embeddings(probes), as_embeddings(gallery[0])
    codes, starts, own = _classes(labels, gallery[1], probes=len(sides[0]), gallery=len(sides[1]))
    if not 1 <= rank <= starts.size:
        raise ValueError(f"rank must lie between 1 and the {starts.size} enrolled classes, not at {rank}")
    known = own >= 0
    if known.all() or not known.any():
        missing = "of a class that is not enrolled" if known.any() else "of an enrolled class"
        raise TooFewError(f"none of the {own.size} probes is {missing}; an open set needs both kinds")
    ordered = sides[1][torch.from_numpy(np.argsort(codes, kind="stable"))]
    found = _best(Scores.build(sides[0], ordered, distance), starts, own, rank)
    return Search(found[known], found[~known], rank, starts.size, len(ordered))


def _classes(labels: Labels, enrolled: Labels, *, probes: int, gallery: int) -> tuple[Indices, Indices, Indices]:
    """Return the class of each gallery row, where each class begins once they are sorted, and each probe's own.

    Enrolled classes are numbered from 0; a probe of another has -1.
    """
    sides = np.asarray(labels), np.asarray(enrolled)
    for name, side, samples in (("probes", sides[0], probes), ("gallery", sides[1], gallery)):
        if side.shape != (samples,):
            raise ValueError(f"{samples} embeddings of the {name} came with labels of shape {side.shape}")
    codes = as_codes(np.concatenate(sides), samples=probes + gallery)
    known, numbers, counts = np.unique(codes[probes:], return_inverse=True, return_counts=True)
    place = np.full(int(codes.max()) + 1, -1)
    place[known] = np.arange(known.size)
    return numbers, np.cumsum(counts) - counts, place[codes[:probes]]


def _best(scores: Scores, starts: Indices, own: Indices, rank: int) -> Floats:
    """Return for each mate the score of its own class, -inf beyond the rank, and for each stranger the best score."""
    gallery = scores.sides[1].shape[0]
    step = max(1, BLOCK // gallery)
    found = np.empty(own.size)
    for start in range(0, own.size, step):
        rows = slice(start, min(start + step, own.size))
        best = np.maximum.reduceat(scores.block(rows, slice(0, gallery)), starts, axis=1)
        score = np.where(own[rows] < 0, best.max(axis=1), best[np.arange(len(best)), own[rows]])
        behind = (best >= score[:, None]).sum(axis=1) > rank
        found[rows] = np.where(behind & (own[rows] >= 0), -np.inf, score)
    return found


def _check_rate(far: float) -> None:
    if not 0 < far < 1:
        raise ValueError(f"a false-alarm rate lies between 0 and 1, not at {far}")


def _between(below: float, above: float) -> float:
    """Return a threshold that accepts `above` and not `below`, halfway; just above `below` where `above` is inf."""
    if np.isinf(above):
        return float(np.nextafter(np.float32(below), np.float32(np.inf)))
    middle = float(np.float32(above / 2 + below / 2))
    return middle if below < middle <= above else above

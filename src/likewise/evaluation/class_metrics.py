"""Sections of metrics.json about classes: retrieval, one-shot, open-set identification, clustering."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from likewise.evaluation import clustering, oneshot, openset, retrieval
from likewise.evaluation.checks import TooFewError
from likewise.evaluation.measures import percent_name
from likewise.evaluation.trials import Classed

Section = dict[str, Any]


def nearest(samples: Classed, cutoffs: Sequence[int], *, distance: str) -> Section:
    """Return how often the nearest samples are of the class of the one that asks; None at cut-offs beyond all samples.

    Raises:
        TooFewError: where no sample has another of its class.
    """
    others = len(samples.labels) - 1
    able = [cut for cut in cutoffs if cut <= others]
    found = retrieval.evaluate(samples.embeddings, samples.labels, distance=distance, k=able or [1])
    figures = {"recall": found.recall, "precision": found.precision, "ndcg": found.ndcg}
    beyond = [str(cut) for cut in cutoffs if cut > others]
    return {
        "protocol": "each test sample that has a class searched among all others",
        **{f"{name}_at_{cut}": by.get(cut) for name, by in figures.items() for cut in cutoffs},
        "map_at_r": found.map_at_r,
        "r_precision": found.r_precision,
        "queries": found.queries,
        "excluded": found.excluded,
        "gallery": found.gallery,
        "not_measurable": f"at {' and '.join(beyond)}: there are {others} others" if beyond else None,
    }


def episodes(
    samples: Classed,
    *,
    distance: str,
    ways: int,
    shots: int,
    count: int,
    seed: int,
    within: bool = False,
    mode: oneshot.Mode = "nearest",
) -> Section:
    """Return how often the right class is chosen from few examples of each; `within`, from classes of one group.

    Raises:
        TooFewError: for too few classes with enough samples.
        ValueError: for samples without a group, asked to stay within one.
    """
    lost = sum(group is None for group in samples.groups)
    if within and lost:
        raise ValueError(f"{lost} of {len(samples.groups)} test samples have no group: set evaluate.within: any")
    return from_result(
        oneshot.evaluate(
            samples.embeddings,
            samples.labels,
            distance=distance,
            ways=ways,
            shots=shots,
            episodes=count,
            seed=seed,
            groups=samples.groups.astype(str) if within else None,
            mode=mode,
        )
    )


def from_result(found: oneshot.OneShotResult) -> Section:
    """Return the accuracy over episodes or tasks as a section."""
    low, high = found.interval
    return {
        "protocol": found.protocol,
        "accuracy": found.accuracy,
        "accuracy_low": low,
        "accuracy_high": high,
        "episodes": found.episodes,
    }


def open_set(
    val: Classed, test: Classed, *, distance: str, fars: Sequence[float], share: float, shots: int, seed: int
) -> Section:
    """Return the detection and identification rate at each false-alarm rate that val's strangers can show.

    Raises:
        TooFewError: where val or test has too few classes to enrol some and keep strangers.
    """
    chosen, judged = (
        openset.enrol_and_search(each.embeddings, each.labels, distance=distance, share=share, shots=shots, seed=seed)
        for each in (val, test)
    )
    section: Section = {
        "protocol": f"{share:.0%} of the test classes enrolled, {shots} {'sample' if shots == 1 else 'samples'} each, "
        "rank 1, all others probes; threshold from val, enrolled likewise",
        "classes": judged.classes,
        "mates": judged.mates.size,
        "strangers": judged.strangers.size,
        "identification_rate": judged.detection_rate(-np.inf),
        "least_far": chosen.least_far,
    }
    reasons = []
    for far in fars:
        name = f"at_far_{percent_name(far)}"
        try:
            threshold = chosen.threshold_at(far)
        except TooFewError as error:
            reasons.append(f"val: {error}")
            section |= {f"detection_rate_{name}": None, f"false_alarm_rate_{name}": None}
            continue
        section |= {
            f"detection_rate_{name}": judged.detection_rate(threshold),
            f"false_alarm_rate_{name}": judged.false_alarm_rate(threshold),
        }
    return {**section, "not_measurable": "; ".join(reasons) or None}


def clusters(samples: Classed, *, distance: str, seed: int) -> Section:
    """Return how well k-means finds the classes.

    Raises:
        TooFewError: for a single class.
    """
    classes = int(np.unique(samples.labels).size)
    if classes < 2:
        raise TooFewError("a single class has nothing to be told from")
    found = clustering.evaluate(samples.embeddings, samples.labels, distance=distance, seed=seed)
    return {
        "protocol": f"k-means of the test samples that have a class, {classes} clusters asked for, best of 10 draws",
        "nmi": found.nmi,
        "ari": found.ari,
        "purity": found.purity,
        "classes": classes,
        "clusters": found.clusters,
        "samples": found.samples,
    }

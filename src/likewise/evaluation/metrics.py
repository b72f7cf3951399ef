"""What metrics.json holds: the figures of a model on its test split, with intervals, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from likewise.evaluation import bootstrap, oneshot, retrieval
from likewise.evaluation.calibration import Threshold
from likewise.evaluation.checks import Labels, Values, as_trials
from likewise.evaluation.measures import MEASURES, Measure, accuracy, false_accept_rate, false_reject_rate, tar_at_far
from likewise.evaluation.verification import roc_from_trials

Flags = np.ndarray[Any, np.dtype[np.bool_]]

KS = (1, 5)
"""Cut-offs of recall."""

CLASSLESS = "not measured: no test sample has a class"


def verification_metrics(
    scores: Values,
    same: Values,
    left: Labels,
    right: Labels,
    *,
    threshold: Threshold,
    seed: int,
    over: str = "classes",
    skilled: Values | None = None,
) -> dict[str, Any]:
    """Return the error rates on trials, with the threshold that another split chose.

    Each figure is followed by the ends of its 95 % interval over classes (`bootstrap.intervals`); they are None where
    the figure is not measurable, or the classes are too few to say. Where some of the impostors are forgeries and
    some are not, the EER of each sort against all genuine trials comes last.

    Args:
        scores: (trials,) larger is more alike.
        same: (trials,) 1 for genuine, 0 for impostor.
        left: (trials,) the class of the left sample, or of whatever larger unit was drawn at random.
        right: (trials,) that of the right sample.
        threshold: chosen on another split.
        seed: of the interval's draws.
        over: what the classes are called in the protocol.
        skilled: (trials,) 1 where a side is a forgery; None: nowhere.
    """
    roc = roc_from_trials(scores, same)
    score, genuine = as_trials(scores, same)
    metrics: dict[str, Any] = {
        "protocol": f"pairs of the test split, threshold from {threshold.split}, 95 % intervals over {over}",
        "trials": len(score),
        "genuine": roc.genuine,
        "impostors": roc.impostors,
    }
    one, other = np.asarray(left), np.asarray(right)
    metrics |= _with_ends(score, genuine, one, other, measures(threshold.value), seed=seed)
    for sort, chosen in _sorts(genuine, skilled).items():
        part = score[chosen], genuine[chosen], one[chosen], other[chosen]
        metrics |= _with_ends(*part, {f"eer_{sort}": MEASURES["eer"]}, seed=seed)
    return metrics


def _sorts(genuine: Flags, skilled: Values | None) -> dict[str, Flags]:
    """Return the trials with impostors of each sort: none of these where there is one sort only."""
    forged = np.zeros_like(genuine) if skilled is None else np.asarray(skilled, dtype=bool)
    impostors = {"random": ~genuine & ~forged, "skilled": ~genuine & forged}
    both = all(some.any() for some in impostors.values())
    return {sort: genuine | some for sort, some in impostors.items()} if both else {}


def _with_ends(
    scores: Values, same: Values, left: Labels, right: Labels, wanted: Mapping[str, Measure], *, seed: int
) -> dict[str, float | None]:
    """Return each figure of the trials, followed by the ends of its interval."""
    roc = roc_from_trials(scores, same)
    try:
        found = bootstrap.intervals(scores, same, left, right, wanted, seed=seed)
    except bootstrap.TooFewClassesError:
        found = dict.fromkeys(wanted)
    figures: dict[str, float | None] = {}
    for name, measure in wanted.items():
        interval = found[name]
        low, high = (None, None) if interval is None else (interval.low, interval.high)
        figures |= {name: measure.value(roc), f"{name}_low": low, f"{name}_high": high}
    return figures


def measures(threshold: float) -> dict[str, Measure]:
    """Return what is reported of trials, by the names in metrics.json."""
    return {
        "accuracy": accuracy(threshold),
        "eer": MEASURES["eer"],
        "auc": MEASURES["auc"],
        "tar_at_far_1_percent": tar_at_far(0.01),
        "tar_at_far_0_1_percent": tar_at_far(0.001),
        "false_accept_rate": false_accept_rate(threshold),
        "false_reject_rate": false_reject_rate(threshold),
    }


def retrieval_metrics(embeddings: np.ndarray[Any, Any], labels: pd.Series[str], *, distance: str) -> dict[str, Any]:
    """Return how often the nearest samples are of the class of the one that asks; None where too few are there.

    Without any label all is None, and a protocol says why.
    """
    names = labels.to_numpy(dtype=str)
    if not len(names):
        figures = [*(f"recall_at_{k}" for k in KS), "map_at_r"]
        return {"protocol": CLASSLESS, **dict.fromkeys(figures), "queries": 0, "excluded": 0}
    nearest = retrieval.evaluate(embeddings, names, distance=distance, k=[k for k in KS if k < len(names)])
    return {
        **{f"recall_at_{k}": nearest.recall.get(k) for k in KS},
        "map_at_r": nearest.map_at_r,
        "queries": nearest.queries,
        "excluded": nearest.excluded,
    }


def oneshot_metrics(
    embeddings: np.ndarray[Any, Any],
    labels: pd.Series[str],
    *,
    distance: str,
    ways: int,
    shots: int,
    episodes: int,
    seed: int,
    groups: pd.Series[str] | None = None,
) -> dict[str, Any]:
    """Return how often the right class is chosen from few examples of each; given groups, among those of one group.

    Without any label all is None, and the protocol says why.

    Raises:
        ValueError: samples without a group, or too few classes with enough samples in each.
    """
    if not len(labels):
        figures = ("accuracy", "accuracy_low", "accuracy_high")
        return {"protocol": CLASSLESS, **dict.fromkeys(figures), "episodes": 0}
    if groups is not None and groups.isna().any():
        raise ValueError(f"{groups.isna().sum()} of {len(groups)} test samples have no group: set evaluate.within: any")
    tasks = oneshot.evaluate(
        embeddings,
        labels.to_numpy(dtype=str),
        distance=distance,
        ways=ways,
        shots=shots,
        episodes=episodes,
        seed=seed,
        groups=None if groups is None else groups.to_numpy(dtype=str),
    )
    low, high = tasks.interval
    return {
        "protocol": tasks.protocol,
        "accuracy": tasks.accuracy,
        "accuracy_low": low,
        "accuracy_high": high,
        "episodes": tasks.episodes,
    }

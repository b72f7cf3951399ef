"""Sections of metrics.json about pairs: trials, all pairs, normalised scores, probabilities, groups of samples."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from likewise.choices import nearest_first
from likewise.evaluation import all_pairs, calibration, normalisation, slices
from likewise.evaluation.bootstrap import Interval, TooFewClassesError
from likewise.evaluation.curves import Roc
from likewise.evaluation.decisions import Decisions
from likewise.evaluation.measures import (
    MEASURES,
    Measure,
    accuracy,
    dcf,
    false_accept_rate,
    false_reject_rate,
    min_dcf,
    percent_name,
    tar_at_far,
)
from likewise.evaluation.thresholds import Costs, Rule, Threshold, on_roc, too_few_impostors
from likewise.evaluation.trials import RESAMPLES, Classed, Samples, Trials
from likewise.evaluation.verification import roc_all_pairs

Section = dict[str, Any]

CARRIED = "carried."
"""Prefix of the columns that samples carry along."""


@dataclass(frozen=True)
class Operating:
    """Where error rates are told.

    Attributes:
        fars: the false-accept rates that true-accept rates are told at.
        costs: priors and costs by name.
        seed: of the intervals' draws.
    """

    fars: Sequence[float]
    costs: Mapping[str, Costs]
    seed: int


def verification(trials: Trials, chosen: Decisions, at: Operating) -> Section:
    """Return the error rates on a list of trials, with the threshold that another split chose.

    Each figure is followed by the ends of its 95 % interval over classes (`bootstrap.intervals`); they are None where
    the figure is not measurable, or the classes are too few to say. Where some of the impostors are forgeries and
    some are not, the EER of each sort against all genuine trials comes last.
    """
    wanted = {"accuracy": accuracy(chosen.threshold.value), **_rates(at), **_at(chosen.threshold), **_costs(chosen, at)}
    section = {
        "protocol": f"pairs of the test split, threshold from {chosen.threshold.split}, {trials.drawn}",
        **_counts(trials.roc, at),
        **_figures(trials.roc, wanted, trials.intervals(wanted, seed=at.seed)),
    }
    for sort, part in _sorts(trials).items():
        eer = {f"eer_{sort}": MEASURES["eer"]}
        section |= _figures(part.roc, eer, part.intervals(eer, seed=at.seed))
    return section


def over_all_pairs(samples: Classed, threshold: Threshold, at: Operating) -> Section:
    """Return the error rates over all pairs of the samples, with the threshold that another split chose.

    Raises:
        TooFewError: where the pairs are of one kind only.
    """
    vectors, labels, distance, counted = samples.embeddings, samples.labels, threshold.distance, [threshold.value]
    roc = roc_all_pairs(vectors, labels, distance, thresholds=counted)
    wanted = {**_rates(at), **_at(threshold)}
    ends: Mapping[str, Interval | None] = dict.fromkeys(wanted)
    drawn = "95 % intervals over classes"
    try:
        asked: dict[str, Any] = {"thresholds": counted, "resamples": RESAMPLES, "seed": at.seed}
        ends = all_pairs.intervals(vectors, labels, roc, wanted, distance=distance, **asked)
    except TooFewClassesError:
        drawn = "too few classes for intervals"
    return {
        "protocol": f"all pairs of the test samples that have a class, threshold from {threshold.split}, {drawn}",
        "samples": len(labels),
        "classes": int(np.unique(labels).size),
        **_counts(roc, at),
        **_figures(roc, wanted, ends),
    }


def normalised(
    samples: Samples, val: Trials, test: Trials, *, cohort: Classed, method: str, top: int, rule: Rule, at: Operating
) -> Section:
    """Return the error rates of normalised scores on the test trials, with a threshold chosen on normalised val trials.

    Args:
        samples: those of the trials.
        val: the trials that choose the threshold.
        test: the trials that are judged.
        cohort: the training samples; a class's mean embedding is one of the cohort.
        method: a name in `normalisation.METHODS`.
        top: how many of the highest cohort scores count, for "as".
        rule: how the threshold is chosen.
        at: where rates are told.

    Raises:
        ValueError: for a cohort that is too small.
    """
    if not len(cohort.labels):
        raise ValueError("no training sample has a class, so there is no cohort to normalise by")
    means = normalisation.class_means(cohort.embeddings, cohort.labels, distance=samples.distance)
    asked: dict[str, Any] = {"cohort": means, "distance": samples.distance, "method": method}
    own_val, own_test = (
        trials.with_scores(
            normalisation.normalise(
                samples.embeddings, trials.left, trials.right, **asked, top=top if method == "as" else None
            )
        )
        for trials in (val, test)
    )
    chosen = on_roc(own_val.roc, rule, distance=f"{samples.distance}, {method}-norm", split="val")
    wanted = {"accuracy": accuracy(chosen.value), **_rates(at), **_at(chosen)}
    known = set(np.unique(cohort.labels)) & set(test.units.ravel())
    counted = f"the {top} highest of " if method == "as" else ""
    return {
        "protocol": f"pairs of the test split, {method}-norm by {counted}{len(means)} training classes, {len(known)} "
        f"of them in the trials, threshold from val on scores of this kind, {own_test.drawn}",
        **_counts(own_test.roc, at),
        **_figures(own_test.roc, wanted, own_test.intervals(wanted, seed=at.seed)),
    }


def probabilities(trials: Trials, chosen: Decisions) -> Section:
    """Return how good the probabilities of each calibration are on trials that it was not fitted on."""
    section: Section = {
        "protocol": f"fitted on {chosen.calibration.split}, judged on pairs of the test split",
        "trials": len(trials.same),
        "delivered": chosen.calibration.method,
        "min_cllr": trials.roc.min_cllr,
    }
    for method, fitted in chosen.calibrations.items():
        chance = fitted.probability(trials.scores)
        section |= {
            f"{method}_ece": calibration.ece(chance, trials.same),
            f"{method}_brier": calibration.brier(chance, trials.same),
            f"{method}_cllr": calibration.cllr(fitted.log_likelihood_ratio(trials.scores), trials.same),
        }
    return section


def by_group(samples: Samples, trials: Trials, threshold: Threshold, columns: Sequence[str]) -> Section:
    """Return for each column the figures of the groups that it makes: the worst, the gap to the best, and all of them.

    Args:
        samples: those of the trials.
        trials: of the test split.
        threshold: chosen on another split.
        columns: `group`, `class`, or what samples carry along, by the name that it has at the source.

    Raises:
        ValueError: for a column that is not there.
    """
    found = {}
    for column in columns:
        name = _column(samples.frame, column)
        groups = _words(samples.frame[name])
        # Names of figures, for MLflow, hold letters, digits, and little else.
        found[re.sub(r"[^\w.-]", "_", column)] = _slice(groups[trials.left], groups[trials.right], trials, threshold)
    return found


def _slice(left: NDArray[np.object_], right: NDArray[np.object_], trials: Trials, threshold: Threshold) -> Section:
    measures = {"accuracy": accuracy(threshold.value), "eer": MEASURES["eer"], "auc": MEASURES["auc"], **_at(threshold)}
    within = bool(np.any((left == right) & (trials.same == 0)))
    kind = "within" if within else "touching"
    found = slices.evaluate(trials.scores, trials.same, left, right, measures, trials=kind)
    words = "both sides in the group" if within else "either side in the group, since no impostors are within one"
    section: Section = {
        "protocol": f"pairs of the test split with {words}; groups of at least {slices.LEAST} trials of either kind",
        "measured": len(found.groups),
        "not_measured": len(found.not_measurable),
        "unnamed": found.unnamed,
    }
    for key in measures:
        worst = found.worst[key]
        section |= {
            f"{key}_worst": None if worst is None else found.groups[worst].values[key],
            f"{key}_worst_group": worst,
            f"{key}_gap": found.gap[key],
        }
    few = [{"group": name, "genuine": one, "impostors": other} for name, (one, other) in found.not_measurable.items()]
    every = [
        {"group": name, "genuine": group.genuine, "impostors": group.impostors, **group.values}
        for name, group in found.groups.items()
    ]
    return {**section, "groups": [*every, *few]}


def _words(column: pd.Series[Any]) -> NDArray[np.object_]:
    """Return values of any type as words; None where there is none."""
    words = [None if lost else str(value) for value, lost in zip(column, column.isna(), strict=True)]
    return np.array(words, dtype=object)


def _column(frame: pd.DataFrame, column: str) -> str:
    known = {"group": "group", "class": "class"} | {
        name.removeprefix(CARRIED): name for name in frame.columns if name.startswith(CARRIED)
    }
    if column not in known:
        raise ValueError(f"samples have no column {column!r}; they have: {nearest_first(column, known)}")
    return known[column]


def _sorts(trials: Trials) -> dict[str, Trials]:
    """Return the trials with impostors of each sort: none of these where there is one sort only."""
    genuine, forged = trials.same == 1, trials.skilled
    impostors = {"random": ~genuine & ~forged, "skilled": ~genuine & forged}
    both = all(some.any() for some in impostors.values())
    return {sort: trials.part(genuine | some) for sort, some in impostors.items()} if both else {}


def _rates(at: Operating) -> dict[str, Measure]:
    """Return the measures that need no threshold."""
    return {
        "eer": MEASURES["eer"],
        "eer_plain": MEASURES["eer_plain"],
        "auc": MEASURES["auc"],
        **{f"tar_at_far_{percent_name(far)}": tar_at_far(far) for far in at.fars},
        **{f"min_dcf_{name}": min_dcf(costs) for name, costs in at.costs.items()},
    }


def _at(threshold: Threshold) -> dict[str, Measure]:
    return {
        "false_accept_rate": false_accept_rate(threshold.value),
        "false_reject_rate": false_reject_rate(threshold.value),
    }


def _costs(chosen: Decisions, at: Operating) -> dict[str, Measure]:
    """Return the cost at the threshold that val chose for it, beside the least there is."""
    return {f"dcf_{name}": dcf(chosen.thresholds[f"cost_{name}"].value, costs) for name, costs in at.costs.items()}


def _counts(roc: Roc, at: Operating) -> Section:
    fine = [far for far in at.fars if roc.tar_at_far(far) is None]
    return {
        "trials": roc.genuine + roc.impostors,
        "genuine": roc.genuine,
        "impostors": roc.impostors,
        "least_far": roc.least_far,
        "not_measurable": "; ".join(too_few_impostors(roc, far) for far in fine) or None,
    }


def _figures(roc: Roc, wanted: Mapping[str, Measure], ends: Mapping[str, Interval | None]) -> Section:
    """Return each figure, followed by the ends of its interval."""
    figures: Section = {}
    for name, measure in wanted.items():
        interval = ends[name]
        low, high = (None, None) if interval is None else (interval.low, interval.high)
        figures |= {name: measure.value(roc), f"{name}_low": low, f"{name}_high": high}
    return figures

"""What metrics.json holds: every section of the figures of a model on its test split, as plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from likewise.config import named
from likewise.evaluation import class_metrics, oneshot, pair_metrics
from likewise.evaluation.checks import TooFewError
from likewise.evaluation.decisions import Decisions, rules
from likewise.evaluation.measures import percent_name
from likewise.evaluation.pair_metrics import Operating
from likewise.evaluation.tasks import Task
from likewise.evaluation.thresholds import Costs
from likewise.evaluation.trials import Classed, Samples, Trials

Section = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """What is to be measured, as params.yaml says it.

    Attributes:
        threshold: the rule whose threshold the model carries, a name in `decisions.rules`.
        fars: false-accept and false-alarm rates that others are told at.
        costs: priors and costs by name.
        k: cut-offs of retrieval.
        ways: classes of a one-shot task.
        shots: examples of each, and samples enrolled for the open set.
        within: "any", or "group": all classes of a task come from one.
        episodes: tasks drawn.
        enrolled: share of the classes enrolled for the open set.
        normalisation: "none", or a name in `normalisation.METHODS`.
        cohort_top: how many cohort scores count, for "as".
        slices: columns whose groups are told apart; the group of the samples always is.
        seed: of all draws.
    """

    threshold: str
    fars: Sequence[float]
    costs: Mapping[str, Costs]
    k: Sequence[int]
    ways: int
    shots: int
    within: str
    episodes: int
    enrolled: float
    normalisation: str
    cohort_top: int
    slices: Sequence[str]
    seed: int

    @property
    def operating(self) -> Operating:
        """Where error rates are told."""
        return Operating(self.fars, self.costs, self.seed)


def all_metrics(
    samples: Samples,
    val: Trials,
    test: Trials,
    chosen: Decisions,
    asked: Asked,
    *,
    cohort: Classed | None = None,
    tasks: Sequence[Task] = (),
) -> dict[str, Section]:
    """Return all sections.

    Where the data are too few for one, or have no classes, its figures are None and its protocol says why.

    Args:
        samples: those of val and test.
        val: the trials of val.
        test: those of test.
        chosen: the thresholds and calibrations that val chose.
        asked: what is to be measured.
        cohort: the training samples, where scores are to be normalised.
        tasks: one-shot tasks from a list.

    Raises:
        ValueError: for what was asked for by name and cannot be had; the key of params.yaml is named.
    """
    found = {"verification": pair_metrics.verification(test, chosen, asked.operating)}
    found["verification_all_pairs"] = _all_pairs(samples, chosen, asked)
    if cohort is not None:
        found["verification_normalised"] = _normalised(samples, val, test, asked, cohort)
    found["calibration"] = pair_metrics.probabilities(test, chosen)
    found |= _of_classes(samples, asked)
    if tasks:
        ids, vectors = samples.frame["id"].tolist(), samples.embeddings
        with named("evaluate.tasks"):
            found["oneshot_tasks"] = class_metrics.from_result(
                oneshot.evaluate_tasks(vectors, ids, tasks, distance=samples.distance)
            )
    # Without classes a group is what pairs join, which is no kind of sample.
    grouped = any(group is not None for group in samples.classed("test").groups)
    columns = dict.fromkeys([*(["group"] if grouped else []), *asked.slices])
    if columns:
        with named("evaluate.slices"):
            found["slices"] = pair_metrics.by_group(samples, test, chosen.threshold, list(columns))
    return found


def _all_pairs(samples: Samples, chosen: Decisions, asked: Asked) -> Section:
    test = samples.classed("test")
    rates = ["eer", "eer_plain", "auc", *(f"tar_at_far_{percent_name(far)}" for far in asked.fars)]
    figures = [*rates, *(f"min_dcf_{name}" for name in asked.costs), "false_accept_rate", "false_reject_rate"]
    keys = [f"{name}{end}" for name in figures for end in ("", "_low", "_high")]
    return _measured(test, keys, lambda: pair_metrics.over_all_pairs(test, chosen.threshold, asked.operating))


def _normalised(samples: Samples, val: Trials, test: Trials, asked: Asked, cohort: Classed) -> Section:
    with named("evaluate.normalisation"):
        return pair_metrics.normalised(
            samples,
            val,
            test,
            cohort=cohort,
            method=asked.normalisation,
            top=asked.cohort_top,
            rule=rules(asked.fars, asked.costs)[asked.threshold],
            at=asked.operating,
        )


def _of_classes(samples: Samples, asked: Asked) -> dict[str, Section]:
    """Return the sections that need classes."""
    val, test, distance, seed = samples.classed("val"), samples.classed("test"), samples.distance, asked.seed

    def drawn(*, within: bool, mode: oneshot.Mode = "nearest") -> Section:
        asks = {"ways": asked.ways, "shots": asked.shots, "count": asked.episodes, "seed": seed}
        return class_metrics.episodes(test, distance=distance, within=within, mode=mode, **asks)

    def open_set() -> Section:
        share, shots = asked.enrolled, asked.shots
        return class_metrics.open_set(
            val, test, distance=distance, fars=asked.fars, share=share, shots=shots, seed=seed
        )

    within = asked.within == "group"
    cuts = [f"{name}_at_{cut}" for name in ("recall", "precision", "ndcg") for cut in asked.k]
    rates = [
        f"{name}_at_far_{percent_name(far)}" for far in asked.fars for name in ("detection_rate", "false_alarm_rate")
    ]
    found = {
        "retrieval": _measured(
            test, [*cuts, "map_at_r", "r_precision"], lambda: class_metrics.nearest(test, asked.k, distance=distance)
        ),
        "oneshot": _measured(test, ACCURACY, lambda: drawn(within=within)),
    }
    if asked.shots > 1:
        # The prototype of a single example is that example.
        found["oneshot_prototypes"] = _measured(test, ACCURACY, lambda: drawn(within=within, mode="prototype"))
    if not within and all(group is not None for group in test.groups) and len(test.groups):
        found["oneshot_within_groups"] = _measured(test, ACCURACY, lambda: drawn(within=True))
    found["openset"] = _measured(test, ["identification_rate", *rates], open_set)
    found["clustering"] = _measured(
        test, ["nmi", "ari", "purity"], lambda: class_metrics.clusters(test, distance=distance, seed=seed)
    )
    return found


def _measured(samples: Classed, keys: Sequence[str], section: Callable[[], Section]) -> Section:
    """Return a section, or its figures as None with a protocol that says why."""
    try:
        if not len(samples.labels):
            raise TooFewError("no test sample has a class")
        return section()
    except TooFewError as error:
        return {"protocol": f"not measured: {error}", **dict.fromkeys(keys)}


ACCURACY = ("accuracy", "accuracy_low", "accuracy_high")

"""Figures that a ROC gives, each of which knows which way is better and whether so many trials can show it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from likewise.evaluation.curves import Roc


def _always(_roc: Roc) -> bool:
    return True


@dataclass(frozen=True)
class Measure:
    """One figure of a ROC.

    Attributes:
        of: the figure; it answers for every ROC.
        larger_is_better: whether a model with a larger figure is the better one.
        shown_by: whether the trials are enough to show it.
    """

    of: Callable[[Roc], float]
    larger_is_better: bool
    shown_by: Callable[[Roc], bool] = _always

    def value(self, roc: Roc) -> float | None:
        """Return the figure, or None where it is not measurable with so few trials."""
        return self.of(roc) if self.shown_by(roc) else None

    def better(self, one: float, other: float) -> bool:
        """Tell whether one value is better than another; equal values are not."""
        return one > other if self.larger_is_better else one < other


def tar_at_far(far: float) -> Measure:
    """Return the true-accept rate at a false-accept rate of at most `far`, as `Roc.tar_at_far` defines it.

    Raises:
        ValueError: when asked of a ROC, for a rate outside 0 < far <= 1.

    >>> from likewise.evaluation.verification import roc_from_trials
    >>> roc = roc_from_trials([0.9, 0.8, 0.3, 0.1], [1, 0, 1, 0])
    >>> tar_at_far(0.5).value(roc), tar_at_far(0.01).value(roc), tar_at_far(0.01).of(roc)
    (1.0, None, 0.5)
    """
    return Measure(
        of=lambda roc: float(roc.tar[roc.vertex(roc.threshold_at_far(far))]),
        larger_is_better=True,
        shown_by=lambda roc: roc.tar_at_far(far) is not None,
    )


def min_dcf(costs: Mapping[str, float]) -> Measure:
    """Return the least detection cost at a prior and costs, as `Roc.min_dcf` takes them."""
    return Measure(of=lambda roc: roc.min_dcf(**costs), larger_is_better=False)


def dcf(threshold: float, costs: Mapping[str, float]) -> Measure:
    """Return the detection cost at a threshold, on the scale of `min_dcf`.

    >>> from likewise.evaluation.verification import roc_from_trials
    >>> roc = roc_from_trials([0.9, 0.8, 0.3, 0.1], [1, 0, 1, 0])
    >>> even = {"prior": 0.5, "cost_miss": 1.0, "cost_false_accept": 1.0}
    >>> dcf(0.8, even).value(roc), min_dcf(even).value(roc)
    (1.0, 0.5)
    """
    return Measure(of=lambda roc: float(roc.dcf(**costs)[roc.vertex(threshold)]), larger_is_better=False)


def accuracy(threshold: float) -> Measure:
    """Return the share of trials answered rightly at a threshold."""
    return Measure(of=lambda roc: roc.accuracy(threshold), larger_is_better=True)


def false_accept_rate(threshold: float) -> Measure:
    """Return the share of impostors accepted at a threshold.

    >>> from likewise.evaluation.verification import roc_from_trials
    >>> roc = roc_from_trials([0.9, 0.8, 0.3, 0.1], [1, 0, 1, 0])
    >>> [build(0.8).value(roc) for build in (accuracy, false_accept_rate, false_reject_rate)]
    [0.5, 0.5, 0.5]
    """
    return Measure(of=lambda roc: float(roc.far[roc.vertex(threshold)]), larger_is_better=False)


def false_reject_rate(threshold: float) -> Measure:
    """Return the share of genuine trials rejected at a threshold."""
    return Measure(of=lambda roc: float(roc.frr[roc.vertex(threshold)]), larger_is_better=False)


def percent_name(share: float) -> str:
    """Return how a share is named in keys.

    >>> percent_name(0.1), percent_name(0.001), percent_name(1e-7)
    ('10_percent', '0_1_percent', '0_00001_percent')
    """
    return f"{share * 100:.10f}".rstrip("0").rstrip(".").replace(".", "_") + "_percent"


MEASURES: dict[str, Measure] = {
    "eer": Measure(of=lambda roc: roc.eer, larger_is_better=False),
    "eer_plain": Measure(of=lambda roc: roc.eer_plain, larger_is_better=False),
    "auc": Measure(of=lambda roc: roc.auc, larger_is_better=True),
    "min_dcf": Measure(of=lambda roc: roc.min_dcf(), larger_is_better=False),
    "min_cllr": Measure(of=lambda roc: roc.min_cllr, larger_is_better=False),
}

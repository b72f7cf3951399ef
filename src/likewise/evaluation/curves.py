"""The ROC of a set of trials as exact counts, and every figure that follows from it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

# Forgives the rounding of a product such as 0.001 * 1000; far smaller than one trial.
SLACK = 1e-9


@dataclass(frozen=True, eq=False)
class Roc:
    """The operating points of a score, from "accept nothing" to "accept everything", as whole counts.

    A trial is accepted when its score is at least the threshold. Trials with one score are accepted together,
    so ties are one sloping step and never an order of lines.

    Attributes:
        thresholds: (vertices,) falling; the first is +inf and accepts nothing.
        below: (vertices,) the highest score under each threshold; -inf where there is none.
        false_accepts: (vertices,) impostor trials accepted at each threshold.
        true_accepts: (vertices,) genuine trials accepted at each threshold.
    """

    thresholds: Floats
    below: Floats
    false_accepts: Counts
    true_accepts: Counts

    @property
    def genuine(self) -> int:
        """How many genuine trials there are."""
        return int(self.true_accepts[-1])

    @property
    def impostors(self) -> int:
        """How many impostor trials there are."""
        return int(self.false_accepts[-1])

    @cached_property
    def far(self) -> Floats:
        """(vertices,) false-accept rate: the share of impostors accepted."""
        return self.false_accepts / self.impostors

    @cached_property
    def tar(self) -> Floats:
        """(vertices,) true-accept rate: the share of genuine trials accepted."""
        return self.true_accepts / self.genuine

    @cached_property
    def frr(self) -> Floats:
        """(vertices,) false-reject rate, 1 - TAR, from counts."""
        return (self.genuine - self.true_accepts) / self.genuine

    @cached_property
    def auc(self) -> float:
        """The area under the ROC: P(genuine > impostor) + P(genuine = impostor) / 2, in whole numbers.

        Mann and Whitney, "On a test of whether one of two random variables is stochastically larger", 1947.
        """
        widths = np.diff(self.false_accepts)
        heights = self.true_accepts[1:] + self.true_accepts[:-1]
        return int(np.dot(widths, heights)) / (2 * self.genuine * self.impostors)

    @cached_property
    def eer(self) -> float:
        """The equal error rate on the ROC's convex hull, where FAR = FRR.

        The hull is what drawing at random between two thresholds reaches; it does not depend on how coarse
        the scores are (Fawcett and Niculescu-Mizil, "PAV and the ROC convex hull", 2007; BOSARIS).
        """
        hull = self.hull
        return _crossing(self.far[hull], self.frr[hull])

    @cached_property
    def eer_plain(self) -> float:
        """The equal error rate on the ROC itself, straight lines between its vertices."""
        return _crossing(self.far, self.frr)

    @cached_property
    def hull(self) -> NDArray[np.intp]:
        """The indices of the vertices that span the ROC's upper convex hull, first and last included.

        Pooling adjacent violators over the steps' slopes gives the hull in linear time (Fawcett and
        Niculescu-Mizil, 2007).
        """
        from scipy.optimize import isotonic_regression

        genuine, trials = np.diff(self.true_accepts), np.diff(self.true_accepts + self.false_accepts)
        pooled = isotonic_regression(genuine / trials, weights=trials, increasing=False)
        return np.asarray(pooled.blocks, dtype=np.intp)

    @cached_property
    def min_cllr(self) -> float:
        """The cost of log-likelihood ratios after the best monotone map of the score, in bits.

        The slopes of the hull are those ratios (Brümmer and du Preez, "Application-independent evaluation of
        speaker detection", 2006).
        """
        from scipy.special import rel_entr

        genuine, impostors = np.diff(self.tar[self.hull]), np.diff(self.far[self.hull])
        both = genuine + impostors
        return float(-(rel_entr(genuine, both).sum() + rel_entr(impostors, both).sum()) / (2 * np.log(2)))

    @property
    def least_far(self) -> float:
        """The smallest false-accept rate above nought that this many impostors can show, 1 / impostors."""
        return 1 / self.impostors

    def tar_at_far(self, far: float) -> float | None:
        """Return the largest true-accept rate whose false-accept rate is at most `far`, an exact step.

        None, "not measurable", where fewer than 1 / `far` impostors were tried: see `least_far`.
        """
        if far * self.impostors < 1 - SLACK:
            _check_rate(far)
            return None
        return float(self.tar[self._at_far(far)])

    def threshold_at_far(self, far: float) -> float:
        """Return the lowest threshold with a false-accept rate up to `far`, midway to the next score below.

        Unlike `tar_at_far` it answers for every rate: where none of the trials may be accepted falsely it is
        the threshold above the highest impostor.
        """
        return self._midway(self._at_far(far))

    @cached_property
    def eer_threshold(self) -> float:
        """The threshold where FAR and FRR are nearest.

        Among equals the one with fewer errors, then the strictest.
        """
        gap = np.abs(self.far - self.frr)
        best = np.lexsort((np.arange(gap.size), self.far + self.frr, gap))[0]
        return self._midway(int(best))

    def best_threshold(self) -> float:
        """Return the threshold of the highest accuracy (the strictest of equals), midway to the next score."""
        return self._midway(int(np.argmax(self._right)))

    def accuracy(self, threshold: float) -> float:
        """Return the share of trials answered rightly when scores of at least `threshold` are accepted.

        Raises ValueError where `threshold` falls between two genuine scores and the impostors there were not
        kept apart: give it to `roc_all_pairs(thresholds=...)`.
        """
        return int(self._right[self.vertex(threshold)]) / (self.genuine + self.impostors)

    def min_dcf(self, *, prior: float = 0.01, cost_miss: float = 1.0, cost_false_accept: float = 1.0) -> float:
        """Return the least detection cost over all thresholds, as a share of the cost of one answer to all.

        min over t of (prior cost_miss FRR(t) + (1 - prior) cost_false_accept FAR(t)), divided by
        min(prior cost_miss, (1 - prior) cost_false_accept); NIST, Speaker Recognition Evaluation Plan, 2016.
        """
        return float(self.dcf(prior=prior, cost_miss=cost_miss, cost_false_accept=cost_false_accept).min())

    def dcf(self, *, prior: float = 0.01, cost_miss: float = 1.0, cost_false_accept: float = 1.0) -> Floats:
        """Return (vertices,) the detection cost at each threshold, as a share of the cost of one answer to all."""
        miss, accept = cost_weights(prior, cost_miss, cost_false_accept)
        cost: Floats = (miss * self.frr + accept * self.far) / min(miss, accept)
        return cost

    def cost_threshold(self, *, prior: float, cost_miss: float = 1.0, cost_false_accept: float = 1.0) -> float:
        """Return the threshold of the least detection cost (see `min_dcf`); the strictest among equals."""
        cost = self.dcf(prior=prior, cost_miss=cost_miss, cost_false_accept=cost_false_accept)
        return self._midway(int(np.argmin(cost)))

    def vertex(self, threshold: float) -> int:
        """Return the index of the operating point that `threshold` stands for."""
        if np.isnan(threshold):
            raise ValueError("a threshold must be a number, not NaN")
        index = int(np.searchsorted(-self.thresholds, -threshold, side="right")) - 1
        if threshold <= self.below[index]:
            raise ValueError(
                f"the errors at threshold {threshold} were not counted over all pairs; "
                f"ask for them with roc_all_pairs(..., thresholds=[{threshold}])"
            )
        return index

    @cached_property
    def _right(self) -> Counts:
        return self.true_accepts + self.impostors - self.false_accepts

    def _at_far(self, far: float) -> int:
        """Return the last vertex that accepts at most `far` of the impostors."""
        _check_rate(far)
        allowed = np.floor(far * self.impostors + SLACK)
        return int(np.searchsorted(self.false_accepts, allowed, side="right")) - 1

    def _midway(self, index: int) -> float:
        """Return a threshold that accepts just what vertex `index` does, halfway to the next score below.

        In single precision where that can tell them apart, so that scores kept in it compare the same way.
        """
        above, below = float(self.thresholds[index]), float(self.below[index])
        if np.isinf(above):
            return float(np.nextafter(np.float32(below), np.float32(np.inf)))
        if np.isinf(below):
            return above
        middle = float(np.float32(above / 2 + below / 2))
        return middle if below < middle <= above else above


def cost_weights(prior: float, cost_miss: float, cost_false_accept: float) -> tuple[float, float]:
    """Return what a missed genuine trial and a falsely accepted impostor weigh at this prior, checked."""
    if not 0 < prior < 1:
        raise ValueError(f"prior is the probability of a genuine trial, between 0 and 1, not {prior}")
    if not (0 < cost_miss < np.inf and 0 < cost_false_accept < np.inf):
        raise ValueError(f"costs must be above 0 and finite, not {cost_miss} and {cost_false_accept}")
    return prior * cost_miss, (1 - prior) * cost_false_accept


def _check_rate(far: float) -> None:
    if not 0 < far <= 1:
        raise ValueError(f"a false-accept rate lies above 0 and up to 1, not at {far}")


def _crossing(far: Floats, frr: Floats) -> float:
    """Where the broken line from (0, 1) to (1, 0) meets FAR = FRR."""
    last = int(np.argmax(far >= frr))
    before, after = frr[last - 1] - far[last - 1], far[last] - frr[last]
    share = before / (before + after)
    return float(far[last - 1] + share * (far[last] - far[last - 1]))

"""The score from which the answer is "same": chosen by a rule, and it knows which distance and split it belongs to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from likewise.choices import one_of
from likewise.evaluation.checks import OfDistance, TooFewError, Values
from likewise.evaluation.curves import Roc
from likewise.evaluation.verification import roc_from_trials

Costs = Mapping[str, float]
"""`prior`, `cost_miss` and `cost_false_accept`, as `Roc.min_dcf` takes them."""


@dataclass(frozen=True)
class Threshold(OfDistance):
    """The score from which the answer is "same", with where it came from and what it cost there.

    Attributes:
        value: the score; trials with at least this much are accepted.
        rule: how it was chosen, a name in `RULES`.
        distance: the name of the distance whose scores it is compared with.
        split: the samples it was chosen on.
        target_far: the false-accept rate asked for, with the rule "far".
        far: the false-accept rate on `split`.
        frr: the false-reject rate on `split`.
        accuracy: the share of right answers on `split`.
        genuine: how many genuine trials it was chosen on.
        impostors: how many impostor trials.
        costs: prior and costs asked for, with the rule "cost".
        low: the lower end of its 95 % interval over the classes of `split`; None where they are too few to say.
        high: the upper end.
    """

    called = "threshold"

    value: float
    rule: str
    distance: str
    split: str
    target_far: float | None
    far: float
    frr: float
    accuracy: float
    genuine: int
    impostors: int
    costs: dict[str, float] | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Rule:
    """What a threshold is to do.

    Attributes:
        name: a name in `RULES`.
        far: the false-accept rate for "far", else None.
        costs: prior and costs for "cost", else None.
    """

    name: str
    far: float | None = None
    costs: Costs | None = None

    def __post_init__(self) -> None:
        one_of("rule", self.name, RULES)
        for key in ("far", "costs"):
            if (getattr(self, key) is None) == (key == NEEDS.get(self.name)):
                need = "needs" if NEEDS.get(self.name) == key else "takes no"
                raise ValueError(f"the rule {self.name!r} {need} {key!r}; given: {getattr(self, key)}")

    def value(self, roc: Roc) -> float:
        """Return the threshold on these trials, also where they are too few to show the rate asked for."""
        return RULES[self.name](roc, self)

    def check(self, roc: Roc) -> None:
        """Raise TooFewError when the trials are too few to show the false-accept rate asked for."""
        if self.far is not None and roc.tar_at_far(self.far) is None:
            raise TooFewError(too_few_impostors(roc, self.far))


def choose_threshold(
    scores: Values, same: Values, rule: Rule | str = "accuracy", *, distance: str, split: str
) -> Threshold:
    """Choose the score from which the answer is "same"; it has no interval, see `decisions`.

    Args:
        scores: (trials,) larger is more alike.
        same: (trials,) 1 for a genuine trial, 0 for an impostor.
        rule: "accuracy" (most right answers), "eer" (as many false accepts as rejects), or a `Rule`.
        distance: the name of the distance that gave the scores.
        split: the name of the samples they were computed on.

    Raises:
        TooFewError: for a FAR finer than the impostors can show, or trials of one kind only.
        ValueError: for an unknown rule, one without its rate or costs, or NaN scores.

    >>> chosen = choose_threshold([0.9, 0.7, 0.4, 0.2], [1, 1, 0, 0], distance="cosine", split="val")
    >>> round(chosen.value, 6), chosen.accuracy
    (0.55, 1.0)
    >>> choose_threshold([0.9, 0.7, 0.4, 0.2], [1, 0, 1, 0], Rule("far", 0.5), distance="cosine", split="val").frr
    0.0
    """
    rule = Rule(rule) if isinstance(rule, str) else rule
    return on_roc(roc_from_trials(scores, same), rule, distance=distance, split=split)


def on_roc(roc: Roc, rule: Rule, *, distance: str, split: str) -> Threshold:
    """Choose as `choose_threshold` does, on trials whose ROC is there already."""
    rule.check(roc)
    value = rule.value(roc)
    vertex = roc.vertex(value)
    return Threshold(
        value=value,
        rule=rule.name,
        distance=distance,
        split=split,
        target_far=rule.far,
        far=float(roc.far[vertex]),
        frr=float(roc.frr[vertex]),
        accuracy=roc.accuracy(value),
        genuine=roc.genuine,
        impostors=roc.impostors,
        costs=None if rule.costs is None else dict(rule.costs),
    )


def too_few_impostors(roc: Roc, far: float) -> str:
    """Return in words that so few impostors cannot show a false-accept rate, and the least that they can."""
    return (
        f"{roc.impostors} impostor trials cannot show a false-accept rate of {far:g}; "
        f"the least they can is {roc.least_far:.2g}"
    )


RULES: dict[str, Callable[[Roc, Rule], float]] = {
    "accuracy": lambda roc, _rule: roc.best_threshold(),
    "eer": lambda roc, _rule: roc.eer_threshold,
    "far": lambda roc, rule: roc.threshold_at_far(rule.far or 0.0),
    "cost": lambda roc, rule: roc.cost_threshold(**(rule.costs or {})),
}
NEEDS = {"far": "far", "cost": "costs"}
"""What a rule is told besides its name."""

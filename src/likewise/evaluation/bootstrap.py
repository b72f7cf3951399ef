"""How far a verification figure may be off for other classes, and whether one model beats another.

Trials share classes, so they are not independent, and an interval that draws trials is too narrow. The classes are
what was drawn at random, so classes are drawn again, with replacement. A class drawn m times stands for m classes
that happen to be alike, and a trial counts as often as those classes would give it:

    a trial with both sides of class c       w_c times
    a trial between classes c and d          w_c w_d times

where w_c is how often c was drawn. Copies of one class are not compared with each other, since no such trial was
scored. This is the vertex bootstrap: Snijders and Borgatti, "Non-parametric standard errors and tests for network
statistics", 1999. For genuine trials it is the subsets bootstrap of Bolle, Ratha and Pankanti, "Error analysis of
pattern recognition systems: the subsets bootstrap", 2004; for impostors theirs draws one side alone and comes out
too narrow. Fogliato, Patil and Perona, "Confidence intervals for error rates in 1:1 matching tasks", 2024, compare
them.

Where each class meets few others the intervals are too wide, on the safe side: the product triples that part of an
impostor rate's variance that belongs to single trials (Owen, "The pigeonhole bootstrap", 2007).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from likewise.evaluation.checks import Labels, TooFewError, Values, as_codes, as_trials
from likewise.evaluation.curves import SLACK, Counts, Floats, Roc
from likewise.evaluation.measures import Measure

# With more resamples than this share lacking a kind of trial, the others speak for too few classes.
LOST = 0.05


class TooFewClassesError(TooFewError):
    """The trials are sound, but of too few classes to tell how other classes would do."""


@dataclass(frozen=True)
class Interval:
    """A figure and its interval.

    Attributes:
        value: the figure on the trials themselves.
        low: the lower end.
        high: the upper end.
        level: the share of resamples between the ends.
        resamples: how many resamples the ends come from.
        classes: how many classes were drawn from.
    """

    value: float
    low: float
    high: float
    level: float
    resamples: int
    classes: int


@dataclass(frozen=True)
class Comparison:
    """A figure of two models on the same trials.

    Attributes:
        first: the figure of the first model on the trials themselves.
        second: that of the second.
        difference: first less second, with its interval.
        first_better: the share of resamples in which the first model is better.
        second_better: the share in which the second is; what the two leave of 1 are draws.
    """

    first: float
    second: float
    difference: Interval
    first_better: float
    second_better: float


def intervals(
    scores: Values,
    same: Values,
    left: Labels,
    right: Labels,
    measures: Mapping[str, Measure],
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int,
) -> dict[str, Interval | None]:
    """Return the percentile interval of each figure over resamples of the classes; None where it is not measurable.

    Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapter 13. Resamples without a genuine or
    without an impostor trial have no error rate and are left out. Neither the order of the trials matters nor
    which side is left. Where no resample holds an error the interval has no width: it cannot know of errors that
    none of the classes shows.

    Args:
        scores: (trials,) larger is more alike.
        same: (trials,) 1 for a genuine trial, 0 for an impostor.
        left: (trials,) the class of the left sample, or of whatever larger unit was drawn at random.
        right: (trials,) that of the right sample.
        measures: the figures by a name of the caller's; see `likewise.evaluation.measures`.
        resamples: how often the classes are drawn.
        level: the share of resamples between the ends.
        seed: of the draws.

    Raises:
        TooFewClassesError: for fewer than two classes, or so few that over 5 % of the resamples lack a kind of trial.
        ValueError: for trials that `roc_from_trials` refuses, genuine trials between two classes, or too few
            resamples for the level.

    >>> from likewise.evaluation.measures import MEASURES
    >>> left = np.arange(60) % 20
    >>> right = left + np.repeat([0, 1, 2], 20)
    >>> scores = np.cos(np.arange(60)) + (left == right)
    >>> auc = intervals(scores, left == right, left, right, {"auc": MEASURES["auc"]}, seed=0)["auc"]
    >>> round(auc.value, 2), auc.low < auc.value < auc.high, auc.classes
    (0.83, True, 22)
    """
    draws = _Draws.build(same, left, right, resamples=resamples, level=level, seed=seed)
    spreads = draws.spreads([draws.sort(scores)], {name: (measure,) for name, measure in measures.items()})
    return {name: _interval(draws, *spreads[name].T) if name in spreads else None for name in measures}


def compare(
    first: Values,
    second: Values,
    same: Values,
    left: Labels,
    right: Labels,
    measures: Mapping[str, Measure | tuple[Measure, Measure]],
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int,
) -> dict[str, Comparison | None]:
    """Return how two models differ in each figure on the same trials; None where it is not measurable.

    Both are judged on the same resamples, so what is hard about a class counts against both, and the interval of
    the difference is narrower than two intervals side by side. The models need not share a scale of scores.

    Args:
        first: (trials,) scores of the first model, larger is more alike.
        second: (trials,) scores of the second.
        same: (trials,) 1 for a genuine trial, 0 for an impostor.
        left: (trials,) the class of the left sample, or of whatever larger unit was drawn at random.
        right: (trials,) that of the right sample.
        measures: the figures by name; two of them where each model has its own, as with its own threshold.
        resamples: how often the classes are drawn.
        level: the share of resamples between the ends.
        seed: of the draws.

    Raises:
        TooFewClassesError: as `intervals`.
        ValueError: as `intervals`, and where two measures of one name differ in which way is better.

    >>> from likewise.evaluation.measures import MEASURES
    >>> left = np.arange(60) % 20
    >>> right = left + np.repeat([0, 1, 2], 20)
    >>> same, scores = left == right, np.cos(np.arange(60))
    >>> auc = compare(scores + 3 * same, scores, same, left, right, {"auc": MEASURES["auc"]}, seed=0)["auc"]
    >>> auc.first, auc.difference.low > 0, auc.first_better, auc.second_better
    (1.0, True, 1.0, 0.0)
    """
    both = {name: each if isinstance(each, tuple) else (each, each) for name, each in measures.items()}
    _check_directions(both)
    draws = _Draws.build(same, left, right, resamples=resamples, level=level, seed=seed)
    spreads = draws.spreads([draws.sort(first), draws.sort(second)], both)
    return {name: _comparison(draws, both[name][0], spreads[name]) if name in spreads else None for name in measures}


@dataclass(frozen=True)
class _Sorted:
    """The trials of one model by falling score.

    Attributes:
        falling: (trials,) scores.
        genuine: (trials,) 1 for a genuine trial, 0 for an impostor.
        left: (trials,) the class of one side.
        right: (trials,) the class of the other side; where that is the same, the place of a constant 1.
    """

    falling: Floats
    genuine: Counts
    left: Counts
    right: Counts

    def roc(self, drawn: Counts) -> Roc:
        """Return the ROC of the trials repeated as often as their classes were drawn; `drawn` ends with a 1."""
        weights = drawn[self.left] * drawn[self.right]
        kept = np.flatnonzero(weights > 0)
        falling, weights = self.falling[kept], weights[kept]
        ends = np.flatnonzero(np.diff(falling, append=-np.inf))
        true = np.cumsum(weights * self.genuine[kept])[ends]
        false = np.cumsum(weights)[ends] - true
        return Roc(
            thresholds=np.concatenate(([np.inf], falling[ends])),
            below=np.concatenate((falling[ends], [-np.inf])),
            false_accepts=np.concatenate(([0], false)),
            true_accepts=np.concatenate(([0], true)),
        )


@dataclass(frozen=True)
class _Draws:
    """The classes of trials, to be drawn again and again.

    Attributes:
        same: (trials,) the answers.
        sides: (2, trials) the classes of both sides, as numbers from 0.
        classes: how many there are.
        resamples: how often they are drawn.
        level: the share of resamples between the ends of an interval.
        seed: of the draws.
    """

    same: Values
    sides: Counts
    classes: int
    resamples: int
    level: float
    seed: int

    @classmethod
    def build(cls, same: Values, left: Labels, right: Labels, *, resamples: int, level: float, seed: int) -> "_Draws":
        check_level(level, resamples)
        trials, names = len(same), [np.asarray(side) for side in (left, right)]
        for side in names:
            if side.shape != (trials,):
                raise ValueError(f"{trials} trials came with classes of shape {side.shape}; give one for each trial")
        sides = as_codes(np.concatenate(names), samples=2 * trials).reshape(2, trials)
        return cls(same, sides, int(sides.max(initial=-1)) + 1, resamples, level, seed)

    def sort(self, scores: Values) -> _Sorted:
        """Return the trials of one model by falling score.

        Raises:
            TooFewClassesError: for trials of one class.
            ValueError: for trials of one kind, or genuine trials between two classes.
        """
        score, genuine = as_trials(scores, self.same)
        if self.classes < 2:
            raise TooFewClassesError("all trials are of one class; a bootstrap over classes needs two at least")
        left, right = self.sides
        astray = int(np.count_nonzero(genuine & (left != right)))
        if astray:
            raise ValueError(f"{astray} genuine trials join two classes; a genuine trial has one class on both sides")
        order = np.argsort(-score)
        other = np.where(left == right, self.classes, right)
        return _Sorted(score[order], genuine[order].astype(np.int64), left[order], other[order])

    def spreads(self, models: Sequence[_Sorted], measures: Mapping[str, tuple[Measure, ...]]) -> dict[str, Floats]:
        """Return (1 + resamples, models) values of each measurable figure, those on the trials themselves first."""
        once = np.ones(self.classes + 1, dtype=np.int64)
        whole = [model.roc(once) for model in models]
        shown = {name: each for name, each in measures.items() if _shown(each, whole)}
        resampled = ([model.roc(drawn) for model in models] for drawn in self._drawn())
        rows = [_values(shown, rocs) for rocs in resampled if rocs[0].genuine and rocs[0].impostors]
        check_lost(self.resamples - len(rows), self.resamples, self.classes)
        table = np.array([_values(shown, whole), *rows])
        return {name: table[:, place] for place, name in enumerate(shown)}

    def _drawn(self) -> Iterator[Counts]:
        """Yield how often each class is drawn, and a 1 behind."""
        for drawn in draw(self.classes, self.resamples, self.seed):
            yield np.append(drawn, 1)


def draw(classes: int, resamples: int, seed: int) -> Iterator[Counts]:
    """Yield for each resample how often each class is drawn: (classes,) as many draws as classes, with replacement."""
    generator = np.random.Generator(np.random.Philox(seed))
    for _ in range(resamples):
        yield np.bincount(generator.integers(classes, size=classes), minlength=classes)


def check_lost(lost: int, resamples: int, classes: int) -> None:
    """Raise TooFewClassesError where more than 5 % of the resamples lack a kind of trial."""
    if lost > LOST * resamples:
        raise TooFewClassesError(
            f"{lost} of the {resamples} resamples of the {classes} classes hold no genuine or no impostor trial; "
            "an interval needs trials of more classes"
        )


def percentile_interval(value: float, resampled: Floats, *, level: float, classes: int) -> Interval:
    """Return a figure with the quantiles of its values in resamples."""
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), level, resampled.size, classes)


def _values(measures: Mapping[str, tuple[Measure, ...]], rocs: Sequence[Roc]) -> list[list[float]]:
    return [[measure.of(roc) for measure, roc in zip(each, rocs, strict=True)] for each in measures.values()]


def _shown(measures: tuple[Measure, ...], rocs: Sequence[Roc]) -> bool:
    return all(measure.shown_by(roc) for measure, roc in zip(measures, rocs, strict=True))


def _interval(draws: _Draws, values: Floats) -> Interval:
    """Return the interval of a figure: its value on the trials, and those in resamples."""
    return percentile_interval(float(values[0]), values[1:], level=draws.level, classes=draws.classes)


def _comparison(draws: _Draws, measure: Measure, spread: Floats) -> Comparison:
    first, second = spread.T
    lead = (first - second)[1:] * (1 if measure.larger_is_better else -1)
    return Comparison(
        first=float(first[0]),
        second=float(second[0]),
        difference=_interval(draws, first - second),
        first_better=float(np.mean(lead > 0)),
        second_better=float(np.mean(lead < 0)),
    )


def check_level(level: float, resamples: int) -> None:
    """Raise ValueError for a level that is none, or that so few resamples cannot show."""
    if not 0 < level < 1:
        raise ValueError(f"level is the share of resamples inside the interval, between 0 and 1, not {level}")
    if resamples * (1 - level) / 2 < 1 - SLACK:
        least = int(np.ceil(2 / (1 - level) - SLACK))
        raise ValueError(f"{resamples} resamples cannot show an interval at level {level}; it takes at least {least}")


def _check_directions(measures: Mapping[str, tuple[Measure, Measure]]) -> None:
    for name, (first, second) in measures.items():
        if first.larger_is_better != second.larger_is_better:
            raise ValueError(f"the two measures called {name!r} differ in which way is better; compare like with like")

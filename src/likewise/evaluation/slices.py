"""Which speaker, writer or alphabet does the model serve worst? Verification figures by group."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from likewise.choices import choose
from likewise.evaluation.checks import Labels, Values, as_trials
from likewise.evaluation.measures import Measure
from likewise.evaluation.verification import roc_from_trials

Flags = NDArray[np.bool_]
Names = NDArray[np.generic]

LEAST = 20
"""A group with fewer trials of either kind is not measured."""


@dataclass(frozen=True)
class Group:
    """The figures of one group.

    Attributes:
        genuine: how many genuine trials it has.
        impostors: how many impostor trials.
        values: each figure; None where so few trials cannot show it.
    """

    genuine: int
    impostors: int
    values: dict[str, float | None]


@dataclass(frozen=True)
class Slices:
    """The figures of all groups, and how far apart they are.

    Attributes:
        groups: by the group's name.
        not_measurable: the genuine and impostor trials of each group that has too few of either.
        worst: for each figure the group where it is worst, the first by name among equals; None without any.
        gap: for each figure how far the worst group is from the best; None with fewer than two groups.
        across: how many trials have sides of two groups: "within" leaves them out, "touching" counts them in both.
        unnamed: how many trials were left out since a side has no group.
    """

    groups: dict[str, Group]
    not_measurable: dict[str, tuple[int, int]]
    worst: dict[str, str | None]
    gap: dict[str, float | None]
    across: int
    unnamed: int


def evaluate(
    scores: Values,
    same: Values,
    left: Labels,
    right: Labels,
    measures: Mapping[str, Measure],
    *,
    trials: str = "within",
    least: int = LEAST,
) -> Slices:
    """Return each figure over the trials of each group.

    The worst of many groups looks worse than it is, as the best looks better: with n trials of a kind an error
    rate has a standard error of up to 1 / (2 sqrt(n)).

    Args:
        scores: (trials,) larger is more alike.
        same: (trials,) 1 for a genuine trial, 0 for an impostor.
        left: (trials,) the group of the left sample; None or NaN where it has none.
        right: (trials,) the group of the right sample.
        measures: the figures by a name of the caller's; see `likewise.evaluation.measures`.
        trials: "within" takes the trials with both sides in the group; "touching" those with either side in it, for
            groups that are classes themselves and have no impostors within.
        least: a group with fewer genuine or fewer impostor trials is not measured, but listed.

    Raises:
        ValueError: for trials that `roc_from_trials` refuses, groups of another length, an unknown kind of trials.

    >>> from likewise.evaluation.measures import MEASURES
    >>> scores, same = [0.9, 0.1, 0.3, 0.6, 0.8, 0.2], [1, 0, 1, 0, 1, 0]
    >>> left, right = ["Greek", "Greek", "Tifinagh", "Tifinagh", "Latin", "Latin"], ["Greek"] * 2 + ["Tifinagh"] * 4
    >>> found = evaluate(scores, same, left, right, {"auc": MEASURES["auc"]}, least=1)
    >>> {name: group.values for name, group in found.groups.items()}
    {'Greek': {'auc': 1.0}, 'Tifinagh': {'auc': 0.0}}
    >>> found.worst, found.gap, found.across
    ({'auc': 'Tifinagh'}, {'auc': 1.0}, 2)
    """
    belongs = choose("kind of trials", trials, TRIALS)
    score, genuine = as_trials(scores, same)
    sides = [_as_groups(side, trials=score.size) for side in (left, right)]
    named = ~(pd.isna(sides[0]) | pd.isna(sides[1]))
    score, genuine, one, other = score[named], genuine[named], sides[0][named], sides[1][named]
    groups: dict[str, Group] = {}
    small: dict[str, tuple[int, int]] = {}
    for name in np.unique(np.concatenate((one, other))):
        own = belongs(one == name, other == name)
        counts = int(genuine[own].sum()), int((~genuine[own]).sum())
        if min(counts) >= max(1, least):
            roc = roc_from_trials(score[own], genuine[own])
            groups[str(name)] = Group(*counts, {key: measure.value(roc) for key, measure in measures.items()})
        else:
            small[str(name)] = counts
    ranked = {key: _ranked(groups, key, measure) for key, measure in measures.items()}
    return Slices(
        groups=groups,
        not_measurable=small,
        worst={key: order[0][1] if order else None for key, order in ranked.items()},
        gap={key: abs(order[-1][0] - order[0][0]) if len(order) > 1 else None for key, order in ranked.items()},
        across=int(np.count_nonzero(one != other)),
        unnamed=int(np.count_nonzero(~named)),
    )


def _ranked(groups: Mapping[str, Group], key: str, measure: Measure) -> list[tuple[float, str]]:
    """Return the groups that show a figure with its value, the worst first, equal ones by name."""
    values = [(group.values[key], name) for name, group in groups.items()]
    sign = 1 if measure.larger_is_better else -1
    return sorted(((value, name) for value, name in values if value is not None), key=lambda e: (sign * e[0], e[1]))


def _as_groups(groups: Labels, *, trials: int) -> Names:
    names = np.asarray(groups)
    if names.shape != (trials,):
        raise ValueError(f"{trials} scores came with groups of shape {names.shape}; give one for each trial")
    return names


TRIALS: dict[str, Callable[[Flags, Flags], Flags]] = {
    "within": np.logical_and,
    "touching": np.logical_or,
}

"""What went wrong: every false accept and false reject, and the trials that look most like the other kind."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from likewise.evaluation.checks import Values, as_trials
from likewise.evaluation.portraits import Portrait
from likewise.evaluation.report import Example, Side
from likewise.evaluation.trials import Samples, Trials

Rows = NDArray[np.intp]


def hardest(scores: Values, same: Values, *, count: int) -> tuple[Rows, Rows]:
    """Return the indices of the impostors that score highest and of the genuine trials that score lowest.

    Among equal scores the trial that stands first comes first.

    >>> hardest([0.9, 0.8, 0.2, 0.1], [1, 0, 1, 0], count=1)
    (array([1]), array([2]))
    """
    score, genuine = as_trials(scores, same)
    impostors, mates = np.flatnonzero(~genuine), np.flatnonzero(genuine)
    highest = impostors[np.argsort(-score[impostors], kind="stable")[:count]]
    lowest = mates[np.argsort(score[mates], kind="stable")[:count]]
    return highest, lowest


def examples(
    samples: Samples, trials: Trials, *, count: int, portrait: Callable[[int], Portrait]
) -> tuple[list[Example], list[Example]]:
    """Return the hardest impostors and the hardest genuine trials, to look at.

    Args:
        samples: those of the trials.
        trials: the trials.
        count: at most so many of each.
        portrait: the picture or the words of a sample, by its row.
    """

    def side(row: int) -> Side:
        sample = samples.frame.iloc[row]
        return Side(sample["id"], label(sample), *portrait(row))

    def shown(places: Rows) -> list[Example]:
        rows = zip(trials.left[places].tolist(), trials.right[places].tolist(), strict=True)
        scores = trials.scores[places].tolist()
        return [Example(side(left), side(right), score) for (left, right), score in zip(rows, scores, strict=True)]

    impostors, genuine = hardest(trials.scores, trials.same, count=count)
    return shown(impostors), shown(genuine)


def label(sample: pd.Series[str]) -> str | None:
    """Return what a person calls a sample: its class, or that it is a forgery; None where it has no class."""
    if pd.notna(sample["forges"]):
        return f"{sample['forges']}, forged"
    return None if pd.isna(sample["class"]) else str(sample["class"])


def errors(samples: Samples, trials: Trials, threshold: float) -> pd.DataFrame:
    """Return every false accept and false reject, the worst first: error, left, right, their classes, score."""
    accepted, genuine = trials.scores >= threshold, trials.same == 1
    wrong = np.flatnonzero(accepted != genuine)
    left, right = samples.frame.iloc[trials.left[wrong]], samples.frame.iloc[trials.right[wrong]]
    frame = pd.DataFrame(
        {
            "error": np.where(accepted[wrong], "false accept", "false reject"),
            "left": left["id"].to_numpy(),
            "right": right["id"].to_numpy(),
            "left_class": left["class"].to_numpy(),
            "right_class": right["class"].to_numpy(),
            "score": trials.scores[wrong].astype(np.float64),
        }
    )
    order = (frame["score"] - threshold).abs().sort_values(ascending=False, kind="stable").index
    return frame.loc[order].sort_values("error", kind="stable").reset_index(drop=True)

"""What a model decides by: its threshold and calibration, and the thresholds of other rates that came with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isclose
from typing import Any, Self

from likewise.evaluation.acceptance import Acceptance
from likewise.evaluation.calibration import Calibration
from likewise.evaluation.thresholds import Threshold

USUAL_RATE = 0.01
"""The false-alarm rate of identification where none is asked for: the stored one that is nearest to it."""


@dataclass(frozen=True)
class Judgement:
    """Thresholds and calibration of one distance.

    Attributes:
        threshold: the one that the model carries.
        calibration: from score to probability.
        by_rate: thresholds of verification by the false-accept rate that they were chosen for.
        acceptance: those of identification; None where the data could not show them.
    """

    threshold: Threshold
    calibration: Calibration
    by_rate: Mapping[float, Threshold] = field(default_factory=dict)
    acceptance: Acceptance | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return what `calibration.json` holds.

        Raises:
            ValueError: when a part of it is not what it should be.
        """
        stored = (Threshold.from_dict(each) for each in values.get("thresholds", {}).values() if each is not None)
        accepted = values.get("open_set")
        return cls(
            threshold=Threshold.from_dict(values["threshold"]),
            calibration=Calibration.from_dict(values["probability"]),
            by_rate={each.target_far: each for each in stored if each.target_far is not None},
            acceptance=None if accepted is None else Acceptance.from_dict(accepted),
        )

    def check(self, distance: str) -> None:
        """Raise ValueError when a part belongs to another distance."""
        self.threshold.check(distance)
        self.calibration.check(distance)
        for each in self.by_rate.values():
            each.check(distance)
        if self.acceptance is not None:
            self.acceptance.check(distance)

    def same_from(self, far: float | None = None) -> float:
        """Return the score from which two samples are the same: the model's own, or that of a stored rate.

        Raises:
            ValueError: when no threshold is stored for this rate; lists the stored ones.
        """
        return self.threshold.value if far is None else self.by_rate[_stored(far, self.by_rate)].value

    def known_from(self, far: float | None = None) -> float:
        """Return the score from which a probe is somebody enrolled.

        It is the open-set threshold of the rate, or of the stored one nearest to `USUAL_RATE`. A model without any
        takes those of verification, as `same_from` does.

        Raises:
            ValueError: when no threshold is stored for this rate; lists the stored ones.
        """
        if self.acceptance is None:
            return self.same_from(far)
        known = dict(zip(self.acceptance.fars, self.acceptance.thresholds, strict=True))
        return known[_usual(known) if far is None else _stored(far, known)]


def _usual(rates: Iterable[float]) -> float:
    return min(rates, key=lambda rate: (abs(rate - USUAL_RATE), rate))


def _stored(far: float, rates: Iterable[float]) -> float:
    known = sorted(rates, reverse=True)
    for rate in known:
        if isclose(rate, far, rel_tol=1e-9):
            return rate
    listed = ", ".join(f"{rate:g}" for rate in known) or "none"
    raise ValueError(f"far: no threshold is stored for a rate of {far:g}; stored: {listed}")

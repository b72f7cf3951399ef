from __future__ import annotations

from dataclasses import replace

import pytest

from likewise.delivery.judgement import Judgement
from likewise.evaluation.acceptance import Acceptance
from likewise.evaluation.calibration import calibrate
from likewise.evaluation.thresholds import Rule, choose_threshold

SCORES, SAME = [-0.1, -0.2, -0.6, -0.5, -0.9, -1.1], [1, 1, 0, 1, 0, 0]
OWN = choose_threshold(SCORES, SAME, distance="euclidean", split="val")
STRICT = choose_threshold(SCORES, SAME, Rule("far", 1 / 3), distance="euclidean", split="val")
FITTED = calibrate(SCORES, SAME, distance="euclidean", split="val")
OPEN = Acceptance("euclidean", "val", 5, 1, 200, [0.1, 0.005, 0.02], [-0.4, -0.1, -0.2])
JUDGEMENT = Judgement(OWN, FITTED, {1 / 3: STRICT}, OPEN)


def test_the_own_threshold_or_that_of_a_rate() -> None:
    assert JUDGEMENT.same_from() == OWN.value
    assert JUDGEMENT.same_from(0.3333333333333333) == STRICT.value
    with pytest.raises(ValueError, match=r"^far: no threshold is stored for a rate of 0\.5; stored: 0\.333333$"):
        JUDGEMENT.same_from(0.5)
    with pytest.raises(ValueError, match=r"stored: none$"):
        Judgement(OWN, FITTED).same_from(0.01)


def test_identification_takes_the_stored_rate_nearest_to_one_in_a_hundred() -> None:
    assert JUDGEMENT.known_from() == -0.1
    assert JUDGEMENT.known_from(0.1) == -0.4
    with pytest.raises(ValueError, match=r"^far: .* of 0\.01; stored: 0\.1, 0\.02, 0\.005$"):
        JUDGEMENT.known_from(0.01)


def test_without_open_set_thresholds_identification_takes_those_of_verification() -> None:
    closed = Judgement(OWN, FITTED, {1 / 3: STRICT})
    assert closed.known_from() == OWN.value
    assert closed.known_from(1 / 3) == STRICT.value


def test_it_is_what_calibration_json_holds() -> None:
    stored = {
        "threshold": OWN.to_dict(),
        "probability": FITTED.to_dict(),
        "thresholds": {"accuracy": OWN.to_dict(), "far_33_percent": STRICT.to_dict(), "far_0_1_percent": None},
        "open_set": OPEN.to_dict(),
    }
    assert Judgement.from_dict(stored) == JUDGEMENT
    least = {"threshold": OWN.to_dict(), "probability": FITTED.to_dict()}
    assert Judgement.from_dict(least) == Judgement(OWN, FITTED)
    assert Judgement.from_dict({**least, "open_set": None}).acceptance is None


@pytest.mark.parametrize(
    "other",
    [
        replace(JUDGEMENT, by_rate={0.1: replace(STRICT, distance="cosine")}),
        replace(JUDGEMENT, acceptance=replace(OPEN, distance="cosine")),
        replace(JUDGEMENT, threshold=replace(OWN, distance="cosine")),
        replace(JUDGEMENT, calibration=replace(FITTED, distance="cosine")),
    ],
)
def test_a_part_of_another_distance_is_refused(other: Judgement) -> None:
    JUDGEMENT.check("euclidean")
    with pytest.raises(ValueError, match="belongs to cosine scores"):
        other.check("euclidean")

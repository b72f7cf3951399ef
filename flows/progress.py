"""The progress artifact of a training: it moves while the network learns, with what the stage says of itself."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.logging import get_run_logger

KEY = "train-progress"

LINE = re.compile(
    r"train: epoch +(?P<epoch>\d+)/(?P<epochs>\d+)(  step (?P<step>\d+)/(?P<steps>\d+))?  loss (?P<loss>\S+)"
    r"(  val EER +(?P<eer>[\d.]+%))?.*?  (?P<rate>[\d,]+) samples/s  (?P<left>.+) left"
)

UPDATE_SECONDS = 1.0
"""Between two updates: an epoch of a small project takes less than a call to the server is worth."""


class Shown:
    """Moves the artifact by the lines of the stage.

    Args:
        clock: gives the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._artifact: UUID | None = None
        self._last = -UPDATE_SECONDS
        self._eer = ""

    def __call__(self, line: str) -> None:
        """Look at a line; one that tells of no progress is passed over."""
        found = LINE.fullmatch(line.strip())
        if found is None:
            return
        self._eer = found["eer"] or self._eer
        share = done(found.groupdict())
        if share < 1 and self._clock() - self._last < UPDATE_SECONDS:
            return
        self._last = self._clock()
        try:
            self._show(100 * share, described(found.groupdict(), self._eer))
        # Whatever keeps the server from showing it, training goes on.
        except Exception as error:
            get_run_logger().warning("progress is not shown: %s", error)

    def _show(self, percent: float, description: str) -> None:
        if self._artifact is None:
            made: Any = create_progress_artifact(progress=percent, key=KEY, description=description)
            self._artifact = made
        else:
            update_progress_artifact(self._artifact, progress=percent, description=description)


def done(said: dict[str, Any]) -> float:
    """Return which share of the training is done, by its own line.

    Example:
        >>> done({"epoch": "3", "epochs": "4", "step": "5", "steps": "10"})
        0.625
        >>> done({"epoch": "3", "epochs": "4", "step": None})
        0.75
    """
    epoch, epochs = int(said["epoch"]), int(said["epochs"])
    if said["step"] is None:
        return epoch / epochs
    return (epoch - 1 + int(said["step"]) / int(said["steps"])) / epochs


def described(said: dict[str, Any], eer: str) -> str:
    """Return what stands below the bar; the EER is that of the last epoch that was finished."""
    judged = f", val EER {eer}" if eer else ""
    pace = f"{said['rate']} samples/s, {said['left']} left"
    return f"epoch {said['epoch']} of {said['epochs']}: loss {said['loss']}{judged}, {pace}"

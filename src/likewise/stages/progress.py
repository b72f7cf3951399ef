"""What a person sees while a network trains: a moving bar on a terminal, a line an epoch in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from likewise.learning.diagnosis import collapsed
from likewise.learning.training import Epoch, Step

SILENCE_SECONDS = 30.0
"""So long may a log be silent while an epoch lasts."""


class Show(Protocol):
    """Shows one record of the training."""

    def __call__(self, record: Step | Epoch) -> None:
        """Show it."""


class Pace:
    """How fast a training goes: samples a second since it was last asked for a line, and the time left.

    Args:
        epochs: at most so many epochs.
        clock: gives the time in seconds.
    """

    def __init__(self, epochs: int, clock: Callable[[], float]) -> None:
        self._epochs, self._clock = epochs, clock
        self._begin = self._last = clock()
        self._samples = 0
        self._done = self._first = 0.0

    @property
    def silent(self) -> float:
        """Seconds since the last line."""
        return self._clock() - self._last

    def see(self, record: Step | Epoch) -> None:
        """Count a record: a step's samples, and what share of the training is done."""
        if isinstance(record, Epoch):
            self._done = float(record.epoch)
            return
        if not self._done:
            self._first = record.epoch - 1.0
        self._samples += record.samples
        self._done = record.epoch - 1 + record.step / record.steps

    def said(self) -> str:
        """Return the rate since the last line and the time left at the mean pace."""
        now = self._clock()
        rate = self._samples / max(now - self._last, 1e-9)
        left = (now - self._begin) * (self._epochs - self._done) / max(self._done - self._first, 1e-9)
        self._last, self._samples = now, 0
        return f"{rate:,.0f} samples/s  {timedelta(seconds=round(left))} left"


@contextmanager
def shown(
    epochs: int, *, console: Console | None = None, clock: Callable[[], float] = time.monotonic
) -> Iterator[Show]:
    """Give a function that shows the records of a training of at most `epochs` epochs."""
    console = console or Console(highlight=False)
    pace = Pace(epochs, clock)
    if not console.is_terminal:
        yield lambda record: _print_line(record, epochs, console, pace)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("train", total=None)

        def show(record: Step | Epoch) -> None:
            if isinstance(record, Step):
                done = (record.epoch - 1) * record.steps + record.step
                bar.update(task, completed=done, total=epochs * record.steps, description=f"epoch {record.epoch}")
            _print_line(record, epochs, bar.console, pace)

        yield show


def _print_line(record: Step | Epoch, epochs: int, console: Console, pace: Pace) -> None:
    pace.see(record)
    if isinstance(record, Step):
        if not console.is_terminal and pace.silent > SILENCE_SECONDS:
            console.print(
                f"train: epoch {record.epoch:>3}/{epochs}  step {record.step}/{record.steps}  "
                f"loss {record.loss.item():.5f}  {pace.said()}",
                soft_wrap=True,
            )
        return
    console.print(
        f"train: epoch {record.epoch:>3}/{epochs}  loss {record.loss:.5f}  val EER {record.val_eer:7.3%}  "
        f"zero-loss {record.zero_loss_share:6.1%}  learning rate {record.learning_rate:.2e}  {pace.said()}",
        soft_wrap=True,
    )
    if collapsed(record.loss, record.collapsed_loss, record.val_eer):
        console.print(
            f"train: the loss stands at {record.loss:.4g}, what it would be if all embeddings were alike "
            "(collapse); try a lower train.learning_rate, train.warmup: 1, train.mining: semihard or all "
            "instead of hard, train.normalise: true, or a larger batch",
            soft_wrap=True,
        )

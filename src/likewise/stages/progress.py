"""What a person sees while a network trains: a moving bar on a terminal, a line an epoch in a log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from likewise.learning.diagnosis import collapsed
from likewise.learning.training import Epoch, Step


class Show(Protocol):
    """Shows one record of the training."""

    def __call__(self, record: Step | Epoch) -> None:
        """Show it."""


@contextmanager
def shown(epochs: int, *, console: Console | None = None) -> Iterator[Show]:
    """Give a function that shows the records of a training of at most `epochs` epochs."""
    console = console or Console(highlight=False)
    if not console.is_terminal:
        yield lambda record: _print_line(record, epochs, console)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("train", total=None)

        def show(record: Step | Epoch) -> None:
            if isinstance(record, Step):
                done = (record.epoch - 1) * record.steps + record.step
                bar.update(task, completed=done, total=epochs * record.steps, description=f"epoch {record.epoch}")
            _print_line(record, epochs, bar.console)

        yield show


def _print_line(record: Step | Epoch, epochs: int, console: Console) -> None:
    if isinstance(record, Epoch):
        console.print(
            f"train: epoch {record.epoch:>3}/{epochs}  loss {record.loss:.5f}  val EER {record.val_eer:7.3%}  "
            f"zero-loss {record.zero_loss_share:6.1%}  learning rate {record.learning_rate:.2e}",
            soft_wrap=True,
        )
        if collapsed(record.loss, record.collapsed_loss, record.val_eer):
            console.print(
                f"train: the loss stands at {record.loss:.4g}, what it would be if all embeddings were alike "
                "(collapse); try a lower train.learning_rate, train.warmup: 1, train.mining: semihard or all "
                "instead of hard, train.normalise: true, or a larger batch",
                soft_wrap=True,
            )

"""What a person sees while samples are read: a bar with rate and time left on a terminal, a line at times in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

LINE_SECONDS, FRAME_SECONDS = 10.0, 0.1
"""From one line of a log to the next, and from one picture of the bar to the next."""

Count = Callable[[int, int], None]


@contextmanager
def counting(*, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> Iterator[Count]:
    """Give a function that shows how many samples of how many have been read.

    Args:
        console: Where to show it, the standard output by default.
        clock: Tells the seconds.
    """
    console = console or Console(highlight=False)
    if not console.is_terminal:
        yield _in_lines(console, clock)
        return
    columns = (
        TextColumn("ingest:"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    # No thread draws it: the processes that decode are forked from this one, which is safe without threads only.
    with Progress(*columns, console=console, transient=True, auto_refresh=False, get_time=clock) as bar:
        task, shown = bar.add_task("", total=None), clock()

        def count(done: int, found: int) -> None:
            nonlocal shown
            bar.update(task, completed=done, total=found)
            if clock() - shown >= FRAME_SECONDS or done == found:
                bar.refresh()
                shown = clock()

        yield count


class Rate(ProgressColumn):
    """How many a second, of late."""

    def render(self, task: Task) -> Text:
        """Return it as text, nothing before it is known."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} a second", style="progress.data.speed")


def _in_lines(console: Console, clock: Callable[[], float]) -> Count:
    began = said = clock()

    def count(done: int, found: int) -> None:
        nonlocal said
        now = clock()
        if now - said >= LINE_SECONDS and done < found:
            rate = done / (now - began)
            left = duration((found - done) / rate)
            console.print(f"ingest: {done:,} of {found:,} read, {rate:,.0f} a second, {left} left", soft_wrap=True)
            said = now

    return count


def duration(seconds: float) -> str:
    """Return a duration in its two largest units.

    Example:
        >>> duration(71.4), duration(7384), duration(0.2)
        ('1 min 11 s', '2 h 3 min', '0 s')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"

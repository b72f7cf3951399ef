from __future__ import annotations

import io

import pytest
from rich.console import Console

from likewise.stages.reading import counting, duration


class Clock:
    """Tells the time that was set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_log_has_a_line_at_times_with_rate_and_time_left() -> None:
    text, clock = io.StringIO(), Clock()
    with counting(console=Console(file=text, width=20), clock=clock) as count:
        for second in range(0, 26):
            clock.now = 100.0 + second
            count(100 * second, 12_345)
        clock.now = 400.0
        count(12_345, 12_345)
    assert text.getvalue().splitlines() == [
        "ingest: 1,000 of 12,345 read, 100 a second, 1 min 53 s left",
        "ingest: 2,000 of 12,345 read, 100 a second, 1 min 43 s left",
    ]


def test_what_is_done_in_a_moment_has_no_line() -> None:
    text, clock = io.StringIO(), Clock()
    with counting(console=Console(file=text), clock=clock) as count:
        for done in range(1, 1000):
            count(done, 999)
    assert text.getvalue() == ""


def test_a_terminal_has_a_bar_with_rate_and_time_left() -> None:
    text, clock = io.StringIO(), Clock()
    console = Console(file=text, force_terminal=True, width=100, highlight=False, color_system=None)
    with counting(console=console, clock=clock) as count:
        for second in range(11):
            clock.now = 100.0 + second
            count(1000 * second, 60_000)
    frames = text.getvalue()
    assert "10000/60000 1,000 a second 0:00:50 left" in frames
    assert frames.startswith("\x1b[?25l")
    assert frames.endswith("\x1b[2K")


def test_the_bar_is_not_drawn_for_every_sample() -> None:
    text, clock = io.StringIO(), Clock()
    console = Console(file=text, force_terminal=True, width=100, color_system=None)
    with counting(console=console, clock=clock) as count:
        for done in range(10_000):
            clock.now += 0.001
            count(done, 20_000)
    assert 90 <= text.getvalue().count("/20000") <= 110


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (3599.4, "59 min 59 s"), (3600, "1 h 0 min"), (90_000, "25 h 0 min")],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words

"""What is in order on this machine and in this project, and what to do where it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

State = Literal["ok", "note", "problem"]
SECONDS = 4.0
"""So long all checks together may take; each that has not ended then is told of."""


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        topic: what was looked at.
        state: `ok`, `note` (it works, but should be known) or `problem`.
        text: what is so.
        do: what to do about it; empty where there is nothing.
    """

    topic: str
    state: State
    text: str
    do: str = ""


Check = Callable[[], Iterable[Finding]]


def examine(checks: Mapping[str, Check], *, seconds: float = SECONDS) -> list[Finding]:
    """Run all checks at once and return what each found, in their order; none can stop the others.

    Args:
        checks: by topic.
        seconds: how long all of them together may take.
    """
    from time import monotonic

    end = monotonic() + seconds
    pool = ThreadPoolExecutor(max_workers=max(1, len(checks)), thread_name_prefix="doctor")
    started = {topic: pool.submit(_whole, check) for topic, check in checks.items()}
    found: list[Finding] = []
    for topic, future in started.items():
        try:
            found += future.result(timeout=max(0.0, end - monotonic()))
        except TooLate:
            found.append(
                Finding(topic, "note", f"no answer within {seconds:g} s", "look whether it is up, and try again")
            )
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            found.append(Finding(topic, "problem", f"could not be checked: {reason}", "see the message"))
    pool.shutdown(wait=False, cancel_futures=True)
    return found


def as_text(found: Iterable[Finding]) -> str:
    """Return a line a finding, and below it what to do."""
    return "\n".join(line for each in found for line in _lines(each))


def _whole(check: Check) -> list[Finding]:
    return list(check())


def _lines(each: Finding) -> Iterator[str]:
    yield f"{each.state:<8} {each.topic:<12} {each.text}"
    if each.do:
        yield f"{'':<21} -> {each.do}"


def within(folder: Path) -> Path:
    """Return the nearest folder at or above one that exists: where its disk is."""
    return next(each for each in (folder, *folder.parents) if each.exists())

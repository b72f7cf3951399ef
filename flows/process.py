"""A child process of its own group: its output a line at a time, and no survivor when its caller is stopped."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

from flows import guard

POLL_SECONDS = 0.5
"""How long a look at the child's output may block: between two looks a cancel gets through."""

GRACE_SECONDS = 5.0
"""How long the group may take to end by itself once it was asked to."""

TIMED_OUT = 124
"""The code of a command that took too long, as `timeout` gives it."""

STOPPED = 130
"""The code of a command that was stopped, as a shell gives it."""

LOOK_SECONDS = 0.05
"""Between two looks at whether the group has ended."""


class Stopped(Exception):  # noqa: N818
    """Ends a command that is no longer wanted, and says why."""


class ProcessError(RuntimeError):
    """A command that ended badly.

    Attributes:
        code: its exit code.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def environment() -> dict[str, str]:
    """Return the environment of a child: this Python's programs first, output unbuffered, no telemetry."""
    programs = str(Path(sys.executable).parent)
    return {
        **os.environ,
        "PATH": os.pathsep.join([programs, os.environ.get("PATH", "")]),
        "PYTHONUNBUFFERED": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


class Group:
    """A running command with all that it starts: one group, which does not outlive its caller.

    Args:
        command: the program and its arguments.
        folder: where it runs.
        environment: its environment variables.
        output: where its output goes; by default to `child.stdout`.
        listens: whether it is to be written to, in `child.stdin`; by default it reads nothing.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        output: int | IO[bytes] = subprocess.PIPE,
        listens: bool = False,
    ) -> None:
        self.child: subprocess.Popen[bytes] = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.PIPE if listens else subprocess.DEVNULL,
            start_new_session=True,
        )
        # A caller that is killed can end nothing itself.
        self._guard = subprocess.Popen(
            [sys.executable, "-IS", guard.__file__, str(self.child.pid)], stdin=subprocess.PIPE, start_new_session=True
        )

    def end(self) -> None:
        """End the whole group: asked first, killed if it takes longer than the grace."""
        try:
            end_group(self.child)
        finally:
            self._guard.kill()
            self._guard.communicate()


def lines(
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    last: int = 12,
    seconds: float | None = None,
    stop: Callable[[], str] | None = None,
) -> Generator[str]:
    """Run a command and yield its output, a line at a time, as it comes.

    Args:
        command: the program and its arguments.
        folder: where it runs.
        environment: its environment variables.
        last: how many of its last lines an error quotes.
        seconds: how long it may take; by default any time.
        stop: is asked at least every half second whether to end it, and returns why.

    Raises:
        ProcessError: when it ends with another code than 0, with its last lines, or when it takes too long.
    """
    group = Group(command, folder=folder, environment=environment)
    assert group.child.stdout is not None
    try:
        with group.child.stdout as stream:
            yield from told(read(stream, seconds, stop), group.child.wait, command, last=last, seconds=seconds)
    finally:
        group.end()


def told(
    output: Iterable[str],
    code: Callable[[], int],
    command: Sequence[str],
    *,
    last: int = 12,
    seconds: float | None = None,
) -> Generator[str]:
    """Yield a command's output as it comes, and raise when it ends badly.

    Args:
        output: its lines; they may end with TimeoutError or Stopped.
        code: returns its exit code once the lines have ended.
        command: the program and its arguments.
        last: how many of its last lines an error quotes.
        seconds: how long it was given.

    Raises:
        ProcessError: when it ends with another code than 0, with its last lines, or when it takes too long.
    """
    tail: list[str] = []
    try:
        for line in output:
            tail = [*tail, line][-last:]
            yield line
        ended = code()
    except TimeoutError:
        tail.append(f"{' '.join(command)}: ended after {seconds:g} seconds, which is all it was given")
        ended = TIMED_OUT
    except Stopped as why:
        tail.append(str(why))
        ended = STOPPED
    if ended != 0:
        raise ProcessError("\n".join(tail) or f"{' '.join(command)}: exit code {ended}", ended)


def end_group(child: subprocess.Popen[bytes]) -> None:
    """End the child's whole group: asked first, killed if it takes longer than the grace.

    What left the group, as torchrun's processes do, has been ended by whoever started it, or is killed.
    """
    started = descendants(child.pid)
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            break
        if _ends(child, GRACE_SECONDS):
            break
    child.wait()
    for each in started:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()


def descendants(pid: int) -> list[psutil.Process]:
    """Return all processes that a process started."""
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def _ends(child: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for the child and for all others of its group: the grace is also theirs."""
    deadline = time.monotonic() + seconds
    while child.poll() is None or _alive(child.pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_SECONDS)
    return True


def alone(pid: int) -> bool:
    """Tell whether a process that leads a group is all that is left of it."""
    return not _alive(pid, but=pid)


def _alive(group: int, *, but: int | None = None) -> bool:
    for process in psutil.process_iter(["status"]):
        try:
            # One that has ended and that nobody waited for is still listed.
            ours = os.getpgid(process.pid) == group and process.pid != but
            if ours and process.info["status"] != psutil.STATUS_ZOMBIE:
                return True
        except ProcessLookupError:
            continue
    return False


def read(stream: IO[bytes], seconds: float | None = None, stop: Callable[[], str] | None = None) -> Generator[str]:
    """Yield a child's output, a line at a time, as it comes.

    Args:
        stream: the output.
        seconds: how long that may take; by default any time.
        stop: is asked at least every half second whether to end it, and returns why.

    Raises:
        TimeoutError: when the seconds are over.
        Stopped: when `stop` says so.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    rest = b""
    with selectors.DefaultSelector() as selector:
        os.set_blocking(stream.fileno(), False)
        selector.register(stream, selectors.EVENT_READ)
        while True:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError
            if stop is not None and (why := stop()):
                raise Stopped(why)
            if not selector.select(POLL_SECONDS):
                continue
            chunk = stream.read()
            if not chunk:
                break
            *whole, rest = (rest + chunk).split(b"\n")
            yield from (line.decode(errors="replace").rstrip("\r") for line in whole)
    if rest:
        yield rest.decode(errors="replace")

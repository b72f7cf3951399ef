"""DVC's commands one after another in a project, by a program that has DVC imported (`flows/dvc_forks.py`).

A retrain calls DVC some sixteen times, and importing it takes half a second. Each command is a fork, so that none has
anything of the one before it. A command that fails, is stopped or leaves a process behind ends the program with all
that it has started; the next one starts it again.
"""

from __future__ import annotations

import json
import platform
import secrets
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from flows import dvc_forks, process


class ReadyDvc:
    """DVC in a project's folder, imported with the first command.

    Args:
        root: the project's root.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._group: process.Group | None = None
        self._end = f"\0{secrets.token_hex(8)} "

    def lines(
        self, words: Sequence[str], *, seconds: float | None = None, stop: Callable[[], str] | None = None
    ) -> Generator[str]:
        """Do a command and yield its output, as `process.lines` does.

        Args:
            words: the command line after `dvc`.
            seconds: how long it may take; by default any time.
            stop: is asked at least every half second whether to end it, and returns why.

        Raises:
            ProcessError: when it ends with another code than 0, with its last lines, or when it takes too long.
        """
        group = self._started()
        assert group.child.stdin is not None
        assert group.child.stdout is not None
        order = {"words": list(words), "environment": process.environment(), "end": self._end}
        codes: list[int] = []

        def output(stream: Iterator[str]) -> Iterator[str]:
            for line in stream:
                said, end, number = line.partition(self._end)
                if said or not end:
                    yield said
                if end:
                    codes.append(int(number))
                    return

        def code() -> int:
            # Without a code the program has ended before the command.
            return codes[0] if codes else group.child.wait()

        try:
            group.child.stdin.write(json.dumps(order).encode() + b"\n")
            group.child.stdin.flush()
            with closing(process.read(group.child.stdout, seconds, stop)) as stream:
                yield from process.told(output(stream), code, ["dvc", *words], seconds=seconds)
        finally:
            if codes != [0] or not process.alone(group.child.pid):
                self.end()

    def end(self) -> None:
        """End the program and all that it has started."""
        if self._group is None:
            return
        group, self._group = self._group, None
        for stream in (group.child.stdin, group.child.stdout):
            assert stream is not None
            stream.close()
        group.end()

    def _started(self) -> process.Group:
        """Return the program, started where it does not run."""
        if self._group is not None and self._group.child.poll() is not None:
            self.end()
        if self._group is None:
            # -P: beside the program lie modules whose names others have too.
            command = [sys.executable, "-P", dvc_forks.__file__]
            environment = process.environment()
            self._group = process.Group(command, folder=self.root, environment=environment, listens=True)
        return self._group


_ready: list[ReadyDvc] = []


@contextmanager
def ready(root: Path) -> Iterator[None]:
    """Have DVC imported but once for the commands in a project while the block runs.

    On Linux: elsewhere a fork is not safe once the system's own libraries are loaded, and each command is a process.
    """
    if platform.system() != "Linux":
        yield
        return
    one = ReadyDvc(root)
    _ready.append(one)
    try:
        yield
    finally:
        _ready.remove(one)
        one.end()


def lines(
    command: Sequence[str], root: Path, *, seconds: float | None = None, stop: Callable[[], str] | None = None
) -> Generator[str]:
    """Run a command in a project and yield its output: one of DVC's by a DVC that is ready there, if one is."""
    one = next((each for each in _ready if each.root == root), None)
    if one is not None and command[0] == "dvc":
        return one.lines(command[1:], seconds=seconds, stop=stop)
    return process.lines(command, folder=root, environment=process.environment(), seconds=seconds, stop=stop)

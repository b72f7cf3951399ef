"""Official one-shot tasks: lists of which example each probe belongs to, as Omniglot's 20 runs publish them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

RUN = re.compile(r"run\d+/")
NAME = "class_labels.txt"
"""What a folder's lists are called."""


@dataclass(frozen=True)
class Line:
    """One probe and the example of its class.

    Attributes:
        place: where it stands, such as `tasks.txt: line 3`.
        probe: the id of the sample to be recognised.
        example: the id of the one example of its class.
    """

    place: str
    probe: str
    example: str


Task = tuple[Line, ...]
"""The lines whose examples a probe is to be told from."""


def read_tasks(path: Path) -> list[Task]:
    """Read the tasks of a file, or of all files `class_labels.txt` in a folder, at any depth and in order of path.

    Raises:
        ValueError: as `parse`, and when there is no such file or folder, or no list in the folder.
    """
    if not path.exists():
        raise ValueError(f"{path}: no such file or folder")
    files = sorted(path.rglob(NAME)) if path.is_dir() else [path]
    if not files:
        raise ValueError(f"{path}: holds no {NAME}")
    return [task for file in files for task in parse(_lines(file), where=_name(file, path))]


def parse(lines: Iterable[str], *, where: str) -> list[Task]:
    """Return the tasks of a list: a line a probe, with the ids of the probe and of the example of its class.

    The ids are separated by a tab, or by blanks where there is none. A task ends with a blank line, and where the
    folder `run01/`, `run02/`, ... that examples begin with changes. What follows a `#` at the beginning of a line is
    not read.

    Args:
        lines: the lines of the list.
        where: its name, for refusals.

    Raises:
        ValueError: for a line of other than two ids, a probe that stands twice in a task or is one of its examples, or
            a task of a single example; the line is named.

    >>> official = ["run01/test/a.png run01/training/2.png", "run01/test/b.png run01/training/1.png"]
    >>> [[line.example for line in task] for task in parse(official, where="run01/class_labels.txt")]
    [['run01/training/2.png', 'run01/training/1.png']]
    """
    found: list[Task] = []
    task: list[Line] = []
    for line in _read(lines, where):
        if task and (line is None or _run(line) != _run(task[-1])):
            found.append(_checked(task))
            task = []
        if line is not None:
            task.append(line)
    return [*found, _checked(task)] if task else found


def _read(lines: Iterable[str], where: str) -> Iterator[Line | None]:
    """Yield each line, None for a blank one."""
    for number, text in enumerate(lines, start=1):
        if text.startswith("#"):
            continue
        ids = [part.strip() for part in (text.split("\t") if "\t" in text.strip() else text.split())]
        if not ids:
            yield None
            continue
        if len(ids) != 2 or not all(ids):
            raise ValueError(
                f"{where}: line {number}: expected the ids of a probe and of the example of its class, given "
                f"{text.strip()[:80]!r}"
            )
        yield Line(f"{where}: line {number}", *ids)


def _run(line: Line) -> str:
    found = RUN.match(line.example)
    return found[0] if found else ""


def _checked(task: Sequence[Line]) -> Task:
    examples, probes = {line.example for line in task}, set[str]()
    for line in task:
        if line.probe in examples:
            raise ValueError(f"{line.place}: {line.probe!r} is a probe and an example of one task")
        if line.probe in probes:
            raise ValueError(f"{line.place}: {line.probe!r} stands twice in one task")
        probes.add(line.probe)
    if len(examples) < 2:
        raise ValueError(f"{task[0].place}: a task that begins here has one example only: nothing to choose from")
    return tuple(task)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: byte {error.start} is not UTF-8") from None


def _name(file: Path, path: Path) -> str:
    return file.name if file == path else file.relative_to(path).as_posix()

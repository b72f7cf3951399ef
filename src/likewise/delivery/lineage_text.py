"""A version's lineage as a person reads it, and the list of versions that were made from something."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from likewise.config import legible
from likewise.delivery.dvc_lock import Item, Stage
from likewise.delivery.lineage import Lineage, Made

WIDTH = 110
SHORT = 12
"""So many characters of a hash are shown where it is only told apart; the JSON has all of them."""


@dataclass(frozen=True)
class Section:
    """A title and what is told below it.

    Attributes:
        title: what it is about.
        form: a `table` of names and values, a `list` of sentences, or `lines` to be taken as they are.
        rows: names and values; the name is empty but in a table.
    """

    title: str
    form: Literal["table", "list", "lines"]
    rows: tuple[tuple[str, str], ...]


def sections(found: Lineage) -> list[Section]:
    """Return where a version came from, what is empty left out."""
    again = "To make it again, in a clean clone of the repository:"
    told = [
        Section(f"{found.name} {found.version}{_aliases(found.aliases)}", "table", tuple(_where(found))),
        Section("Made of", "table", tuple(_data(found))),
        Section("Stages", "table", tuple((name, _stage(stage)) for name, stage in found.stages.items())),
        Section("Params", "table", tuple((name, _block(block)) for name, block in found.params.items())),
        Section("Decisions", "list", tuple(("", line) for line in found.decisions)),
        Section("To be known", "list", tuple(("", line) for line in found.notes)),
        Section(again, "lines", tuple(("", line) for line in found.commands)),
    ]
    return [section for section in told if section.rows]


def of_version(found: Lineage) -> str:
    """Return where a version came from, for a pipe or a file."""
    return "\n\n".join(map(_plain, sections(found)))


def of_versions(made: Sequence[Made], wanted: str) -> str:
    """Return a line for each version that was made from something, and what it was."""
    if not made:
        return f"no registered version was made from {legible(wanted)}"
    return "\n".join(map(_plain, sections_of_versions(made)))


def sections_of_versions(made: Sequence[Made]) -> list[Section]:
    """Return a section for each version that was made from something, with what it was."""
    return [Section(_headed(found), "lines", tuple(("", f"by {legible(by)}") for by in found.by)) for found in made]


def _headed(found: Made) -> str:
    commit = f"  commit {found.commit[:SHORT]}" if found.commit else ""
    return f"{found.name} {found.version}{_aliases(found.aliases)}  {found.registered}{commit}"


def _where(found: Lineage) -> list[tuple[str, str]]:
    how = {"tag": "", "dvc.lock": " (its dvc.lock is in it; `likewise register` there tags the version)"}
    commit = f"{found.commit}{how[found.committed]}" if found.commit else "not known"
    return [
        ("registered", found.registered),
        ("run", f"{found.run_name} ({found.run_id})"),
        ("git commit", commit),
        ("git parent", f"{found.parent or 'none'}{'' if found.commit else ', the commit before it'}"),
        ("champions before", ", ".join(map(str, found.champions)) or "none"),
    ]


def _data(found: Lineage) -> list[tuple[str, str]]:
    raw = "not known: no dvc.lock was kept" if found.raw is None else _item(found.raw, whole=True)
    return [("raw input", raw), *((name, digest or "not known") for name, digest in found.hashes.items())]


def _stage(stage: Stage) -> str:
    read, wrote = (", ".join(_item(item) for item in items) for items in (stage.data, stage.outs))
    return f"read {read or 'nothing'}; {len(stage.code)} files of code; wrote {wrote or 'nothing'}"


def _item(item: Item, *, whole: bool = False) -> str:
    digest = item.md5 or "no hash"
    size = "" if item.size is None else f", {item.size:,} bytes"
    files = "" if item.files is None else f" in {item.files:,} files"
    return f"{legible(item.path)} {digest}{size}{files}" if whole else f"{legible(item.path)} {digest[:SHORT]}"


def _block(block: Any) -> str:
    if not isinstance(block, Mapping):
        return str(block)
    return "  ".join(f"{name}: {_value(value)}" for name, value in block.items() if value is not None)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        inner = ", ".join(f"{name}: {_value(each)}" for name, each in value.items() if each is not None)
        return f"{{{inner}}}"
    return str(value).lower() if isinstance(value, bool) else legible(str(value))


def _plain(section: Section) -> str:
    """Return a section as text: a table's second column and a list's sentences are wrapped."""
    if section.form == "lines":
        return "\n".join([section.title, *(f"  {line}" for _, line in section.rows)])
    width = max(len(name) for name, _ in section.rows)
    begun = [f"  {name:<{width}}  " if section.form == "table" else "  - " for name, _ in section.rows]
    return "\n".join(
        [section.title, *(_wrapped(first, row[1]) for first, row in zip(begun, section.rows, strict=True))]
    )


def _wrapped(first: str, text: str) -> str:
    """Return a text after what its first line begins with, wrapped in the column beside that."""
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _aliases(aliases: Sequence[str]) -> str:
    return f" ({', '.join(aliases)})" if aliases else ""

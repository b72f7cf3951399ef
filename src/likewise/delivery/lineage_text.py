"""A version's lineage as a person reads it, and the list of versions that were made from something."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from likewise.config import legible
from likewise.delivery.dvc_lock import Item, Stage
from likewise.delivery.lineage import Lineage, Made

WIDTH = 110
SHORT = 12
"""So many characters of a hash are shown where it is only told apart; the JSON has all of them."""


def of_version(found: Lineage) -> str:
    """Return where a version came from, for a terminal or a file."""
    blocks = [
        _rows(f"{found.name} {found.version}{_aliases(found.aliases)}", _where(found)),
        _rows("Made of", _data(found)),
        _rows("Stages", [(name, _stage(stage)) for name, stage in found.stages.items()]),
        _rows("Params", [(name, _block(block)) for name, block in found.params.items()]),
        _list("Decisions", found.decisions),
        _list("To be known", found.notes),
        "\n".join(["To make it again, in a clean clone of the repository:", *(f"  {line}" for line in found.commands)]),
    ]
    return "\n\n".join(block for block in blocks if block)


def of_versions(made: Sequence[Made], wanted: str) -> str:
    """Return a line for each version that was made from something, and what it was."""
    if not made:
        return f"no registered version was made from {legible(wanted)}"
    return "\n".join(line for found in made for line in _made(found))


def _made(found: Made) -> Iterator[str]:
    commit = f"  commit {found.commit[:SHORT]}" if found.commit else ""
    yield f"{found.name} {found.version}{_aliases(found.aliases)}  {found.registered}{commit}"
    yield from (f"  by {legible(reason)}" for reason in found.by)


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


def _rows(title: str, rows: Sequence[tuple[str, str]]) -> str:
    """Return a title and below it a table of two columns, the second wrapped in its column."""
    if not rows:
        return ""
    width = max(len(name) for name, _ in rows)
    wrapped = [
        textwrap.fill(
            value,
            WIDTH,
            initial_indent=f"  {name:<{width}}  ",
            subsequent_indent=" " * (width + 4),
            break_long_words=False,
            break_on_hyphens=False,
        )
        for name, value in rows
    ]
    return "\n".join([title, *wrapped])


def _list(title: str, lines: Sequence[str]) -> str:
    indented = [textwrap.fill(line, WIDTH, initial_indent="  - ", subsequent_indent="    ") for line in lines]
    return "\n".join([title, *indented]) if lines else ""


def _aliases(aliases: Sequence[str]) -> str:
    return f" ({', '.join(aliases)})" if aliases else ""

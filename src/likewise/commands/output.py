"""What commands print: a table on a terminal, lines with tabs in a pipe, one JSON object with `--json`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from likewise.config import legible

if TYPE_CHECKING:
    from rich.console import RenderableType

    from likewise.delivery.examination import Finding
    from likewise.delivery.lineage_text import Section

MARKS = {"ok": ("✓", "green"), "note": ("!", "yellow"), "problem": ("✗", "red")}
"""How a terminal shows what a check found: a mark, and its colour."""


def as_json(content: Mapping[str, Any]) -> None:
    """Print one JSON object, on one line."""
    print(json.dumps(content, ensure_ascii=False, allow_nan=False))


def as_facts(heading: str, facts: Mapping[str, str], *, good: bool | None = None) -> None:
    """Print a heading and below it a line a fact.

    Args:
        heading: the answer in a word or a few.
        facts: what else there is to say, by name.
        good: whether the answer is a yes or a no, which a terminal shows in colour.
    """
    if _on_terminal():
        from rich.text import Text

        _draw(Text(heading, style="bold" if good is None else f"bold {'green' if good else 'red'}"))
    else:
        print(heading)
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:<{width}}  {legible(value)}")


def as_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their columns: drawn on a terminal; in a pipe a line a row with tabs between, a header first."""
    listed = [[legible(cell) for cell in row] for row in rows]
    if not _on_terminal():
        for row in [list(columns), *listed]:
            print("\t".join(row))
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=SIMPLE_HEAD)
    for row in listed:
        # As text, or a name in brackets would be taken for a style.
        table.add_row(*(Text(cell, overflow="fold") for cell in row))
    _draw(table)


def as_findings(found: Sequence[Finding], plain: str) -> None:
    """Print what checks found: on a terminal a mark, the topic and what to do in colours; else the plain text."""
    if not _on_terminal():
        print(plain)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for each in found:
        mark, colour = MARKS[each.state]
        told = Text(legible(each.text))
        if each.do:
            told.append(f"\n→ {legible(each.do)}", style=colour)
        table.add_row(Text(mark, style=f"bold {colour}"), Text(each.topic, style="bold"), told)
    _draw(table)


def as_sections(sections: Sequence[Section], plain: str) -> None:
    """Print titles and what stands below them: on a terminal as wide as that is, in colours; else the plain text."""
    if not sections or not _on_terminal():
        print(plain)
        return
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    for place, section in enumerate(sections):
        _draw(Text(f"{chr(10) if place else ''}{section.title}", style="bold"))
        if section.form == "lines":
            for _, line in section.rows:
                # Never wrapped: lines are there to be copied.
                _draw(Text(f"  {line}", style="cyan"), soft_wrap=True)
        else:
            table = Table.grid(padding=(0, 2))
            for name, value in section.rows:
                table.add_row(Text(name or "-", style="cyan", no_wrap=True), Text(value, overflow="fold"))
            _draw(Padding(table, (0, 0, 0, 2)))


def _draw(what: RenderableType, *, soft_wrap: bool = False) -> None:
    from rich.console import Console

    Console(force_terminal=True).print(what, soft_wrap=soft_wrap)


def _on_terminal() -> bool:
    """Tell whether marks and lines can be drawn: not where only ASCII is understood."""
    return sys.stdout.isatty() and sys.stdout.encoding.lower().startswith("utf")

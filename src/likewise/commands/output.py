"""What commands print: a table on a terminal, lines with tabs in a pipe, one JSON object with `--json`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from likewise.config import legible


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
        from rich.console import Console
        from rich.text import Text

        style = "bold" if good is None else f"bold {'green' if good else 'red'}"
        Console(force_terminal=True).print(Text(heading, style=style))
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
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=SIMPLE_HEAD)
    for row in listed:
        # As text, or a name in brackets would be taken for a style.
        table.add_row(*(Text(cell, overflow="fold") for cell in row))
    Console(force_terminal=True).print(table)


def _on_terminal() -> bool:
    return sys.stdout.isatty()

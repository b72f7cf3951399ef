from __future__ import annotations

import io

import pytest
from rich.console import Console

from likewise.stages.fetching import shown_on


@pytest.mark.parametrize(("size", "words"), [(1_319_022, " (1.3 MB)"), (None, "")])
def test_a_log_has_a_line_a_file(size: int | None, words: str) -> None:
    text = io.StringIO()
    with shown_on(Console(file=text, width=40))("https://example.org/[x]/a.zip", size) as advance:
        advance(1000)
    assert text.getvalue() == f"ingest: fetching https://example.org/[x]/a.zip{words}\n"


def test_a_terminal_has_a_bar_too() -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=100, highlight=False)
    with shown_on(console)("https://example.org/a.zip", 4_000_000) as advance:
        advance(1_000_000)
    assert text.getvalue().startswith("ingest: fetching https://example.org/a.zip (4.0 MB)\n")
    assert "1.0/4.0 MB" in text.getvalue()

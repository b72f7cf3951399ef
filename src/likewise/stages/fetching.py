"""What a person sees while data is fetched: a bar with rate and time left on a terminal, a line a file in a log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from likewise.data.downloads import Advance, Show


def shown_on(console: Console | None = None) -> Show:
    """Return what shows a download on the console, the standard output by default."""
    console = console or Console(highlight=False)

    @contextmanager
    def show(what: str, size: int | None) -> Iterator[Advance]:
        console.print(f"ingest: fetching {what}{f' ({decimal(size)})' if size else ''}", soft_wrap=True, markup=False)
        if not console.is_terminal:
            yield lambda _: None
            return
        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        with Progress(TextColumn("ingest:"), *columns, console=console, transient=True) as bar:
            task = bar.add_task("", total=size)
            yield lambda arrived: bar.advance(task, arrived)

    return show

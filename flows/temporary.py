"""A Prefect server for as long as a flow runs, where PREFECT_API_URL names none.

Prefect would start one by itself, in the group of this process: Ctrl-C ends it before the run could tell it of its own
end, and Prefect tries to for minutes.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import process, servers

SETTINGS = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
"""No pages and no services: as Prefect's own temporary server has it."""

LAST_WORDS_SECONDS = 10.0
RUNS = logging.getLogger("prefect.flow_runs")


@contextmanager
def server(root: Path) -> Iterator[None]:
    """Have a server: the one that is named, or a new one that ends with the block.

    Raises:
        ServerError: when it does not start.
    """
    if PREFECT_API_URL.value():
        yield
        return
    port = servers.free_port()
    api = f"http://{servers.HOST}:{port}/api"
    own = servers.start("temporary", command(port), root, process.environment() | SETTINGS)
    try:
        servers.wait([own], "temporary", lambda: servers.answers(f"{api}/health"))
        with temporary_settings({PREFECT_API_URL: api}):
            RUNS.addFilter(_no_pages)
            try:
                yield
            finally:
                RUNS.removeFilter(_no_pages)
                say_the_rest()
    finally:
        own.group.end()


def _no_pages(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("View at ")


def command(port: int) -> list[str]:
    """Return the command of a Prefect server with nothing around it."""
    app = ["--factory", "prefect.server.api.server:create_app", "--log-level", "error", "--lifespan", "on"]
    return [sys.executable, "-m", "uvicorn", *app, "--host", servers.HOST, "--port", str(port)]


def say_the_rest(*, seconds: float = LAST_WORDS_SECONDS) -> None:
    """Send what was logged and emitted, while there is somebody to send it to: with no server it is tried for minutes.

    Args:
        seconds: how long either may take.
    """
    APILogWorker.drain_all(timeout=seconds)
    EventsWorker.drain_all(timeout=seconds)

"""Hears of a cancel that Prefect has missed: after its server was away for a while, a worker looks for cancels no more.

Prefect 3.8 listens for cancels on a WebSocket, then asks every ten seconds, and gives up after three answers that did
not come. Its runs go on and end well, but nobody can cancel them. So a run also asks for itself, and its commands are
ended when Prefect has had the time to do that.
"""

from __future__ import annotations

import logging
import threading
import time
from uuid import UUID

from prefect import runtime
from prefect.client.orchestration import get_client
from prefect.states import Cancelled

LOOK_SECONDS = 15.0
"""Between two looks of a run at its own state."""

LOOKS = 2
"""How many looks in a row find a run cancelled before it ends: Prefect takes less than one."""

SAID = "cancelled; the worker had not heard of it, for the Prefect server was away"

_missed = threading.Event()


def watch() -> None:
    """Let the run that this is called in look for its own cancel, from a thread; a run without a worker has none."""
    if runtime.deployment.id is not None and runtime.flow_run.id is not None:
        run = UUID(str(runtime.flow_run.id))
        threading.Thread(target=follow, args=(run,), name="late-cancel", daemon=True).start()


def missed() -> str:
    """Return why the run of this process is to end, or nothing when it may go on."""
    return SAID if _missed.is_set() else ""


def follow(run: UUID, *, seconds: float = LOOK_SECONDS) -> None:
    """Look at a run until it has ended, or has been cancelled for so long that Prefect must have missed it.

    Args:
        run: the run of this process.
        seconds: between two looks.
    """
    found = 0
    while found < LOOKS:
        time.sleep(seconds)
        try:
            with get_client(sync_client=True) as client:
                state = client.read_flow_run(run).state
                if state is None or state.is_final():
                    return
                found = found + 1 if state.is_cancelling() else 0
                if found == LOOKS:
                    # While it is being cancelled the server takes no other end from it.
                    client.set_flow_run_state(run, Cancelled(message=SAID), force=True)
        # The server is away, or answers with an error: it is asked again, for as long as the run lasts.
        except Exception as error:
            found = 0
            logging.getLogger(__name__).debug("the run's state is not known: %s", error)
    _missed.set()

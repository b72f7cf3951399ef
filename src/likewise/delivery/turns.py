"""Who decides on the registry waits for who does already: a file lock, and Prefect's limit where servers are shared."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from likewise.config import main_checkout

LIMIT = "likewise-registry"
"""The global concurrency limit, of 1; made where the Prefect server has none."""

WAIT_SECONDS = 600
LEASE_SECONDS = 120
"""The place of a process that was killed is free again after so long; a living one renews its lease."""


class TurnError(ValueError):
    """The turn did not come."""


@contextmanager
def one_at_a_time(root: Path, *, shared: bool) -> Iterator[None]:
    """Hold the registry: no other process of this checkout has it, nor of any machine where Prefect is asked.

    Args:
        root: the project's root.
        shared: whether the registry is on a server, which others use too. Then Prefect's limit is held where
            `PREFECT_API_URL` is set; without Prefect two can decide at once, and each looks whether another did.

    Raises:
        TurnError: when another process holds it for ten minutes.
    """
    folder = main_checkout(root) / ".likewise"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "registry.lock"), ExitStack() as held:
        if shared and os.environ.get("PREFECT_API_URL"):
            _hold_limit(held)
        yield


def _hold_limit(held: ExitStack) -> None:
    """Hold the limit until the stack is closed; a Prefect that cannot be reached is said and done without."""
    from prefect.concurrency.sync import concurrency

    # It would tell of events that are still on their way.
    logging.getLogger("EventsWorker").setLevel(logging.ERROR)
    try:
        _make_limit()
        limit = concurrency(
            LIMIT,
            strict=True,
            timeout_seconds=WAIT_SECONDS,
            lease_duration=LEASE_SECONDS,
            # A lease that is lost half-way is no reason to stop half-way: two deciding at once is still found out.
            raise_on_lease_renewal_failure=False,
        )
        limit.__enter__()
    except TimeoutError:
        raise TurnError(
            f"another process has held Prefect's limit {LIMIT} for {WAIT_SECONDS // 60} minutes; "
            f"`prefect global-concurrency-limit inspect {LIMIT}` shows it"
        ) from None
    except _failures() as error:
        _without(error)
    else:
        held.callback(_release, limit)


def _make_limit() -> None:
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectAlreadyExists
    from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    # The first request tells whether anybody is there.
    quick = temporary_settings({PREFECT_API_REQUEST_TIMEOUT: 10, PREFECT_CLIENT_MAX_RETRIES: 1})
    # Another process may make it in between.
    with quick, get_client(sync_client=True) as client, suppress(ObjectAlreadyExists):
        client.upsert_global_concurrency_limit_by_name(LIMIT, 1)


def _release(limit: AbstractContextManager[None]) -> None:
    try:
        limit.__exit__(None, None, None)
    except _failures() as error:
        _without(error)


def _failures() -> tuple[type[Exception], ...]:
    """Return what Prefect's client raises when the server is down, broken or does not know what it is asked."""
    import httpx
    from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
    from prefect.exceptions import PrefectException

    return httpx.HTTPError, ConcurrencySlotAcquisitionError, PrefectException, RuntimeError, OSError


def _without(error: Exception) -> None:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    address = os.environ.get("PREFECT_API_URL")
    print(
        f"Prefect at {address} cannot be reached ({lines[0]}): no other process is kept waiting; if one decides at the "
        "same time, one of the two is told so",
        file=sys.stderr,
        flush=True,
    )

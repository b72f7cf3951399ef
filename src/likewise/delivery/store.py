"""The registry as one caller at a time uses it: in turn, with short errors, by its aliases."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from likewise.delivery import moved, tracking, turns

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
GATE_TAG = "likewise.gate"
"""Of a version: what was decided last, `promoted` or `kept`; tags below it say against whom, why, by which figures."""
HEADING = "## Decisions"
"""Below it on a version's page stands what was decided on it."""


class RegistryError(ValueError):
    """The tracking store or the registry did not do what was asked."""


@contextmanager
def in_turn(root: Path, *, again: str) -> Iterator[MlflowClient]:
    """Give a client of the project's store while no other process decides on it.

    Args:
        root: the project's root.
        again: the command to run again when the store fails, for the message.

    Raises:
        RegistryError: when the store is down, broken or lacks its driver, or another process keeps it.
    """
    uri = tracking.tracking_uri(root)
    try:
        with turns.one_at_a_time(root, shared=not uri.startswith(tracking.SQLITE)):
            _put_right(uri)
            with tracking.in_use(uri) as client:
                yield client
    except turns.TurnError as error:
        raise RegistryError(f"{error}; then run `{again}` again") from None
    except tracking.failures() as error:
        raise RegistryError(f"MLflow: {tracking.reason(error)}; run `{again}` again") from None


def _put_right(uri: str) -> None:
    """Make a store that was moved with its project name the places where its files are now."""
    try:
        old = moved.put_right(uri)
    except sqlite3.Error as error:
        raise RegistryError(f"MLflow: {uri.removeprefix(tracking.SQLITE)}: {error}") from None
    if old is not None:
        print(f"MLflow: the store was moved here from {old}; it names its files' new places now", file=sys.stderr)


def holder(client: MlflowClient, name: str, alias: str) -> int | None:
    """Return the version that an alias of a registered model points to, or None."""
    found = client.get_registered_model(name).aliases.get(alias)
    return None if found is None else int(found)

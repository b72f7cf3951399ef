"""The registry as one caller at a time uses it: in turn, with short errors, by its aliases."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from likewise.config import main_checkout
from likewise.delivery import moved, tracking

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
    """Give a client of the project's store while no other process of this machine has one.

    Args:
        root: the project's root.
        again: the command to run again when the store fails, for the message.

    Raises:
        RegistryError: when the store is down, broken or lacks its driver.
    """
    folder = main_checkout(root) / ".likewise"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "registry.lock"):
        try:
            _put_right(tracking.tracking_uri(root))
            with tracking.in_use(tracking.tracking_uri(root)) as client:
                yield client
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

"""A tracking store that was moved with its project: the places it names, found wrong and put right."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from likewise.delivery.tracking import EXPERIMENT, SQLITE

ARTIFACTS = "mlartifacts"
COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Where MLflow 3 keeps absolute places in its tables."""


def left_behind(uri: str) -> str | None:
    """Return where a store believes its artifacts to be, if it is a SQLite file whose artifacts lie beside it now.

    Args:
        uri: the address of the tracking store.
    """
    store = _file(uri)
    if store is None or not (store.parent / ARTIFACTS).is_dir():
        return None
    with closing(sqlite3.connect(f"{store.as_uri()}?mode=ro", uri=True)) as base:
        rows = base.execute("SELECT artifact_location FROM experiments WHERE name = ?", (EXPERIMENT,)).fetchall()
    told = str(rows[0][0]) if rows else ""
    here = (store.parent / ARTIFACTS).as_uri()
    return told if told.endswith(f"/{ARTIFACTS}") and told != here else None


def put_right(uri: str) -> str | None:
    """Make a store name the places where its artifacts lie now; return where it believed them to be, if that was wrong.

    Args:
        uri: the address of the tracking store; nobody else may be writing to it.
    """
    store, old = _file(uri), left_behind(uri)
    if store is None or old is None:
        return None
    here = (store.parent / ARTIFACTS).as_uri()
    with closing(sqlite3.connect(store)) as base, base:
        for table, column in COLUMNS:
            inside = f"{column} = ? OR substr({column}, 1, ?) = ?"
            base.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE {inside}",
                (here, len(old) + 1, old, len(old) + 1, f"{old}/"),
            )
    return old


def _file(uri: str) -> Path | None:
    """Return the file of a SQLite store that is there."""
    file = Path(uri.removeprefix(SQLITE))
    return file if uri.startswith(SQLITE) and file.is_file() else None

"""Embeddings as a file for others: Parquet with ids, names and vectors, or NPY with the ids beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from likewise.files import replacing

FORMATS = (".parquet", ".npy")


def check(path: Path) -> None:
    """Raise ValueError for a file of another format, before anything is embedded."""
    if path.suffix not in FORMATS:
        raise ValueError(f"{path}: embeddings are written as {' or '.join(FORMATS)}")


def write(path: Path, ids: Sequence[str], names: Sequence[str | None], embeddings: np.ndarray[Any, Any]) -> None:
    """Write embeddings (n, dimensions) whole, the same bytes for the same content.

    Parquet has the columns `id`, `name` (where there is one) and `vector`. NPY has the rows alone; the ids go to a text
    file beside it, an id a line, of which one that is not a line of text has its characters escaped.

    Raises:
        ValueError: for a file of another format.
    """
    check(path)
    if path.suffix == ".npy":
        with replacing(path) as partial, partial.open("wb") as stream:
            np.save(stream, embeddings, allow_pickle=False)
        lines = (each.encode("unicode_escape").decode() if not each.isprintable() else each for each in ids)
        with replacing(path.with_suffix(".ids.txt")) as partial:
            partial.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    flat = pa.array(embeddings.reshape(-1), type=pa.float32())
    columns = {
        "id": pa.array(ids, type=pa.string()),
        "name": pa.array(names, type=pa.string()),
        "vector": pa.FixedSizeListArray.from_arrays(flat, embeddings.shape[1]),
    }
    with replacing(path) as partial:
        pq.write_table(pa.table(columns), partial, compression="zstd")

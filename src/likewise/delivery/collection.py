"""What was embedded of files that came later, ready for search: a table, the index over it, the model beside them.

The folder is as `data/export` is: `likewise.load` and `likewise search` take it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from likewise import artifacts, files
from likewise.delivery.arrivals import seen_before
from likewise.delivery.model import Model
from likewise.delivery.parts import EMBEDDED, Pile

FOLDER = "index"
_TABLE = replace(artifacts.EMBEDDINGS, path=Path(artifacts.EMBEDDINGS.path).name)
_INDEX = artifacts.File(Path(artifacts.INDEX.path).name)
_ABOUT = replace(artifacts.ABOUT_INDEX, path=Path(artifacts.ABOUT_INDEX.path).name)


@dataclass(frozen=True)
class IndexRule:
    """Which index is built, as `export.index` in params.yaml says it."""

    kind: str
    hnsw_from: int
    ivf_from: int
    recall: float


def collect(out: Path, folder: Path) -> pd.DataFrame:
    """Return every file that has an embedding: id, class, split (none) and vector, sorted by id.

    Args:
        out: where all runs write.
        folder: of one model's embeddings, in it.
    """
    seen, parts = seen_before(out), Pile(folder, EMBEDDED).rows()
    frame = seen[["id", "class", "hash"]].merge(parts, on="hash").assign(split=None)
    frame = frame.astype(dict.fromkeys(_TABLE.types.names, "str"))
    return frame[[*_TABLE.types.names, "vector"]].sort_values("id", ignore_index=True)


def deliver(source: Path, folder: Path) -> Path:
    """Copy the files of a model to where the index will be, for who embeds to take, and return where they are then.

    Args:
        source: the folder of its files.
        folder: of the model's embeddings.
    """
    place = folder / FOLDER / "model"
    for name in artifacts.DELIVERED:
        with files.replacing(place / Path(name).name) as partial:
            shutil.copyfile(source / Path(name).name, partial)
    return place


def publish(frame: pd.DataFrame, model: Model, folder: Path, rule: IndexRule) -> Mapping[str, Any]:
    """Write the table and the index beside the model, unless they are there; return what is said of the index.

    Args:
        frame: as `collect` returns it.
        model: the model that made the vectors.
        folder: of its embeddings.
        rule: which index.
    """
    folder /= FOLDER
    import faiss

    from likewise.delivery import index, searchable

    if not frame.empty and not _told(frame, model, folder):
        vectors = np.stack(list(frame["vector"]))
        by_size = index.kind_for(len(frame), hnsw_from=rule.hnsw_from, ivf_from=rule.ivf_from)
        made = index.build(vectors, model.distance.name, by_size if rule.kind == "auto" else rule.kind)  # type: ignore[arg-type]
        recall = index.tune(made, vectors, model.distance.name, wanted=rule.recall)
        if rule.kind == "auto" and recall.ten < rule.recall:
            made, recall = index.build(vectors, model.distance.name), index.EXACT
        with _INDEX.writing(folder) as partial:
            faiss.write_index(made, str(partial))
        told = searchable.about(made, recall, distance=model.distance.name, weights=model.weights, folder=folder)
        _ABOUT.write(told, folder)
    return _ABOUT.read(folder) if (folder / _ABOUT.path).is_file() else {}


def _told(frame: pd.DataFrame, model: Model, folder: Path) -> bool:
    """Write the table, and tell whether the index that lies there is over just that."""
    _TABLE.write(frame, folder)
    if not ((folder / _ABOUT.path).is_file() and (folder / _INDEX.path).is_file()):
        return False
    told = _ABOUT.read(folder)
    return (told["weights_sha256"], told["embeddings_sha256"], told["index_sha256"]) == (
        model.weights,
        artifacts.file_sha256(folder / _TABLE.path),
        artifacts.file_sha256(folder / _INDEX.path),
    )

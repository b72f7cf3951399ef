"""The exported embeddings, ready for search: ids, classes and distances of the samples nearest to a query."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from likewise import artifacts

if TYPE_CHECKING:
    import faiss
    import pandas as pd

    from likewise.delivery.index import Recall

    Array = np.ndarray[Any, Any]

FORMAT = 1


class SearchError(ValueError):
    """An index that cannot be searched, with the file at fault."""


@dataclass(frozen=True)
class Found:
    """The samples nearest to each of n queries, nearest first; fewer than asked for where there are fewer.

    Attributes:
        ids: text (n, count).
        classes: text or None (n, count).
        distances: float32 (n, count), in the distance of the model.
        rows: int64 (n, count), places in `embeddings.parquet`.
    """

    ids: Array
    classes: Array
    distances: Array
    rows: Array


class Searchable:
    """Samples whose embeddings an index holds.

    Args:
        index: made by `delivery.index.build`, a row for each sample.
        samples: `id` and `class` of each row.
        distance: name of the distance.
    """

    def __init__(self, index: faiss.Index, samples: pd.DataFrame, distance: str) -> None:
        self.index, self.distance = index, distance
        self.ids = samples["id"].to_numpy(dtype=object)
        self.classes = samples["class"].astype(object).where(samples["class"].notna(), None).to_numpy(dtype=object)

    @classmethod
    def from_folder(cls, folder: Path, *, weights_sha256: str) -> Searchable:
        """Open the index in the folder that `export` wrote, or that holds the same files.

        Args:
            folder: with `index.json`, `index.faiss` and `embeddings.parquet`.
            weights_sha256: of the weights that the queries are embedded with.

        Raises:
            SearchError: when a file is missing or another than the index was made with, or the weights are others.
        """
        import faiss

        table, index, about = (folder / Path(name).name for name in artifacts.SEARCHED)
        told = _told(about)
        if told["weights_sha256"] != weights_sha256:
            raise SearchError(
                f"{about}: made with weights {told['weights_sha256'][:12]}, but the model has {weights_sha256[:12]}; "
                "distances between the two mean nothing: run `dvc repro export`"
            )
        for path, wanted in ((table, told["embeddings_sha256"]), (index, told["index_sha256"])):
            if not path.is_file():
                raise SearchError(f"{path}: missing; a search needs {_names()}")
            if artifacts.file_sha256(path) != wanted:
                raise SearchError(f"{path}: not the file that {about.name} names (SHA-256 differs)")
        samples = replace(artifacts.EMBEDDINGS, path=table.name).read(folder)
        return cls(faiss.read_index(str(index)), samples, told["distance"])

    def __len__(self) -> int:
        return len(self.ids)

    def search(self, queries: Array, count: int) -> Found:
        """Return the `count` samples nearest to each query.

        Args:
            queries: embeddings, float32 (n, dimensions).
            count: how many, at least 1.

        Raises:
            ValueError: when the queries are not embeddings of the index's width, or none are asked for.
        """
        from likewise.delivery import index

        if queries.ndim != 2 or queries.shape[1] != self.index.d:
            raise ValueError(f"queries: given the shape {queries.shape}; the index holds (n, {self.index.d})")
        if count < 1:
            raise ValueError(f"count: given {count}; allowed: 1 and more")
        distances, rows = index.search(self.index, queries, count, self.distance)
        return Found(self.ids[rows], self.classes[rows], distances, rows)


def describe(index: faiss.Index, recall: Recall, *, distance: str, root: Path) -> dict[str, Any]:
    """Return what `index.json` says of the index that lies in the project, beside its embeddings."""
    weights = artifacts.MODEL.read(root)["weights_sha256"]
    return about(index, recall, distance=distance, weights=weights, folder=(root / artifacts.INDEX.path).parent)


def about(index: faiss.Index, recall: Recall, *, distance: str, weights: str, folder: Path) -> dict[str, Any]:
    """Return what `index.json` says of the index that lies in a folder, beside its embeddings.

    Args:
        index: the index.
        recall: what it finds of the exact answer.
        distance: name of the distance.
        weights: the SHA-256 of the weights that made the embeddings.
        folder: where both files lie.
    """
    from likewise.delivery import index as indexing

    return {
        "format": FORMAT,
        "kind": indexing.kind_of(index),
        "distance": distance,
        "count": index.ntotal,
        "settings": indexing.settings(index),
        "recall": {"neighbours": indexing.NEIGHBOURS, **asdict(recall)},
        "weights_sha256": weights,
        "embeddings_sha256": artifacts.file_sha256(folder / Path(artifacts.EMBEDDINGS.path).name),
        "index_sha256": artifacts.file_sha256(folder / Path(artifacts.INDEX.path).name),
    }


def _told(about: Path) -> dict[str, Any]:
    if not about.is_file():
        raise SearchError(f"{about}: missing; a search needs {_names()}")
    try:
        told = replace(artifacts.ABOUT_INDEX, path=about.name).read(about.parent)
    except artifacts.ArtifactError as error:
        raise SearchError(f"{about}: not what is said of an index ({error})") from None
    if told["format"] != FORMAT:
        raise SearchError(f"{about}: format {told['format']!r}; this version reads format {FORMAT}")
    return told


def _names() -> str:
    return ", ".join(Path(name).name for name in artifacts.SEARCHED)

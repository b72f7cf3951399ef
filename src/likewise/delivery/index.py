"""The search index over embeddings: exact nearest neighbours in the model's own distance."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np

Array = np.ndarray[Any, Any]


def build(embeddings: Array, distance: str) -> faiss.Index:
    """Return an exact index of the embeddings, row by row.

    Args:
        embeddings: float32 (n, dimensions).
        distance: name of the distance.

    Raises:
        ValueError: when the index knows no such distance.
    """
    if distance not in METRICS:
        raise ValueError(f"distance: given {distance!r}; the index knows: {', '.join(METRICS)}")
    index = faiss.IndexFlat(embeddings.shape[1], METRICS[distance])
    index.add(_prepared(embeddings, distance))
    return index


def search(index: faiss.Index, queries: Array, count: int, distance: str) -> tuple[Array, Array]:
    """Return the distances and rows of the `count` nearest embeddings of each query, nearest first.

    Args:
        index: made by `build` for the same distance.
        queries: float32 (n, dimensions).
        count: how many; fewer come where the index holds fewer.
        distance: name of the distance.
    """
    found, rows = index.search(_prepared(queries, distance), min(count, index.ntotal))
    if distance == "euclidean":
        found = np.sqrt(np.maximum(found, 0))
    return (1 - found if distance == "cosine" else found), rows


def _prepared(embeddings: Array, distance: str) -> Array:
    embeddings = np.ascontiguousarray(embeddings, dtype=np.float32)
    if distance == "cosine":
        lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
        embeddings = embeddings / np.maximum(lengths, np.finfo(np.float32).tiny)
    return embeddings


METRICS = {
    "euclidean": faiss.METRIC_L2,
    "squared_euclidean": faiss.METRIC_L2,
    "cosine": faiss.METRIC_INNER_PRODUCT,
    "manhattan": faiss.METRIC_L1,
}

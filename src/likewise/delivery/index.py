"""The search index over embeddings, in the model's own distance: exact where they are few, approximate above that.

Three kinds, all of which keep every embedding whole (float32), so that distances are exact and only who is found may
differ from the exact answer:

- `flat` compares a query with every embedding;
- `hnsw` walks a graph of near ones (Malkov and Yashunin 2018, https://arxiv.org/abs/1603.09320); its effort is the
  number of candidates that it keeps on the way;
- `ivf` compares with the embeddings in the nearest cells of a k-means; its effort is the number of cells.

faiss builds both with fixed seeds, and nothing here depends on the number of threads: k-means sums each centre in one
thread, and a graph grows by so few embeddings at a time that faiss takes no second thread, whose order would be chance.
faiss's thread setter is not called, for it would act on PyTorch as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any, Literal

import faiss
import numpy as np

Array = np.ndarray[Any, Any]
Index = Any
"""A `faiss.Index`, of which its type stubs know little."""
Kind = Literal["flat", "ivf", "hnsw"]

NEIGHBOURS = 10
"""So many of the nearest are asked for where recall is measured."""
QUERIES = 500
"""Queries that choose the effort, and as many others that the recall told is measured on."""
LINKS, BREADTH = 16, 40
"""Of a graph: links of an embedding on each level (twice as many on the lowest), candidates while it is built."""
POINTS_PER_CELL = 64
"""Of a k-means: it is fitted to so many embeddings a cell at most."""
_SERIAL = 100
"""faiss adds so many embeddings to a graph in one thread."""


@dataclass(frozen=True)
class Recall:
    """How much of the exact answer an index finds, on samples of its own as queries, themselves left out.

    Attributes:
        first: share of queries whose nearest is found.
        ten: share of the `NEIGHBOURS` nearest that are found.
        queries: so many queries; 0 where the index is exact or there is nothing to find.
    """

    first: float
    ten: float
    queries: int


EXACT = Recall(1.0, 1.0, 0)


def kind_for(count: int, *, hnsw_from: int, ivf_from: int) -> Kind:
    """Return the kind of index for so many embeddings: flat below both limits, the other with the nearer limit above.

    Example:
        >>> [kind_for(count, hnsw_from=100, ivf_from=1000) for count in (99, 100, 1000)]
        ['flat', 'hnsw', 'ivf']
    """
    limits: tuple[tuple[int, Kind], ...] = ((0, "flat"), (hnsw_from, "hnsw"), (ivf_from, "ivf"))
    return max(limit for limit in limits if count >= limit[0])[1]


def build(embeddings: Array, distance: str, kind: Kind = "flat") -> Index:
    """Return an index of the embeddings, row by row: the same bytes for the same embeddings.

    Args:
        embeddings: float32 (n, dimensions).
        distance: name of the distance.
        kind: how it finds them.

    Raises:
        ValueError: when the index knows no such distance.
    """
    if distance not in METRICS:
        raise ValueError(f"distance: given {distance!r}; the index knows: {', '.join(METRICS)}")
    return _BUILDERS[kind](_prepared(embeddings, distance), METRICS[distance])


def search(index: Index, queries: Array, count: int, distance: str) -> tuple[Array, Array]:
    """Return the distances and rows of the `count` nearest embeddings of each query, nearest first.

    Args:
        index: made by `build` for the same distance.
        queries: float32 (n, dimensions).
        count: how many; fewer come where the index holds fewer.
        distance: name of the distance.
    """
    prepared, count = _prepared(queries, distance), min(count, index.ntotal)
    if not count or not len(prepared):
        return np.empty((len(prepared), count), dtype=np.float32), np.empty((len(prepared), count), dtype=np.int64)
    found, rows = index.search(prepared, count)
    # The cells or the part of the graph that were looked at held fewer.
    short = np.flatnonzero((rows < 0).any(axis=1))
    if len(short):
        found[short], rows[short] = _exhaustive(index, prepared[short], count)
    if distance == "euclidean":
        found = np.sqrt(np.maximum(found, 0))
    return (1 - found if distance == "cosine" else found), rows


def tune(index: Index, embeddings: Array, distance: str, *, wanted: float, seed: int = 0) -> Recall:
    """Set the effort of an approximate index to the least of doublings that finds the share wanted; return its recall.

    The effort is chosen on some embeddings as queries, and the recall told is measured on others. Where even the most
    that pays does not find the share wanted, that is the effort.

    Args:
        index: made by `build` from these embeddings; its effort is changed.
        embeddings: float32 (n, dimensions).
        distance: name of the distance.
        wanted: share of the `NEIGHBOURS` nearest to find, in (0, 1].
        seed: which embeddings are queries.
    """
    if kind_of(index) == "flat" or len(embeddings) < 3:
        return EXACT
    exact = build(embeddings, distance)
    drawn = np.random.default_rng(seed).permutation(len(embeddings))[: 2 * QUERIES]
    choosing, telling = (_Questions(exact, embeddings, rows, distance) for rows in (drawn[::2], drawn[1::2]))
    effort, most = LEAST[kind_of(index)], _most(index)
    set_effort(index, effort)
    while choosing.recall(index).ten < wanted and 2 * effort <= most:
        effort *= 2
        set_effort(index, effort)
    return telling.recall(index)


class _Questions:
    """Embeddings of an index as queries to it, with the exact answers."""

    def __init__(self, exact: Index, embeddings: Array, rows: Array, distance: str) -> None:
        self.rows, self.distance, self.queries = rows, distance, embeddings[rows]
        self.count = min(NEIGHBOURS, len(embeddings) - 1)
        self.distances, self.answers = self._ask(exact)

    def recall(self, index: Index) -> Recall:
        distances, found = self._ask(index)
        # One that is as far as the last of the exact answer is as right: copies of a sample are ties.
        right = (found[:, :, None] == self.answers[:, None]).any(axis=2) | (distances <= self.distances[:, -1:])
        first = (found[:, 0] == self.answers[:, 0]) | (distances[:, 0] <= self.distances[:, 0])
        return Recall(float(first.mean()), float(right.mean()), len(found))

    def _ask(self, index: Index) -> tuple[Array, Array]:
        """Return the nearest but the query itself; where that was not found, the last is left out."""
        distances, rows = search(index, self.queries, self.count + 1, self.distance)
        own = rows == self.rows[:, None]
        own[~own.any(axis=1), -1] = True
        shape = len(rows), self.count
        return distances[~own].reshape(shape), rows[~own].reshape(shape)


def kind_of(index: Index) -> Kind:
    """Return what kind of index it is."""
    if isinstance(index, faiss.IndexHNSW):
        return "hnsw"
    return "ivf" if isinstance(index, faiss.IndexIVF) else "flat"


def settings(index: Index) -> dict[str, int]:
    """Return how it was built and how hard it looks; nothing of an exact one."""
    if isinstance(index, faiss.IndexHNSW):
        return {"links": LINKS, "breadth": BREADTH, "effort": index.hnsw.efSearch}
    return {"cells": index.nlist, "effort": index.nprobe} if isinstance(index, faiss.IndexIVF) else {}


def set_effort(index: Index, effort: int) -> None:
    """Set how hard an approximate index looks: candidates of a graph, or cells; the file keeps it."""
    if isinstance(index, faiss.IndexHNSW):
        index.hnsw.efSearch = effort
    else:
        index.nprobe = effort


def _most(index: Index) -> int:
    """Return the effort above which comparing with every embedding is as fast, about."""
    return int(index.nlist) // 4 if isinstance(index, faiss.IndexIVF) else 512


def _exhaustive(index: Index, queries: Array, count: int) -> tuple[Array, Array]:
    if isinstance(index, faiss.IndexHNSW):
        found, rows = index.storage.search(queries, count)
        return found, rows
    # Not by parameters of the one search: where `faiss.contrib.torch_utils` was imported, it knows none.
    effort, index.nprobe = index.nprobe, index.nlist
    try:
        found, rows = index.search(queries, count)
        return found, rows
    finally:
        index.nprobe = effort


def _flat(embeddings: Array, metric: int) -> Index:
    index = faiss.IndexFlat(embeddings.shape[1], metric)
    index.add(embeddings)
    return index


def _graph(embeddings: Array, metric: int) -> Index:
    index = faiss.IndexHNSWFlat(embeddings.shape[1], LINKS, metric)
    index.hnsw.efConstruction = BREADTH
    for start in range(0, len(embeddings), _SERIAL):
        index.add(embeddings[start : start + _SERIAL])
    return index


def _cells(embeddings: Array, metric: int) -> Index:
    count, width = embeddings.shape
    # faiss warns where a cell has fewer than 39 embeddings to be fitted to.
    cells = max(1, min(int(4 * sqrt(count)), count // 39))
    index = faiss.IndexIVFFlat(faiss.IndexFlat(width, metric), width, cells, metric)
    index.cp.max_points_per_centroid = POINTS_PER_CELL
    index.train(embeddings)
    index.add(embeddings)
    return index


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
LEAST = {"hnsw": 16, "ivf": 1}
"""The least effort that is tried."""
_BUILDERS = {"flat": _flat, "ivf": _cells, "hnsw": _graph}

"""How well a product-quantised index finds the nearest of many, by bytes a vector."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np

Array = np.ndarray[Any, Any]

ID_BYTES = 8
"""What faiss keeps of each vector beside its code."""


def made(*, classes: int, samples: int, queries: int, width: int, spread: float, seed: int) -> tuple[Array, Array]:
    """Return vectors of length 1 around class centres (classes * samples, width), and as many queries, one of a class.

    Args:
        classes: how many.
        samples: of each.
        queries: at most one of a class.
        width: dimensions.
        spread: length of a sample's way from its centre, about.
        seed: of all of it.
    """
    generator = np.random.default_rng(seed)
    centres = _unit(generator.standard_normal((classes, width), dtype=np.float32))
    around = generator.standard_normal((classes, samples, width), dtype=np.float32) * (spread / width**0.5)
    vectors = _unit((centres[:, None] + around).reshape(-1, width))
    moved = generator.standard_normal((queries, width), dtype=np.float32) * (spread / width**0.5)
    return vectors, _unit(centres[:queries] + moved)


def recall(found: Array, wanted: Array) -> float:
    """Return the mean share of the wanted rows (queries, k) that are among those found (queries, any).

    Example:
        >>> recall(np.array([[3, 1, 9]]), np.array([[1, 2]]))
        0.5
    """
    return float(np.mean([np.isin(want, got).mean() for got, want in zip(found, wanted, strict=True)]))


def lines(vectors: Array, queries: Array, codes: tuple[int, ...], *, k: int, again: int) -> list[dict[str, float]]:
    """Return, for each length of a code in bytes, the recall of the k nearest, as found and after a second look.

    The second look computes the exact distance of the `again` nearest by code, as a store of the exact vectors on disk
    would (Jegou, Tavenard, Douze, Amsaleg: Searching in one billion vectors: re-rank with source coding, 2011).
    """
    exact = faiss.IndexFlatIP(vectors.shape[1])
    exact.add(vectors)
    _, wanted = exact.search(queries, k)
    lists = int(len(vectors) ** 0.5)
    found = []
    for size in codes:
        centres = faiss.IndexFlatIP(vectors.shape[1])
        index = faiss.IndexIVFPQ(centres, vectors.shape[1], lists, size, 8, faiss.METRIC_INNER_PRODUCT)
        index.train(vectors)
        index.add(vectors)
        index.nprobe = max(1, lists // 16)
        _, near = index.search(queries, again)
        scores = np.einsum("qd,qad->qa", queries, vectors[near])
        looked = np.take_along_axis(near, np.argsort(-scores, axis=1)[:, :k], axis=1)
        row = {"code_bytes": size, "recall": recall(near[:, :k], wanted), "recall_again": recall(looked, wanted)}
        found.append(row | {"gigabytes_a_billion": size + ID_BYTES})
    return found


def _unit(vectors: Array) -> Array:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), dtype=np.float32)

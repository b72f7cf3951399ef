"""A map of embeddings: many numbers a sample become two, for a person to look at."""

import numpy as np
import torch
from numpy.typing import NDArray

from likewise import distances
from likewise.evaluation.checks import Array, Labels, as_codes, as_embeddings

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

FEWEST = 8
"""Samples below which a map shows nothing that a table would not."""
PERPLEXITY = 30.0


def spread(labels: Labels, *, count: int, seed: int) -> Indices:
    """Return at most `count` rows, rising, as many of each class as there are, to one.

    One row of each class is drawn before a second of any; which ones depends on the seed.

    >>> spread(["a", "a", "a", "b"], count=2, seed=0).tolist()
    [2, 3]
    """
    codes = as_codes(labels, samples=len(np.asarray(labels)))
    generator = np.random.default_rng(seed)
    shuffled = generator.permutation(codes.size)
    by_class = shuffled[np.argsort(codes[shuffled], kind="stable")]
    counts = np.bincount(codes)
    rank = np.arange(codes.size) - np.repeat(np.cumsum(counts) - counts, counts)
    # Among the first rows of all classes, and so on, the classes take turns in a random order.
    order = np.lexsort((generator.permutation(counts.size)[codes[by_class]], rank))
    return np.sort(by_class[order[:count]])


def principal(embeddings: Array) -> tuple[Floats, Floats]:
    """Return (samples, 2) coordinates along the two directions of most variance, and their shares of it (2,).

    Each direction points to where the sample farthest out along it lies. Pearson, "On lines and planes of closest fit
    to systems of points in space", 1901.

    >>> places, shares = principal(np.array([[0.0, 0.0], [2.0, 0.0], [-1.0, 0.0]]))
    >>> (places.round(3) + 0.0).tolist(), shares.tolist()
    ([[-0.333, 0.0], [1.667, 0.0], [-1.333, 0.0]], [1.0, 0.0])
    """
    matrix = as_embeddings(embeddings).double()
    centred = (matrix - matrix.mean(dim=0)).numpy()
    left, lengths, _ = np.linalg.svd(np.pad(centred, ((0, 0), (0, max(0, 2 - centred.shape[1])))), full_matrices=False)
    places = (left * lengths)[:, :2]
    places *= np.where(places[np.abs(places).argmax(axis=0), [0, 1]] < 0, -1.0, 1.0)
    squares = lengths**2
    return places, (squares[:2] / squares.sum() if squares.sum() else np.zeros(2))


def neighbourhoods(embeddings: Array, *, distance: str, seed: int) -> Floats:
    """Return (samples, 2) coordinates in which samples that are near stay near (t-SNE).

    Sizes of groups, and how far apart they lie, mean nothing. Van der Maaten and Hinton, "Visualizing data using
    t-SNE", 2008; here of the model's own distances, begun from the principal directions and with one thread, so that
    the same embeddings give the same map.

    Raises:
        ValueError: an unknown distance, NaN, or fewer than `FEWEST` samples.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    matrix = as_embeddings(embeddings).double()
    if len(matrix) < FEWEST:
        raise ValueError(f"a map needs at least {FEWEST} samples, not {len(matrix)}")
    with torch.inference_mode():
        apart = distances.build(distance).pairwise(matrix).clamp_min(0).fill_diagonal_(0).numpy()
    places, _ = principal(matrix)
    begin = places / max(float(places[:, 0].std()), np.finfo(np.float64).tiny) * 1e-4
    method = TSNE(
        perplexity=min(PERPLEXITY, (len(matrix) - 1) / 3),
        metric="precomputed",
        init=begin.astype(np.float32),
        method="exact" if len(matrix) < 100 else "barnes_hut",
        random_state=seed,
    )
    with threadpool_limits(limits=1):
        found: Floats = method.fit_transform(apart).astype(np.float64)
    return found

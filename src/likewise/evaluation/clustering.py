"""Do the classes come out as clusters, with no label given? K-means, held against the classes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from likewise import distances
from likewise.evaluation.blocks import NO_DIRECTION
from likewise.evaluation.checks import Array, Labels, as_codes, as_embeddings

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ClusteringResult:
    """How well clusters agree with classes.

    Attributes:
        nmi: normalised mutual information, 0 for no relation, 1 for the same partition.
        ari: adjusted Rand index, 0 on average for a random partition, 1 for the same; it may be negative.
        purity: the share of samples in the commonest class of their cluster; it rises with the clusters.
        clusters: how many clusters were found, fewer than asked for where fewer embeddings are distinct.
        samples: how many samples there were.
    """

    nmi: float
    ari: float
    purity: float
    clusters: int
    samples: int


def evaluate(
    embeddings: Array,
    labels: Labels,
    *,
    distance: str,
    clusters: int | None = None,
    restarts: int = 10,
    seed: int,
) -> ClusteringResult:
    """Cluster the embeddings by k-means and compare the clusters with the classes.

    K-means knows the squared Euclidean distance alone: for cosine it runs on vectors of length 1, for every other
    distance on the embeddings as they are. The order of the rows does not matter. NMI is the mutual information over
    the mean of both entropies (Strehl and Ghosh, 2002); ARI: Hubert and Arabie, "Comparing partitions", 1985.

    Args:
        embeddings: (samples, dimensions).
        labels: (samples,) the class of each sample.
        distance: a name that `likewise.distances.build` knows.
        clusters: how many to look for; None for as many as there are classes.
        restarts: how often k-means++ draws centres; the run with the least sum of squares counts.
        seed: of those draws.

    Raises:
        ValueError: for NaN embeddings, an unknown distance, or numbers of clusters or restarts that make no sense.

    >>> points = np.array([[0.0], [0.1], [5.0], [5.1]])
    >>> evaluate(points, ["a", "a", "b", "b"], distance="euclidean", seed=0)
    ClusteringResult(nmi=1.0, ari=1.0, purity=1.0, clusters=2, samples=4)
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    distances.build(distance)
    matrix = as_embeddings(embeddings).double().numpy()
    codes = as_codes(labels, samples=len(matrix))
    wanted = int(codes.max()) + 1 if clusters is None else clusters
    _check_numbers(wanted, restarts, samples=len(matrix))
    found = _clusters(_directions(matrix) if distance == "cosine" else matrix, wanted, restarts, seed)
    return ClusteringResult(
        nmi=float(normalized_mutual_info_score(codes, found)),
        ari=float(adjusted_rand_score(codes, found)),
        purity=purity(codes, found),
        clusters=np.unique(found).size,
        samples=codes.size,
    )


def purity(labels: Labels, clusters: Labels) -> float:
    """Return the share of samples in the commonest class of their cluster, 1/n sum over k of max over c of n_kc.

    Manning, Raghavan and Schütze, "Introduction to information retrieval", 2008, section 16.3.

    Args:
        labels: (samples,) the class of each sample.
        clusters: (samples,) its cluster.

    Raises:
        ValueError: when there is no sample, or one without a class or a cluster.

    >>> purity(["a", "a", "b", "b", "b"], [0, 0, 0, 1, 1])
    0.8
    """
    samples = len(labels)
    if not samples:
        raise ValueError("purity needs at least one sample")
    codes, found = as_codes(labels, samples=samples), as_codes(clusters, samples=samples)
    cells, counts = np.unique(np.stack((found, codes)), axis=1, return_counts=True)
    commonest = np.zeros(int(found.max()) + 1, dtype=np.int64)
    np.maximum.at(commonest, cells[0], counts)
    return int(commonest.sum()) / samples


def _clusters(matrix: Floats, wanted: int, restarts: int, seed: int) -> NDArray[np.int64]:
    """Return the cluster of each row; rows are sorted first, so that the draws do not depend on their order."""
    from sklearn.cluster import KMeans

    order = np.lexsort(matrix.T)
    ordered = matrix[order]
    distinct = 1 + int(np.any(ordered[1:] != ordered[:-1], axis=1).sum())
    fitted = KMeans(min(wanted, distinct), n_init=restarts, random_state=seed).fit(ordered)
    found = np.empty(len(matrix), dtype=np.int64)
    found[order] = fitted.labels_
    return found


def _directions(matrix: Floats) -> Floats:
    """Return vectors of length 1, or 0 without a direction, to single precision so that the same ones are equal."""
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    lost = norms <= NO_DIRECTION
    units = np.where(lost, 0, matrix / np.where(lost, 1, norms))
    return units.astype(np.float32).astype(np.float64)


def _check_numbers(clusters: int, restarts: int, *, samples: int) -> None:
    if not 1 <= clusters <= samples:
        raise ValueError(f"clusters must lie between 1 and the {samples} samples, not at {clusters}")
    if restarts < 1:
        raise ValueError(f"restarts must be at least 1, not {restarts}")

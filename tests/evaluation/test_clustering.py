import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from likewise import distances
from likewise.evaluation import clustering

Array = NDArray[Any]
PARTITIONS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30)


def blobs(seed: int, *, classes: int = 5, size: int = 12, spread: float = 0.3) -> tuple[Array, Array]:
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.repeat(np.arange(classes), size))
    return generator.normal(size=(classes, 4))[labels] + spread * generator.normal(size=(labels.size, 4)), labels


@settings(deadline=None)
@given(PARTITIONS)
def test_purity_by_counting(rows: list[tuple[int, int]]) -> None:
    clusters: dict[int, Counter[int]] = {}
    for label, cluster in rows:
        clusters.setdefault(cluster, Counter())[label] += 1
    right = sum(counter.most_common(1)[0][1] for counter in clusters.values())
    labels, found = zip(*rows, strict=True)
    assert clustering.purity(list(labels), list(found)) == right / len(rows)


def entropies(labels: Array, clusters: Array) -> tuple[float, float, float]:
    def entropy(values: list[Any]) -> float:
        return -sum(n / len(values) * math.log(n / len(values)) for n in Counter(values).values())

    both = list(zip(labels.tolist(), clusters.tolist(), strict=True))
    return entropy(labels.tolist()), entropy(clusters.tolist()), entropy(both)


def adjusted_rand(labels: Array, clusters: Array) -> float:
    pairs = [(i, j) for i in range(labels.size) for j in range(i)]
    together = sum(labels[i] == labels[j] and clusters[i] == clusters[j] for i, j in pairs)
    one, other = (sum(column[i] == column[j] for i, j in pairs) for column in (labels, clusters))
    expected = one * other / len(pairs)
    return float((together - expected) / ((one + other) / 2 - expected))


@pytest.mark.parametrize("distance", sorted(distances.DISTANCES))
def test_figures_are_those_of_k_means_on_the_right_vectors(distance: str) -> None:
    points, labels = blobs(0, spread=0.8)
    found = clustering.evaluate(points, labels, distance=distance, seed=1)
    single = points.astype(np.float64)
    if distance == "cosine":
        single = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32).astype(np.float64)
    order = np.lexsort(single.T)
    clusters = KMeans(5, n_init=10, random_state=1).fit(single[order]).labels_
    one, other, both = entropies(labels[order], clusters)
    assert found.nmi == pytest.approx((one + other - both) / ((one + other) / 2))
    assert found.ari == pytest.approx(adjusted_rand(labels[order], clusters))
    assert found.purity == clustering.purity(labels[order], clusters)
    assert (found.clusters, found.samples) == (5, 60)
    assert 0.2 < found.nmi < 1


def test_lengths_matter_to_euclidean_and_not_to_cosine() -> None:
    generator = np.random.default_rng(2)
    directions, labels = blobs(3, spread=0.02)
    stretched = directions * generator.uniform(0.01, 100, size=(60, 1))
    assert clustering.evaluate(stretched, labels, distance="cosine", seed=0).nmi == pytest.approx(1)
    assert clustering.evaluate(stretched, labels, distance="euclidean", seed=0).nmi < 0.8


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_order_and_names_do_not_matter(distance: str) -> None:
    points, labels = blobs(4, spread=1.0)
    order = np.random.default_rng(0).permutation(labels.size)
    names = np.array(["v", "w", "x", "y", "z"])[labels][order]
    ours, shuffled = (
        clustering.evaluate(points[rows], given, distance=distance, seed=7)
        for rows, given in ((np.arange(labels.size), labels), (order, names))
    )
    assert shuffled.purity == ours.purity
    assert (shuffled.nmi, shuffled.ari) == pytest.approx((ours.nmi, ours.ari), abs=1e-12)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.filterwarnings("error")
def test_a_collapsed_encoder_is_one_cluster(distance: str) -> None:
    vector = np.random.default_rng(0).normal(size=8)
    scaled = np.outer(np.linspace(1, 3, 12) if distance == "cosine" else np.ones(12), vector)
    found = clustering.evaluate(scaled, np.arange(12) % 3, distance=distance, seed=0)
    assert (found.nmi, found.ari, found.clusters) == (0.0, 0.0, 1)
    assert found.purity == pytest.approx(1 / 3)


def test_vectors_without_a_direction_are_taken_as_they_are() -> None:
    points = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [5.0, 0.0]])
    found = clustering.evaluate(points, ["a", "a", "b", "b"], distance="cosine", seed=0)
    assert (found.nmi, found.purity, found.clusters) == (1.0, 1.0, 2)


def test_other_numbers_of_clusters_and_half_precision() -> None:
    points, labels = blobs(5)
    whole = clustering.evaluate(points, labels, distance="euclidean", clusters=60, seed=0)
    assert (whole.purity, whole.clusters) == (1.0, 60)
    single = clustering.evaluate(points, labels, distance="euclidean", clusters=1, seed=0)
    assert (single.nmi, single.purity) == (0.0, 0.2)
    half = torch.from_numpy(points).to(torch.bfloat16)
    assert clustering.evaluate(half, labels, distance="euclidean", restarts=1, seed=0) == clustering.evaluate(
        half.double(), labels, distance="euclidean", restarts=1, seed=0
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"distance": "cosin"}, "unknown distance 'cosin'"),
        ({"clusters": 0}, "between 1 and the 4 samples, not at 0"),
        ({"clusters": 5}, "between 1 and the 4 samples, not at 5"),
        ({"restarts": 0}, "restarts must be at least 1"),
        ({"embeddings": np.full((4, 4), np.inf)}, "4 of the 4 embeddings hold NaN"),
        ({"labels": ["a", "b", None, "c"]}, "1 of the 4 labels are missing"),
    ],
)
def test_bad_input_is_refused(change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"embeddings": np.eye(4), "labels": [0, 0, 1, 1], "distance": "cosine", "seed": 0}
    with pytest.raises(ValueError, match=message):
        clustering.evaluate(**(good | change))


def test_purity_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        clustering.purity([], [])

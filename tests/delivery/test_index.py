from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import pytest
import torch

from likewise import distances
from likewise.delivery import index

Array = np.ndarray[Any, Any]


def cloud(count: int, *, seed: int = 0, width: int = 16) -> Array:
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


@pytest.mark.parametrize("distance", distances.DISTANCES)
@pytest.mark.parametrize("queries", [1, 30])
def test_the_nearest_are_those_of_all_distances(distance: str, queries: int) -> None:
    gallery, probes = cloud(300), cloud(queries, seed=1)
    found, rows = index.search(index.build(gallery, distance), probes, 7, distance)
    every = distances.build(distance).pairwise(torch.from_numpy(probes), torch.from_numpy(gallery)).numpy()
    order = np.argsort(every, axis=1)[:, :7]
    np.testing.assert_array_equal(rows, order)
    np.testing.assert_allclose(found, np.take_along_axis(every, order, axis=1), rtol=1e-4, atol=1e-5)


def test_every_distance_has_an_index() -> None:
    assert set(index.METRICS) == set(distances.DISTANCES)


@pytest.mark.parametrize("distance", index.METRICS)
def test_an_embedding_is_its_own_nearest(distance: str) -> None:
    gallery = cloud(50) * 3
    found, rows = index.search(index.build(gallery, distance), gallery, 1, distance)
    assert rows[:, 0].tolist() == list(range(50))
    np.testing.assert_allclose(found, 0, atol=0.02 if distance == "euclidean" else 2e-4)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("distance", index.METRICS)
def test_fewer_come_where_there_are_fewer(distance: str) -> None:
    found, rows = index.search(index.build(cloud(3), distance), cloud(2, seed=1), 10, distance)
    assert found.shape == rows.shape == (2, 3)
    assert (np.diff(found, axis=1) >= 0).all()


def test_the_cosine_does_not_see_the_length_and_bears_a_zero() -> None:
    gallery = cloud(20)
    gallery[4] = 0
    made = index.build(gallery, "cosine")
    short, _ = index.search(made, cloud(5, seed=1), 20, "cosine")
    long, rows = index.search(made, 1000 * cloud(5, seed=1), 20, "cosine")
    np.testing.assert_allclose(short, long, atol=1e-6)
    assert long[rows == 4] == pytest.approx([1.0] * 5)


def test_what_is_given_is_not_changed() -> None:
    gallery, before = cloud(20), cloud(20)
    index.search(index.build(gallery, "cosine"), gallery, 2, "cosine")
    np.testing.assert_array_equal(gallery, before)


def test_an_unknown_distance_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="distance: given 'hamming'; the index knows: euclidean, squared_euclidean"):
        index.build(cloud(3), "hamming")


KINDS: tuple[index.Kind, ...] = ("flat", "ivf", "hnsw")


def groups(count: int, *, seed: int = 0) -> Array:
    """Embeddings as training makes them: close together by class."""
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(count // 20, 16))
    return (centres[draw.integers(0, len(centres), count)] + 0.2 * draw.normal(size=(count, 16))).astype(np.float32)


@pytest.mark.parametrize("distance", distances.DISTANCES)
@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_an_approximate_index_finds_nearly_what_the_exact_one_does_at_the_same_distances(
    kind: index.Kind, distance: str
) -> None:
    gallery, probes = groups(3000), groups(3000)[:100] + 0.1 * cloud(100, seed=1)
    made = index.build(gallery, distance, kind)
    told = index.tune(made, gallery, distance, wanted=0.98)
    found, rows = index.search(made, probes, 10, distance)
    every = distances.build(distance).pairwise(torch.from_numpy(probes), torch.from_numpy(gallery)).numpy()
    order = np.argsort(every, axis=1)[:, :10]
    share = np.mean([len(set(some) & set(all_)) / 10 for some, all_ in zip(rows, order, strict=True)])
    assert share > 0.95
    assert told.ten > 0.95
    assert told.queries == index.QUERIES
    np.testing.assert_allclose(found, np.take_along_axis(every, rows, axis=1), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_the_recall_told_is_what_a_loop_counts(kind: index.Kind) -> None:
    gallery = cloud(1500)
    made = index.build(gallery, "euclidean", kind)
    told = index.tune(made, gallery, "euclidean", wanted=0.5, seed=3)
    first = ten = 0
    asked = np.random.default_rng(3).permutation(1500)[: 2 * index.QUERIES][1::2]
    for row in asked:
        away = np.linalg.norm(gallery - gallery[row], axis=1)
        nearest = [int(each) for each in np.argsort(away) if each != row][:10]
        _, rows = made.search(gallery[row : row + 1], 11)
        found = [int(each) for each in rows[0] if each != row][:10]
        first += found[0] == nearest[0]
        ten += len(set(found) & set(nearest))
    assert told == index.Recall(first / len(asked), ten / len(asked) / 10, len(asked))
    assert told.ten < 1


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_more_effort_finds_more_and_the_file_keeps_it(kind: index.Kind) -> None:
    gallery = cloud(3000, width=48)
    made = index.build(gallery, "euclidean", kind)
    little = index.tune(made, gallery, "euclidean", wanted=0.01).ten
    least = index.settings(made)["effort"]
    much = index.tune(made, gallery, "euclidean", wanted=0.97).ten
    assert least == index.LEAST[kind]
    assert index.settings(made)["effort"] > least
    assert much > little
    assert index.settings(faiss.deserialize_index(faiss.serialize_index(made))) == index.settings(made)


@pytest.mark.parametrize("distance", distances.DISTANCES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_embeddings_give_the_same_bytes(kind: index.Kind, distance: str) -> None:
    once, again = (faiss.serialize_index(index.build(groups(2500), distance, kind)) for _ in range(2))
    np.testing.assert_array_equal(once, again)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 2, 30])
def test_few_embeddings_have_every_kind_of_index(kind: index.Kind, count: int) -> None:
    gallery = cloud(count)
    made = index.build(gallery, "euclidean", kind)
    assert index.kind_of(made) == kind
    assert index.tune(made, gallery, "euclidean", wanted=1).ten == 1
    _, rows = index.search(made, gallery, 3, "euclidean")
    assert rows[:, 0].tolist() == list(range(count))


@pytest.mark.parametrize("kind", KINDS)
def test_more_than_the_cells_looked_at_hold_are_found_all_the_same(kind: index.Kind) -> None:
    gallery = groups(2000)
    _, rows = index.search(index.build(gallery, "euclidean", kind), gallery[:3], 2000, "euclidean")
    assert (np.sort(rows, axis=1) == np.arange(2000)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_copies_of_a_sample_do_not_count_as_missed(kind: index.Kind) -> None:
    gallery = np.repeat(cloud(160), 12, axis=0)
    told = index.tune(index.build(gallery, "euclidean", kind), gallery, "euclidean", wanted=1)
    assert (told.first, told.ten) == (1, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_asked_is_nothing_found(kind: index.Kind) -> None:
    made = index.build(cloud(20), "cosine", kind)
    found, rows = index.search(made, cloud(0), 3, "cosine")
    assert found.shape == rows.shape == (0, 3)


def test_the_limits_may_be_in_any_order() -> None:
    kinds = [index.kind_for(count, hnsw_from=1000, ivf_from=100) for count in (99, 100, 999, 1000)]
    assert kinds == ["flat", "ivf", "ivf", "hnsw"]

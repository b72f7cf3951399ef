from __future__ import annotations

from typing import Any

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

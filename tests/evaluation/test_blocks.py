from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from likewise import distances
from likewise.evaluation.blocks import Scores

Array = NDArray[Any]
DISTANCES = sorted(distances.DISTANCES)


def embeddings(rows: int, dimensions: int = 16, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, dimensions, generator=generator)


def expected(left: torch.Tensor, right: torch.Tensor, distance: str) -> Array:
    measure = distances.build(distance)
    return measure.score(measure.pairwise(left, right)).float().numpy()


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_a_block_is_what_the_distance_scores(distance: str, scale: float) -> None:
    left, right = embeddings(30, scale=scale), embeddings(40, seed=1, scale=scale)
    whole = expected(left, right, distance)
    scores = Scores.build(left, right, distance)
    block = scores.block(slice(5, 25), slice(10, 40))
    np.testing.assert_allclose(block, whole[5:25, 10:], rtol=2e-7, atol=2e-7 * np.abs(whole).max())
    assert block.dtype == np.float32
    rows, columns = np.array([0, 29, 3]), np.array([7, 0, 39])
    np.testing.assert_array_equal(scores.pairs(rows, columns), scores.block(slice(0, 30), slice(0, 40))[rows, columns])


@pytest.mark.parametrize("distance", DISTANCES)
def test_stacks_are_the_blocks_on_the_diagonal(distance: str) -> None:
    left, right = embeddings(12), embeddings(20, seed=1)
    stacks = Scores.build(left, right, distance).stacks(4)
    assert stacks.shape == (4, 3, 5)
    for index, stack in enumerate(stacks):
        whole = expected(left[3 * index : 3 * index + 3], right[5 * index : 5 * index + 5], distance)
        np.testing.assert_allclose(stack, whole, rtol=2e-7, atol=2e-7)


@pytest.mark.parametrize("distance", DISTANCES)
def test_equal_pairs_tie_wherever_they_stand(distance: str) -> None:
    few = embeddings(7, dimensions=96)
    many = few[torch.randint(0, 7, (300,), generator=torch.Generator().manual_seed(2))]
    scores = Scores.build(many, many, distance)
    whole = np.concatenate([scores.block(slice(i, i + 13), slice(0, 300)) for i in range(0, 300, 13)])
    assert len(np.unique(whole)) <= 7 * 6 // 2 + 1
    np.testing.assert_array_equal(whole, whole.T)


@pytest.mark.parametrize("distance", ["euclidean", "squared_euclidean"])
def test_rounding_of_a_distance_of_nought_is_nought(distance: str) -> None:
    point = embeddings(1, dimensions=100, scale=1e4).expand(50, -1)
    assert (Scores.build(point, point, distance).block(slice(0, 50), slice(0, 50)) == 0).all()


def test_a_small_vector_is_not_nought_beside_a_large_one() -> None:
    points = torch.tensor([[1e6, 0.0], [0.0, 0.0], [0.0, 1e-3]])
    block = Scores.build(points, points, "squared_euclidean").block(slice(0, 3), slice(0, 3))
    assert block[1, 2] == pytest.approx(-1e-6, rel=1e-5)
    assert block[1, 1] == 0


def test_vectors_of_nought_are_alike_to_their_own_kind_alone() -> None:
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    np.testing.assert_array_equal(
        Scores.build(points, points, "cosine").block(slice(0, 3), slice(0, 3)), expected(points, points, "cosine")
    )


def test_embeddings_whose_distances_overflow_are_refused() -> None:
    large = torch.full((2, 1), 1e20)
    with pytest.raises(ValueError, match=r"as long as 1e\+20 are too large"):
        Scores.build(large, large, "euclidean")

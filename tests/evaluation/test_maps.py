import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score

from likewise.evaluation import maps


def clusters(classes: int, each: int, *, dimensions: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    centres = 8 * generator.standard_normal((classes, dimensions))
    return centres[labels] + generator.standard_normal((labels.size, dimensions)), labels


def test_principal_directions_are_those_of_scikit_learn() -> None:
    embeddings, _ = clusters(4, 10)
    found, shares = maps.principal(embeddings)
    theirs = PCA(2, svd_solver="full").fit(embeddings)
    np.testing.assert_allclose(np.abs(found), np.abs(theirs.transform(embeddings)), atol=1e-9)
    np.testing.assert_allclose(shares, theirs.explained_variance_ratio_)
    assert (found[np.abs(found).argmax(axis=0), [0, 1]] > 0).all()


@pytest.mark.parametrize("dimensions", [1, 2])
def test_embeddings_of_few_numbers_and_all_alike_have_a_place(dimensions: int) -> None:
    found, shares = maps.principal(np.ones((5, dimensions)))
    assert found.tolist() == [[0, 0]] * 5
    assert shares.tolist() == [0, 0]


@pytest.mark.parametrize("each", [6, 40])
def test_neighbours_stay_together_and_the_map_stays_the_same(each: int) -> None:
    embeddings, labels = clusters(4, each)
    found = maps.neighbourhoods(embeddings, distance="euclidean", seed=0)
    assert found.shape == (labels.size, 2)
    assert silhouette_score(found, labels) > 0.5
    np.testing.assert_array_equal(found, maps.neighbourhoods(embeddings, distance="euclidean", seed=0))


def test_embeddings_all_alike_have_a_map() -> None:
    assert np.isfinite(maps.neighbourhoods(np.ones((20, 3)), distance="cosine", seed=0)).all()


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 8 samples, not 3"):
        maps.neighbourhoods(np.eye(3), distance="cosine", seed=0)


@pytest.mark.parametrize("count", [1, 3, 7, 20, 99])
def test_classes_take_turns(count: int) -> None:
    labels = np.array([0] * 10 + [1] * 3 + [2] * 7)
    rows = maps.spread(labels, count=count, seed=3)
    assert len(set(rows.tolist())) == len(rows) == min(count, 20)
    taken = np.bincount(labels[rows], minlength=3)
    room = np.array([10, 3, 7])
    fair = min(turns for turns in range(11) if np.minimum(room, turns).sum() >= len(rows))
    assert (taken <= np.minimum(room, fair)).all()
    assert (taken >= np.minimum(room, fair - 1)).all()
    np.testing.assert_array_equal(rows, maps.spread(labels, count=count, seed=3))
    assert count > 7 or len({tuple(maps.spread(labels, count=count, seed=seed)) for seed in range(9)}) > 1

import numpy as np
import pytest
import torch

from likewise.evaluation import neighbours
from likewise.evaluation.blocks import Indices, Scores
from likewise.evaluation.neighbours import Coarse, Found

DISTANCES = ["cosine", "euclidean", "squared_euclidean"]


def embeddings(samples: int, *, dimensions: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.randn(samples, dimensions, generator=torch.Generator().manual_seed(seed))


def coarse(scores: Scores) -> Coarse:
    found = Coarse.of(scores)
    assert found is not None
    return found


def of_rows(scores: Scores, rows: Indices, *, depth: int, leave_out: Indices | None) -> Found | None:
    columns = len(scores.sides[1])
    return coarse(scores).of_rows(rows, depth=depth, leave_out=leave_out, space=torch.empty(rows.size, columns))


def assert_holds_the_best(scores: Scores, rows: Indices, found: Found | None, *, depth: int, most: int) -> None:
    """Compare with the whole row in double precision: nothing as good as the last of the best may be missing."""
    assert found is not None
    places, columns = found
    assert (np.diff(places) >= 0).all()
    for place, row in enumerate(rows):
        exact = scores.block(slice(row, row + 1), slice(0, len(scores.sides[1])))[0]
        exact[row] = -np.inf
        mine = columns[places == place]
        assert len(set(mine.tolist())) == mine.size < most
        assert set(np.flatnonzero(exact >= np.sort(exact)[-depth]).tolist()) <= set(mine.tolist())
        assert row not in mine


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_the_best_and_all_that_tie_with_them(distance: str, offset: float) -> None:
    points = embeddings(900) + offset
    points[450:460] = points[0]
    scores, rows = Scores.build(points, points, distance), np.arange(0, 900, 7)
    assert_holds_the_best(scores, rows, of_rows(scores, rows, depth=5, leave_out=rows), depth=5, most=450)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("offset", [0.0, 30.0])
@pytest.mark.parametrize("samples", [512, 700, 897])
def test_each_product_taken_once(distance: str, offset: float, samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "TILE", 128)
    monkeypatch.setattr(neighbours, "GROUP", 8)
    points = embeddings(samples) + offset
    points[450:460] = points[0]
    scores = Scores.build(points, points, distance)
    found = coarse(scores).of_all(depth=5)
    assert_holds_the_best(scores, np.arange(samples), found, depth=5, most=samples // 2)


def test_nothing_where_it_would_spare_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.arange(10)
    same, apart = torch.ones(2000, 4), embeddings(2000)
    alike, different = Scores.build(same, same, "euclidean"), Scores.build(apart, apart, "cosine")
    assert of_rows(alike, rows, depth=3, leave_out=rows) is None
    assert coarse(alike).of_all(depth=3) is None
    assert of_rows(different, rows, depth=500, leave_out=rows) is None
    assert coarse(different).of_all(depth=500) is None
    assert Coarse.of(Scores.build(apart, apart, "manhattan")) is None
    assert of_rows(different, rows, depth=3, leave_out=None) is not None
    assert coarse(different).of_all(depth=3) is not None
    monkeypatch.setattr(neighbours, "MOST_BYTES", 2**17)
    assert coarse(different).of_all(depth=3) is None

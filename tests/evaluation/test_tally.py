from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from likewise.evaluation import tally as tallies
from likewise.evaluation.tally import Grid, Tally

Singles = NDArray[np.float32]
FEW = st.integers(-6, 6).map(lambda whole: whole / 4)
ANY = st.floats(-2, 2, width=32)
EXTREME = st.floats(-(2.0**127), 2.0**127, width=32)


def singles(values: Any) -> Singles:
    return np.array(values, dtype=np.float32)


def tallied(edges: Singles, blocks: list[Singles]) -> Tally:
    found = Tally.build(edges)
    total = sum(block.size for block in blocks)
    for block in blocks:
        found.add(block, share=block.size / total)
    wanted = found.missing()
    if wanted is not None:
        for block in blocks:
            found.look(block, wanted)
    return found


def assert_counted(found: Tally, scores: Singles) -> None:
    """Compare with a loop over the edges; nearest scores matter between an edge and the next only."""
    edges = found.edges.tolist()
    at_least, above = found.counts()
    assert at_least.tolist() == [int((scores >= edge).sum()) for edge in edges]
    assert above.tolist() == [int((scores > edge).sum()) for edge in edges]
    for place, edge in enumerate(edges):
        last = edges[place - 1] if place else -np.inf
        following = edges[place + 1] if place + 1 < len(edges) else np.inf
        below, over = scores[(scores < edge) & (scores > last)], scores[(scores > edge) & (scores < following)]
        assert (found.under[place] if found.under[place] > last else None) == (below.max() if below.size else None)
        assert (found.over[place] if found.over[place] < following else None) == (over.min() if over.size else None)
    assert found.lowest == scores.min()
    assert max(found.highest, edges[-1]) == max(scores.max(), edges[-1])


@pytest.mark.parametrize("cells", [2, 7, 1000])
@pytest.mark.parametrize("top", [0, 3])
@pytest.mark.parametrize("waiting", [1, 1000])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_as_when_every_edge_looks_at_every_score(cells: int, top: int, waiting: int, data: st.DataObject) -> None:
    value = data.draw(st.sampled_from([FEW, ANY, EXTREME]))
    edges = singles(sorted(set(singles(data.draw(st.lists(value, min_size=1, max_size=8))).tolist())))
    blocks = [
        singles(block)
        for block in data.draw(st.lists(st.lists(value, min_size=1, max_size=20), min_size=1, max_size=4))
    ]
    scores = np.concatenate(blocks)
    holes = [np.append(block, singles([np.nan])) for block in blocks]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tallies, "CELLS", cells)
        patch.setattr(tallies, "TOP", top)
        patch.setattr(tallies, "SORTED", waiting)
        assert_counted(tallied(edges, holes), scores)


def test_most_scores_are_counted_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallies, "CELLS", 2**12)
    generator = np.random.default_rng(0)
    scores = singles(generator.standard_normal(400_000))
    edges = np.unique(singles(3 + generator.standard_normal(500)))
    found = Tally.build(edges)
    found.add(scores, share=1 / 50)
    assert 0.5 * scores.size < found.histogram.sum() < scores.size
    assert found.missing() is None
    assert_counted(found, scores)


@given(st.lists(EXTREME, min_size=2, max_size=30), st.lists(EXTREME, min_size=1, max_size=3))
def test_a_higher_score_is_in_no_lower_cell(scores: list[float], edges: list[float]) -> None:
    cells = Grid.around(np.unique(singles(edges))).cells(np.sort(singles([*scores, *edges])))
    assert (np.diff(cells) >= 0).all()
    assert cells[0] >= 0
    assert cells[-1] <= tallies.CELLS

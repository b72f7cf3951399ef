from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning import distances as peer_distances
from pytorch_metric_learning import miners as peer
from torch import Tensor

from likewise.distances import Euclidean, build
from likewise.learning import row_blocks
from likewise.learning.losses import TripletTuples
from likewise.learning.miners import MINERS, mine

Triplet = tuple[int, int, int]


def triplets(tuples: TripletTuples) -> list[Triplet]:
    rows = torch.stack([tuples.anchor, tuples.positive, tuples.negative], dim=1).tolist()
    return [(a, p, n) for a, p, n in rows]


def by_loop(name: str, distances: Tensor, labels: list[int], margin: float) -> tuple[set[Triplet], int]:
    """What a miner should pick, without ties, and from how many candidates."""
    d, rows = distances.tolist(), range(len(labels))
    found: set[Triplet] = set()
    counts = {"triplets": 0, "pairs": 0, "anchors": 0}
    for a in rows:
        positives = [p for p in rows if labels[p] == labels[a] and p != a]
        negatives = [n for n in rows if labels[n] != labels[a]]
        if not positives or not negatives:
            continue
        counts["anchors"] += 1
        counts["pairs"] += len(positives)
        counts["triplets"] += len(positives) * len(negatives)
        nearest = min(negatives, key=lambda n: d[a][n])
        if name == "hard":
            found.add((a, max(positives, key=lambda p: d[a][p]), nearest))
        if name == "easy_positive":
            found.add((a, min(positives, key=lambda p: d[a][p]), nearest))
        for p in positives:
            inside = [n for n in negatives if d[a][p] < d[a][n] < d[a][p] + margin]
            if name == "all":
                found |= {(a, p, n) for n in negatives}
            if name == "semihard":
                found |= {(a, p, n) for n in inside}
            if name == "nearest_semihard" and inside:
                found.add((a, p, min(inside, key=lambda n: d[a][n])))
    return found, counts[CANDIDATES[name]]


CANDIDATES = {
    "all": "triplets",
    "semihard": "triplets",
    "nearest_semihard": "pairs",
    "distance_weighted": "pairs",
    "hard": "anchors",
    "easy_positive": "anchors",
}


@pytest.mark.parametrize("name", sorted(set(MINERS) - {"distance_weighted"}))
@given(
    labels=st.lists(st.integers(0, 3), min_size=0, max_size=9),
    seed=st.integers(0, 10**6),
    margin=st.sampled_from([0.0, 0.3, 2.0]),
    elements=st.sampled_from([1, 20, 2**20]),
)
@settings(max_examples=40, deadline=None)
def test_picks_what_a_loop_picks(name: str, labels: list[int], seed: int, margin: float, elements: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(len(labels), 3, generator=draw, dtype=torch.float64)
    distances = Euclidean().pairwise(x)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_blocks, "BLOCK_ELEMENTS", elements)
        mined = mine(name, x, torch.tensor(labels, dtype=torch.int64), distance=Euclidean(), margin=margin)
    expected, candidates = by_loop(name, distances, labels, margin)
    found = triplets(mined.tuples)
    assert len(found) == len(set(found))
    assert set(found) == expected
    assert mined.candidates == candidates
    costly = sum(float(distances[a, p] - distances[a, n]) + margin > 0 for a, p, n in expected)
    assert mined.zero_share.item() == pytest.approx(1 - costly / max(1, candidates) if candidates else 1)


@pytest.mark.parametrize("name", MINERS)
@given(labels=st.lists(st.integers(0, 2), min_size=1, max_size=10), margin=st.sampled_from([0.0, 0.5]))
@settings(max_examples=30, deadline=None)
def test_ties_still_give_valid_triplets(name: str, labels: list[int], margin: float) -> None:
    x = torch.ones(len(labels), 4)
    mined = mine(name, x, torch.tensor(labels), distance=build("cosine"), margin=margin)
    for anchor, positive, negative in triplets(mined.tuples):
        assert labels[anchor] == labels[positive] != labels[negative]
        assert anchor != positive


def test_semi_hard_equals_pytorch_metric_learning() -> None:
    draw = torch.Generator().manual_seed(0)
    x, labels = torch.randn(30, 4, generator=draw, dtype=torch.float64), torch.randint(0, 5, (30,), generator=draw)
    distance = peer_distances.LpDistance(normalize_embeddings=False)
    theirs = peer.TripletMarginMiner(margin=0.5, type_of_triplets="semihard", distance=distance)(x, labels)
    ours = mine("semihard", x, labels, distance=Euclidean(), margin=0.5)
    assert set(triplets(ours.tuples)) == set(zip(*(part.tolist() for part in theirs), strict=True))


def sphere(rows: int = 60, width: int = 16) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    centres = torch.randn(6, width, generator=draw)
    labels = torch.arange(rows) % 6
    return centres[labels] + 1.2 * torch.randn(rows, width, generator=draw), labels


def test_distance_weighted_gives_each_positive_pair_one_negative() -> None:
    x, labels = sphere()
    mined = mine("distance_weighted", x, labels, distance=Euclidean(), generator=torch.Generator().manual_seed(1))
    tuples = mined.tuples
    assert len(tuples) == mined.candidates == 60 * 9
    assert len({(a, p) for a, p, _ in triplets(tuples)}) == len(tuples)
    assert (labels[tuples.anchor] == labels[tuples.positive]).all()
    assert (labels[tuples.anchor] != labels[tuples.negative]).all()


def test_distance_weighted_draws_by_one_over_the_density() -> None:
    x, labels = sphere(rows=24, width=8)
    # One anchor's place, fifty times: 50 x 49 positive pairs that all see the same negatives.
    x, labels = (
        torch.cat([x[:1].expand(50, 8), x[labels != 0]]),
        torch.cat([torch.zeros(50).long(), labels[labels != 0]]),
    )
    directions = torch.nn.functional.normalize(x.double())
    apart = Euclidean().pairwise(directions[:1], directions)[0].clamp_min(0.5)
    density = apart**6 * (1 - apart.square() / 4) ** 2.5
    weights = torch.where((labels != 0) & (apart < 1.4), 1 / density, 0)
    draw = torch.Generator().manual_seed(2)
    tuples = mine("distance_weighted", x, labels, distance=Euclidean(), generator=draw).tuples
    drawn = torch.bincount(tuples.negative[labels[tuples.anchor] == 0], minlength=len(x)).double()
    expected = drawn.sum() * weights / weights.sum()
    used = expected > 0
    chi_square = ((drawn - expected)[used].square() / expected[used]).sum().item()
    assert drawn.sum() == 50 * 49
    assert drawn[~used].sum() == 0
    assert used.sum() > 3
    assert chi_square < 60  # 99.99 % of draws are below this at 23 degrees of freedom or fewer


def test_distance_weighted_falls_back_to_any_negative() -> None:
    x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [-1.0, 0.001]])
    tuples = mine("distance_weighted", x, torch.tensor([0, 0, 1, 2]), distance=Euclidean()).tuples
    assert len(tuples) == 2
    assert set(tuples.negative.tolist()) <= {2, 3}


def test_draws_are_the_generators() -> None:
    x, labels = sphere()

    def drawn(seed: int) -> Tensor:
        draw = torch.Generator().manual_seed(seed)
        return mine("distance_weighted", x, labels, distance=Euclidean(), generator=draw).tuples.negative

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


def test_mining_leaves_no_graph() -> None:
    x, labels = sphere()
    mined = mine("hard", x.requires_grad_(), labels, distance=Euclidean(), margin=0.1)
    assert not mined.zero_share.requires_grad


def test_an_unknown_miner_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown mining 'harder'; known: hard, "):
        mine("harder", torch.ones(2, 2), torch.tensor([0, 1]), distance=Euclidean())

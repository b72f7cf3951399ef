from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pytorch_metric_learning import distances as peer_distances
from pytorch_metric_learning import losses as peer
from pytorch_metric_learning import miners as peer_miners
from pytorch_metric_learning import reducers as peer_reducers
from torch import Tensor

from likewise.learning import row_blocks
from likewise.learning.losses import TripletLoss, TripletTuples
from likewise.learning.miners import MINERS, mine


def batch(sizes: list[int], seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    labels = labels[torch.randperm(len(labels), generator=draw)]
    return torch.randn(len(labels), 6, generator=draw, dtype=dtype), labels


DISTANCES: dict[str, Any] = {
    "euclidean": peer_distances.LpDistance(normalize_embeddings=False),
    "squared_euclidean": peer_distances.LpDistance(normalize_embeddings=False, power=2),
    "manhattan": peer_distances.LpDistance(normalize_embeddings=False, p=1),
}
REDUCERS: dict[str, Any] = {
    "active": peer_reducers.AvgNonZeroReducer,
    "all": peer_reducers.MeanReducer,
    "sum": peer_reducers.SumReducer,
}


def agree(mine: Tensor, left: Tensor, theirs: Tensor, right: Tensor) -> None:
    torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(
        *torch.autograd.grad(mine, left), *torch.autograd.grad(theirs, right), rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize("elements", [50, 2**20])
@pytest.mark.parametrize("sizes", [[4] * 6, [2, 1, 9, 3, 1, 5], [24, 8]])
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("reduction", REDUCERS)
def test_all_triplets_equal_pytorch_metric_learning(
    distance: str, reduction: str, sizes: list[int], elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_blocks, "BLOCK_ELEMENTS", elements)
    x, labels = batch(sizes)
    left, right = x.clone().requires_grad_(), x.clone().requires_grad_()
    theirs = peer.TripletMarginLoss(margin=0.4, distance=DISTANCES[distance], reducer=REDUCERS[reduction]())
    ours = TripletLoss(margin=0.4, distance=distance, reduction=reduction)
    agree(ours(left, labels), left, theirs(right, labels), right)


@pytest.mark.parametrize("sizes", [[4] * 6, [2, 1, 9, 3, 1, 5]])
def test_cosine_triplets_equal_pytorch_metric_learning(sizes: list[int]) -> None:
    x, labels = batch(sizes)
    left, right = x.clone().requires_grad_(), x.clone().requires_grad_()
    theirs = peer.TripletMarginLoss(margin=0.1, distance=peer_distances.CosineSimilarity())
    agree(TripletLoss(margin=0.1, distance="cosine")(left, labels), left, theirs(right, labels), right)


def test_soft_margin_equals_pytorch_metric_learning() -> None:
    x, labels = batch([4, 3, 5, 1, 2])
    left, right = x.clone().requires_grad_(), x.clone().requires_grad_()
    theirs = peer.TripletMarginLoss(margin=0.3, smooth_loss=True, distance=DISTANCES["euclidean"])
    agree(TripletLoss(margin=0.3, soft=True)(left, labels), left, theirs(right, labels), right)


@pytest.mark.parametrize(("mining", "peers"), [("semihard", "semihard"), ("hard", None)])
def test_mined_triplets_equal_pytorch_metric_learning(mining: str, peers: str | None) -> None:
    x, labels = batch([4, 3, 5, 1, 2])
    left, right = x.clone().requires_grad_(), x.clone().requires_grad_()
    distance = DISTANCES["euclidean"]
    miner: Any = (
        peer_miners.TripletMarginMiner(margin=1.0, type_of_triplets=peers, distance=distance)
        if peers
        else peer_miners.BatchHardMiner(distance=distance)
    )
    theirs = peer.TripletMarginLoss(margin=1.0, distance=distance)(right, labels, miner(right, labels))
    agree(TripletLoss(margin=1.0, mining=mining)(left, labels), left, theirs, right)


@pytest.mark.parametrize("mining", sorted(MINERS))
@pytest.mark.parametrize("reduction", REDUCERS)
@pytest.mark.parametrize("at_once", [3, 2**12])
def test_mining_inside_equals_the_same_triplets_given(
    mining: str, reduction: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_blocks, "LISTED_AT_ONCE", at_once)
    x, labels = batch([4, 3, 5, 1, 2])
    left, right = x.clone().requires_grad_(), x.clone().requires_grad_()
    loss = TripletLoss(margin=0.8, mining=mining, reduction=reduction, seed=5)
    draw = torch.Generator().manual_seed(5)
    mined = mine(mining, x, labels, distance=loss.distance, margin=0.8, generator=draw)
    result = loss.measure(left, labels)
    given = TripletLoss(margin=0.8, reduction="sum")(right, tuples=mined.tuples)
    divisor = {
        "sum": 1.0,
        "all": result.candidates.item(),
        "active": (result.candidates * (1 - result.zero_share)).item(),
    }
    agree(result.loss, left, given / divisor[reduction], right)
    assert torch.equal(result.candidates, mined.candidates)
    torch.testing.assert_close(result.zero_share, mined.zero_share)


def test_given_triplets_equal_the_formula() -> None:
    x, _ = batch([3, 3])
    tuples = TripletTuples(torch.tensor([0, 1, 2]), torch.tensor([1, 2, 0]), torch.tensor([3, 4, 5]))
    gap = (x[[0, 1, 2]] - x[[1, 2, 0]]).norm(dim=1) - (x[[0, 1, 2]] - x[[3, 4, 5]]).norm(dim=1) + 0.7
    torch.testing.assert_close(TripletLoss(margin=0.7, reduction="all")(x, tuples=tuples), F.relu(gap).mean())
    soft = TripletLoss(margin=0.7, soft=True)(x, tuples=tuples)
    torch.testing.assert_close(soft, F.softplus(gap).mean())


def test_zero_share_and_candidates_count_all_triplets() -> None:
    x = torch.tensor([[0.0], [0.1], [0.15], [5.0]])
    result = TripletLoss(margin=0.1).measure(x, torch.tensor([0, 0, 1, 2]))
    assert result.candidates == 4
    assert result.zero_share.item() == pytest.approx(0.5)
    assert result.loss.item() == pytest.approx((0.1 - 0.15 + 0.1 + 0.1 - 0.05 + 0.1) / 2)


def test_margin_zero_counts_only_what_is_out_of_order() -> None:
    x = torch.tensor([[0.0], [1.0], [0.5]])
    result = TripletLoss(margin=0.0).measure(x, torch.tensor([0, 0, 1]))
    assert result.loss.item() == pytest.approx(0.5)
    assert result.zero_share == 0


def test_a_large_batch_equals_float64_in_single_precision() -> None:
    x, labels = batch([32] * 20, dtype=torch.float32)
    left, right = x.clone().requires_grad_(), x.double().requires_grad_()
    single, double = TripletLoss(margin=0.2)(left, labels), TripletLoss(margin=0.2)(right, labels)
    torch.testing.assert_close(single.double(), double, rtol=1e-6, atol=0)
    (narrow,), (wide,) = torch.autograd.grad(single, left), torch.autograd.grad(double, right)
    # Rounded distances put a few of the 7 million triplets on the other side of the hinge.
    assert (narrow - wide).norm() <= 5e-5 * wide.norm()


def test_drawn_triplets_resume_where_the_state_says() -> None:
    x, labels = batch([4] * 6)
    first, second = TripletLoss(mining="distance_weighted", seed=1), TripletLoss(mining="distance_weighted", seed=2)
    drawn = first(x, labels)
    state = first.state_dict()
    assert not torch.equal(drawn, first(x, labels))
    second.load_state_dict(state)
    first.load_state_dict(state)
    assert torch.equal(first(x, labels), second(x, labels))


@pytest.mark.parametrize("mining", ["semihard", "nearest_semihard"])
def test_a_soft_margin_has_no_semi_hard_triplets(mining: str) -> None:
    with pytest.raises(ValueError, match=f"use mining='all', not '{mining}'"):
        TripletLoss(mining=mining, soft=True)


def test_a_second_derivative_is_refused() -> None:
    x, labels = batch([4, 4])
    leaf = x.requires_grad_()
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(TripletLoss()(leaf, labels), leaf, create_graph=True)


def test_no_gradient_is_worked_out_where_none_is_wanted() -> None:
    x, labels = batch([4, 4])
    assert not TripletLoss()(x, labels).requires_grad
    with torch.no_grad():
        assert not TripletLoss()(x.requires_grad_(), labels).requires_grad


@pytest.mark.parametrize("mining", ["all", "semihard"])
@pytest.mark.parametrize("elements", [30, 2**20])
def test_against_a_memory_equals_the_batch_where_the_memory_is_the_batch(
    mining: str, elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_blocks, "BLOCK_ELEMENTS", elements)
    x, labels = batch([4, 3, 5, 1, 2])
    left, memory, right = (x.clone().requires_grad_() for _ in range(3))
    loss = TripletLoss(margin=0.7, mining=mining)
    found = loss.against(left, labels, memory, labels, itself=torch.arange(len(x)))
    expected = loss.measure(right, labels)
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-9, atol=0)
    assert torch.equal(found.candidates, expected.candidates)
    torch.testing.assert_close(found.zero_share, expected.zero_share)
    parts = torch.autograd.grad(found.loss, [left, memory])
    torch.testing.assert_close(parts[0] + parts[1], *torch.autograd.grad(expected.loss, right), rtol=1e-6, atol=1e-9)


def test_against_a_memory_equals_a_loop() -> None:
    x, labels = batch([3, 2, 2])
    past, past_labels = batch([2, 4, 1, 3], seed=1)
    result = TripletLoss(margin=0.7).against(x, labels, past, past_labels)
    costs = [
        max(0.0, (x[a] - past[p]).norm().item() - (x[a] - past[n]).norm().item() + 0.7)
        for a in range(len(x))
        for p in range(len(past))
        for n in range(len(past))
        if past_labels[p] == labels[a] != past_labels[n]
    ]
    assert result.loss.item() == pytest.approx(sum(costs) / sum(cost > 0 for cost in costs), rel=1e-9)
    assert result.candidates == len(costs)


def test_an_empty_memory_teaches_nothing() -> None:
    x, labels = batch([3, 2])
    leaf = x.requires_grad_()
    result = TripletLoss().against(leaf, labels, torch.zeros(0, 6).double(), torch.zeros(0).long())
    (gradient,) = torch.autograd.grad(result.loss, leaf)
    assert (result.loss.item(), result.candidates.item(), gradient.abs().sum().item()) == (0, 0, 0)


def test_against_refuses_a_miner_that_lists_and_poor_input() -> None:
    x, labels = batch([3, 2])
    with pytest.raises(ValueError, match="mining must be all or semihard against references, and is 'hard'"):
        TripletLoss(mining="hard").against(x, labels, x, labels)
    with pytest.raises(ValueError, match="5 embeddings need as many labels"):
        TripletLoss().against(x, labels, x, labels[:2])

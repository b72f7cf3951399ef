from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from pytorch_metric_learning import distances as peer_distances
from pytorch_metric_learning import losses as peer
from torch import Tensor

from likewise.learning import row_blocks
from likewise.learning.losses import BinaryL1Loss, BinaryLoss, ContrastiveLoss, PairTuples
from likewise.learning.pair_losses import PAIR_REDUCTIONS, PairLoss


def batch(rows: int = 14, seed: int = 0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 5, generator=draw, dtype=torch.float64), torch.randint(0, 4, (rows,), generator=draw)


def cost(loss: PairLoss, left: Tensor, right: Tensor, same: bool) -> float:
    """What one pair costs by the books, in Python floats."""
    if isinstance(loss, ContrastiveLoss):
        apart = math.dist(left.tolist(), right.tolist())
        return apart**2 / 2 if same else max(0.0, loss.margin - apart) ** 2 / 2
    if isinstance(loss, BinaryLoss):
        logit = loss.bias.item() - math.exp(loss.log_scale.item()) * math.dist(left.tolist(), right.tolist())
    else:
        assert isinstance(loss, BinaryL1Loss)
        weights = F.softplus(loss.raw_weights).tolist()
        gaps = zip(weights, left.tolist(), right.tolist(), strict=True)
        logit = loss.bias.item() - sum(weight * abs(a - b) for weight, a, b in gaps)
    probability = 1 / (1 + math.exp(-logit))
    return -math.log(probability if same else 1 - probability)


def by_loop(loss: PairLoss, x: Tensor, pairs: list[tuple[int, int, bool]]) -> float:
    costs = {
        wanted: [cost(loss, x[i], x[j], same) for i, j, same in pairs if same == wanted] for wanted in (True, False)
    }
    together = costs[True] + costs[False]
    if loss.reduction == "balanced":
        return sum(0.5 * sum(part) / len(part) for part in costs.values() if part)
    divisor = {"all": len(together), "sum": 1, "active": sum(value > 0 for value in together)}[loss.reduction]
    return sum(together) / max(1, divisor)


def makers(reduction: str) -> list[PairLoss]:
    learnt = BinaryL1Loss(embedding=5, scale=0.3, bias=1.0, reduction=reduction).double()
    learnt.raw_weights.data += torch.linspace(-0.5, 0.5, 5)
    return [
        ContrastiveLoss(margin=2.5, reduction=reduction),
        BinaryLoss(scale=0.7, bias=1.5, reduction=reduction).double(),
        learnt,
    ]


@pytest.mark.parametrize("elements", [20, 2**20])
@pytest.mark.parametrize("reduction", PAIR_REDUCTIONS)
def test_all_pairs_and_given_pairs_equal_a_loop(reduction: str, elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_blocks, "BLOCK_ELEMENTS", elements)
    x, labels = batch()
    pairs = [(i, j, bool(labels[i] == labels[j])) for i in range(len(x)) for j in range(i + 1, len(x))]
    columns = torch.tensor(pairs)
    given = PairTuples(columns[:, 0], columns[:, 1], columns[:, 2])
    for loss in makers(reduction):
        expected = pytest.approx(by_loop(loss, x, pairs), rel=1e-6)
        assert loss(x, labels).item() == expected
        assert loss(x, tuples=given).item() == expected
        assert loss.measure(x, labels).candidates == len(pairs)
        few = PairTuples(columns[:9, 0], columns[:9, 1], columns[:9, 2])
        assert loss(x, tuples=few).item() == pytest.approx(by_loop(loss, x, pairs[:9]), rel=1e-6)


@pytest.mark.parametrize("elements", [20, 2**20])
def test_gradients_of_batch_and_given_pairs_agree(elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_blocks, "BLOCK_ELEMENTS", elements)
    x, labels = batch()
    left, right = torch.triu_indices(len(x), len(x), 1)
    given = PairTuples(left, right, labels[left] == labels[right])
    for loss in makers("balanced"):
        leaf = x.requires_grad_()
        wanted = torch.autograd.grad(loss(leaf, tuples=given), [leaf, *loss.parameters()])
        found = torch.autograd.grad(loss(leaf, labels), [leaf, *loss.parameters()])
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-9)


def test_the_genuine_half_equals_pytorch_metric_learning() -> None:
    x, labels = batch()
    squared = peer_distances.LpDistance(normalize_embeddings=False, power=2)
    theirs = peer.ContrastiveLoss(pos_margin=0, neg_margin=0, distance=squared)
    # Theirs is the mean squared distance of genuine pairs; ours has half of it, and weighs it by a half.
    torch.testing.assert_close(4 * ContrastiveLoss(margin=0.0)(x, labels), theirs(x, labels), rtol=1e-6, atol=0)


def test_margin_zero_leaves_the_impostors_alone() -> None:
    x, _ = batch()
    result = ContrastiveLoss(margin=0.0).measure(x, torch.arange(len(x)))
    assert (result.loss.item(), result.zero_share.item()) == (0, 1)


def test_zero_share_counts_the_pairs_that_cost_nothing() -> None:
    x = torch.tensor([[0.0], [0.0], [0.5], [9.0]])
    result = ContrastiveLoss(margin=1.0).measure(x, torch.tensor([0, 0, 1, 2]))
    assert result.zero_share.item() == pytest.approx(4 / 6)  # the genuine pair, and three far impostors


@pytest.mark.parametrize("loss", [BinaryLoss(scale=2.0, bias=1.0), BinaryL1Loss(embedding=3, bias=1.0)])
def test_probability_falls_with_the_distance(loss: BinaryLoss | BinaryL1Loss) -> None:
    chances = loss.probability(torch.linspace(0, 5, 20))
    assert (chances.diff() < 0).all()
    assert ((chances > 0) & (chances < 1)).all()


def test_the_learnt_l1_distance_is_the_manhattan_distance_of_the_projection() -> None:
    x, _ = batch()
    loss = BinaryL1Loss(embedding=5, scale=0.3, bias=1.0).double()
    projected = loss.project(x)
    distance = loss.distance.paired(projected[:1], projected[1:2])
    same = PairTuples(torch.tensor([0]), torch.tensor([1]), torch.tensor([1]))
    expected = -loss.probability(distance).log() / 2
    torch.testing.assert_close(loss(x, tuples=same), expected[0], rtol=1e-9, atol=0)


def test_heads_learn_their_threshold() -> None:
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(6).repeat_interleave(5)
    x = 3 * torch.eye(6)[labels] + 0.3 * torch.randn(30, 6, generator=draw)
    for loss in (BinaryLoss(scale=0.1, bias=0.0), BinaryL1Loss(embedding=6, scale=0.1, bias=0.0)):
        for _ in range(300):
            learnt = list(loss.parameters())
            for parameter, gradient in zip(learnt, torch.autograd.grad(loss(x, labels), learnt), strict=True):
                parameter.data -= 0.3 * gradient
        same = labels[:, None] == labels
        chances = loss.probability(loss.distance.pairwise(loss.project(x)))
        assert ((chances > 0.5) == same).double().mean() > 0.99

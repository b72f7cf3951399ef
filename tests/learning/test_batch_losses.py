from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from pytorch_metric_learning import distances as peer_distances
from pytorch_metric_learning import losses as peer
from pytorch_metric_learning import miners as peer_miners
from torch import Tensor

from likewise.learning import batch_losses
from likewise.learning.losses import (
    CircleLoss,
    GE2ELoss,
    Loss,
    MultiSimilarityLoss,
    NPairLoss,
    NTXentLoss,
    SupConLoss,
)

Call = Callable[[Tensor, Tensor], Tensor]


def batch(sizes: list[int], seed: int = 0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    labels = labels[torch.randperm(len(labels), generator=draw)]
    centres = torch.randn(len(sizes), 6, generator=draw, dtype=torch.float64)
    return centres[labels] + torch.randn(len(labels), 6, generator=draw, dtype=torch.float64), labels


def agree(ours: Call, theirs: Call, x: Tensor, labels: Tensor) -> None:
    left, right = x.clone().requires_grad_(), x.clone().requires_grad_()
    mine, expected = ours(left, labels), theirs(right, labels)
    torch.testing.assert_close(mine, expected, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(
        *torch.autograd.grad(mine, left), *torch.autograd.grad(expected, right), rtol=1e-6, atol=1e-9
    )


def mined_multi_similarity(x: Tensor, labels: Tensor) -> Tensor:
    tuples = peer_miners.MultiSimilarityMiner(epsilon=0.1)(x, labels)
    value: Tensor = peer.MultiSimilarityLoss(alpha=2, beta=50, base=0.5)(x, labels, tuples)
    return value


PEERS: dict[str, tuple[Loss, Call]] = {
    "ntxent": (NTXentLoss(temperature=0.2), peer.NTXentLoss(temperature=0.2)),
    "supcon": (SupConLoss(temperature=0.2), peer.SupConLoss(temperature=0.2)),
    "multi_similarity": (MultiSimilarityLoss(epsilon=None), peer.MultiSimilarityLoss(alpha=2, beta=50, base=0.5)),
    "multi_similarity mined": (MultiSimilarityLoss(epsilon=0.1), mined_multi_similarity),
    "circle": (CircleLoss(scale=80.0, margin=0.25), peer.CircleLoss(m=0.25, gamma=80)),
}


@pytest.mark.parametrize("elements", [40, 2**16])
@pytest.mark.parametrize("sizes", [[4] * 8, [2, 3, 7, 2, 5]])
@pytest.mark.parametrize("name", PEERS)
def test_equals_pytorch_metric_learning(
    name: str, sizes: list[int], elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_losses, "_ELEMENTS", elements)
    agree(*PEERS[name], *batch(sizes))


@pytest.mark.parametrize("name", ["ntxent", "circle", "multi_similarity"])
def test_equals_pytorch_metric_learning_with_singletons(name: str) -> None:
    agree(*PEERS[name], *batch([1, 3, 1, 4, 2]))


def test_n_pair_equals_pytorch_metric_learning_with_one_pair_a_class() -> None:
    x, labels = batch([2, 2, 2, 2])
    theirs = peer.NPairsLoss(distance=peer_distances.DotProductSimilarity(normalize_embeddings=False))
    agree(NPairLoss(), theirs, x, labels)


def test_n_pair_equals_a_loop_over_turns() -> None:
    x, labels = batch([5, 4, 2, 1])
    costs = []
    for turn in (0, 2):
        rows = [(labels == label).nonzero()[:, 0] for label in range(4)]
        pairs = [(row[turn], row[turn + 1]) for row in rows if len(row) > turn + 1]
        for i, (left, right) in enumerate(pairs):
            rivals = [x[left] @ x[other] - x[left] @ x[right] for j, (_, other) in enumerate(pairs) if j != i]
            costs.append(math.log1p(sum(math.exp(gap.item() / 3.0) for gap in rivals)))
    lengths = sum(float(row @ row) for row in x) / len(x)
    expected = sum(costs) / len(costs) + 0.02 * lengths
    assert NPairLoss(temperature=3.0, regularisation=0.02)(x, labels).item() == pytest.approx(expected, rel=1e-9)
    assert NPairLoss().measure(x, labels).candidates == len(costs)


@pytest.mark.parametrize("variant", ["softmax", "contrast"])
def test_ge2e_equals_a_loop(variant: str) -> None:
    x, labels = batch([3, 2, 4, 1])
    directions = F.normalize(x)
    costs = []
    for i, label in enumerate(labels.tolist()):
        if (labels == label).sum() < 2:
            continue
        logits = []
        for other in range(4):
            rows = (labels == other) & (torch.arange(len(x)) != i)
            centre = directions[rows].mean(dim=0)
            logits.append(8.0 * F.cosine_similarity(directions[i], centre, dim=0).item() - 3.0)
        if variant == "softmax":
            costs.append(math.log(sum(math.exp(value - logits[label]) for value in logits)))
        else:
            chances = [1 / (1 + math.exp(-value)) for value in logits]
            costs.append(1 - chances[label] + max(chance for k, chance in enumerate(chances) if k != label))
    loss = GE2ELoss(variant=variant, scale=8.0, bias=-3.0).double()
    result = loss.measure(x, labels)
    assert result.loss.item() == pytest.approx(sum(costs) / len(costs), rel=1e-6)
    assert result.candidates == len(costs)


def test_two_views_of_each_sample_make_it_simclr() -> None:
    x, labels = batch([2] * 6, seed=2)
    directions = F.normalize(x)
    logits = (directions @ directions.T / 0.5).fill_diagonal_(-torch.inf)
    other = torch.tensor(
        [((labels == label) & (torch.arange(len(x)) != i)).nonzero().item() for i, label in enumerate(labels)]
    )
    torch.testing.assert_close(NTXentLoss(temperature=0.5)(x, labels), F.cross_entropy(logits, other))
    torch.testing.assert_close(SupConLoss(temperature=0.5)(x, labels), F.cross_entropy(logits, other))


def test_candidates_are_pairs_or_anchors() -> None:
    x, labels = batch([3, 1, 2])
    assert NTXentLoss().measure(x, labels).candidates == 3 * 2 + 2
    assert SupConLoss().measure(x, labels).candidates == 5
    assert MultiSimilarityLoss(epsilon=None).measure(x, labels).candidates == 6


def test_large_similarities_do_not_overflow() -> None:
    x, labels = batch([4] * 4)
    for loss in (NTXentLoss(temperature=1e-4), CircleLoss(scale=1e4), MultiSimilarityLoss(beta=1e4)):
        leaf = x.float().requires_grad_()
        value = loss(leaf, labels)
        value.backward()
        assert torch.isfinite(value)
        assert leaf.grad is not None
        assert torch.isfinite(leaf.grad).all()


def test_multi_similarity_finds_nothing_in_a_solved_batch() -> None:
    x = torch.eye(4).repeat_interleave(3, dim=0)
    result = MultiSimilarityLoss().measure(x, torch.arange(4).repeat_interleave(3))
    assert (result.loss.item(), result.zero_share.item()) == (0, 1)

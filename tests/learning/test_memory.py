from __future__ import annotations

import pytest
import torch
from torch import Tensor

from likewise.learning import losses
from likewise.learning.losses import Loss
from likewise.learning.memory import CrossBatchMemory

INNER: dict[str, Loss] = {
    "triplet": losses.TripletLoss(margin=0.4),
    "semihard": losses.TripletLoss(margin=0.4, mining="semihard"),
    "contrastive": losses.ContrastiveLoss(margin=2.0),
    "binary": losses.BinaryLoss(),
    "binary_l1": losses.BinaryL1Loss(embedding=3),
}


def batches(count: int, size: int = 6) -> list[tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(1)
    return [
        (torch.randn(size, 3, generator=draw, dtype=torch.float64), torch.randint(0, 3, (size,), generator=draw))
        for _ in range(count)
    ]


def by_hand(name: str, x: Tensor, labels: Tensor, past: Tensor, past_labels: Tensor) -> Tensor:
    """Loops over anchors and references: the batch, then the memory."""
    inner = INNER[name]
    references, classes = torch.cat([x, past]), torch.cat([labels, past_labels])
    costs: list[Tensor] = []
    genuine: list[Tensor] = []
    impostor: list[Tensor] = []
    for a in range(len(x)):
        others = [r for r in range(len(references)) if r != a]
        positives = [r for r in others if classes[r] == labels[a]]
        negatives = [r for r in others if classes[r] != labels[a]]
        if isinstance(inner, losses.TripletLoss):
            for p in positives:
                for n in negatives:
                    near, far = gap(name, x[a], references[p]), gap(name, x[a], references[n])
                    if name == "semihard" and not near < far < near + 0.4:
                        continue
                    costs.append((near - far + 0.4).clamp_min(0))
        else:
            genuine += [pair_cost(name, gap(name, x[a], references[p]), True) for p in positives]
            impostor += [pair_cost(name, gap(name, x[a], references[n]), False) for n in negatives]
    if isinstance(inner, losses.TripletLoss):
        active = [cost for cost in costs if cost > 0]
        return torch.stack(active).mean()
    return (torch.stack(genuine).mean() + torch.stack(impostor).mean()) / 2


def gap(name: str, a: Tensor, b: Tensor) -> Tensor:
    if name == "binary_l1":
        inner = INNER[name]
        assert isinstance(inner, losses.BinaryL1Loss)
        weights = torch.nn.functional.softplus(inner.raw_weights.double())
        return ((a - b).abs() * weights).sum()
    return (a - b).square().sum().sqrt()


def pair_cost(name: str, d: Tensor, same: bool) -> Tensor:
    inner = INNER[name]
    if isinstance(inner, losses.ContrastiveLoss):
        return d.square() / 2 if same else (2.0 - d).clamp_min(0).square() / 2
    assert isinstance(inner, losses.BinaryLoss | losses.BinaryL1Loss)
    scale = inner.log_scale.double().exp() if isinstance(inner, losses.BinaryLoss) else 1.0
    chance = torch.sigmoid(inner.bias.double() - scale * d)
    return -torch.log(chance if same else 1 - chance)


@pytest.mark.parametrize("name", INNER)
def test_a_full_memory_is_compared_with_and_gets_no_gradient(name: str) -> None:
    loss = CrossBatchMemory(INNER[name], size=12, embedding=3).double()
    *before, (x, labels) = batches(4)
    for past, classes in before:
        loss(past, classes)
    memory = torch.cat([past for past, _ in before])[-12:]
    classes = torch.cat([classes for _, classes in before])[-12:]
    x.requires_grad_()
    found = loss(x, labels)
    (gradient,) = torch.autograd.grad(found, x)
    expected = by_hand(name, x, labels, memory, classes)
    (wanted,) = torch.autograd.grad(expected, x)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(gradient, wanted, rtol=1e-5, atol=1e-6)
    assert not loss.past.requires_grad


def test_until_it_is_full_the_batch_is_all_there_is() -> None:
    loss, plain = CrossBatchMemory(INNER["triplet"], size=13, embedding=3).double(), INNER["triplet"]
    for x, labels in batches(3):
        assert torch.equal(loss(x, labels), plain(x, labels))
    x, labels = batches(4)[-1]
    assert not torch.equal(loss(x, labels), plain(x, labels))


def test_the_oldest_make_room_and_a_batch_larger_than_it_fills_it() -> None:
    loss = CrossBatchMemory(INNER["contrastive"], size=8, embedding=3).double()
    given = batches(3)
    for x, labels in given:
        loss(x, labels)
    newest = torch.cat([x for x, _ in given])[-8:]
    assert sorted(loss.past.tolist()) == sorted(newest.tolist())
    small = CrossBatchMemory(INNER["contrastive"], size=4, embedding=3).double()
    small(*given[0])
    assert sorted(small.past.tolist()) == sorted(given[0][0][-4:].tolist())
    assert sorted(small.past_labels.tolist()) == sorted(given[0][1][-4:].tolist())


def test_in_evaluation_it_takes_nothing_in() -> None:
    loss = CrossBatchMemory(INNER["triplet"], size=6, embedding=3).double().eval()
    loss(*batches(1)[0])
    assert int(loss.seen) == 0


def test_its_state_goes_on_bit_for_bit() -> None:
    one, other = (CrossBatchMemory(losses.TripletLoss(margin=0.4), size=9, embedding=3).double() for _ in range(2))
    given = batches(5)
    for x, labels in given[:3]:
        one(x, labels)
    other.load_state_dict(one.state_dict())
    for x, labels in given[3:]:
        assert torch.equal(one(x, labels), other(x, labels))


def test_it_learns_and_projects_what_the_inner_loss_does() -> None:
    inner = losses.BinaryL1Loss(embedding=3)
    loss = CrossBatchMemory(inner, size=6, embedding=3)
    assert [id(p) for p in loss.parameters()] == [id(p) for p in inner.parameters()]
    x = torch.randn(4, 3)
    assert torch.equal(loss.project(x), inner.project(x))
    assert loss.distance.name == "manhattan"


@pytest.mark.parametrize(
    ("inner", "size", "words"),
    [
        (losses.SupConLoss(), 4, "SupConLoss does not compare with past embeddings"),
        (losses.TripletLoss(mining="hard"), 4, "mining must be all or semihard against references"),
        (losses.TripletLoss(), 0, "memory: size is 0, but must be a whole number >= 1"),
    ],
)
def test_what_cannot_remember_is_refused(inner: Loss, size: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        CrossBatchMemory(inner, size=size, embedding=3)

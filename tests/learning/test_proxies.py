from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from pytorch_metric_learning import losses as peer
from torch import Tensor, nn

from likewise.learning.losses import (
    ArcFaceLoss,
    CosFaceLoss,
    ProxyAnchorLoss,
    ProxyNCALoss,
    ProxyNCAPlusLoss,
    ProxyTripletLoss,
)
from likewise.learning.proxies import ProxyLoss

CLASSES, WIDTH = 5, 7
MAKERS: list[type[ProxyLoss]] = [
    ArcFaceLoss,
    CosFaceLoss,
    ProxyAnchorLoss,
    ProxyNCALoss,
    ProxyNCAPlusLoss,
    ProxyTripletLoss,
]


def batch(seed: int = 0, rows: int = 16) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES - 1, (rows,), generator=draw)  # the last class is not in the batch
    return torch.randn(rows, WIDTH, generator=draw, dtype=torch.float64), labels


def agree(ours: ProxyLoss, theirs: nn.Module, weight: str, *, transposed: bool = False) -> None:
    """Give both the same vectors, and compare loss, gradient of the embeddings and gradient of the vectors."""
    x, labels = batch()
    ours, theirs = ours.double(), theirs.double()
    vectors = ours.proxies.detach()
    getattr(theirs, weight).data = vectors.T.clone() if transposed else vectors.clone()
    left, right = x.clone().requires_grad_(), x.clone().requires_grad_()
    mine, expected = ours(left, labels), theirs(right, labels)
    torch.testing.assert_close(mine, expected, rtol=1e-6, atol=1e-9)
    found = torch.autograd.grad(mine, [left, ours.proxies])
    wanted = torch.autograd.grad(expected, [right, getattr(theirs, weight)])
    torch.testing.assert_close(found[0], wanted[0], rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(found[1], wanted[1].T if transposed else wanted[1], rtol=1e-6, atol=1e-9)


def test_arcface_equals_pytorch_metric_learning() -> None:
    theirs = peer.ArcFaceLoss(CLASSES, WIDTH, margin=math.degrees(0.5), scale=64)
    agree(ArcFaceLoss(classes=CLASSES, embedding=WIDTH), theirs, "W", transposed=True)


def test_cosface_equals_pytorch_metric_learning() -> None:
    theirs = peer.CosFaceLoss(CLASSES, WIDTH, margin=0.35, scale=64)
    agree(CosFaceLoss(classes=CLASSES, embedding=WIDTH), theirs, "W", transposed=True)


def test_proxy_anchor_equals_pytorch_metric_learning() -> None:
    theirs = peer.ProxyAnchorLoss(CLASSES, WIDTH, margin=0.1, alpha=32)
    agree(ProxyAnchorLoss(classes=CLASSES, embedding=WIDTH), theirs, "proxies")


def test_proxy_nca_plus_equals_pytorch_metric_learning() -> None:
    theirs = peer.ProxyNCALoss(CLASSES, WIDTH, softmax_scale=9)
    agree(ProxyNCAPlusLoss(classes=CLASSES, embedding=WIDTH), theirs, "proxies")


def squared(x: Tensor, proxy: Tensor) -> float:
    return float((F.normalize(x, dim=0) - F.normalize(proxy, dim=0)).square().sum())


def test_proxy_nca_equals_a_loop_without_its_own_proxy_in_the_denominator() -> None:
    x, labels = batch()
    loss = ProxyNCALoss(classes=CLASSES, embedding=WIDTH).double()
    proxies, total = loss.proxies.detach(), 0.0
    for row, label in zip(x, labels.tolist(), strict=True):
        others = [math.exp(-squared(row, proxies[z])) for z in range(CLASSES) if z != label]
        total += squared(row, proxies[label]) + math.log(sum(others))
    assert loss(x, labels).item() == pytest.approx(total / len(x), rel=1e-9)


@pytest.mark.parametrize("distance", ["euclidean", "squared_euclidean", "cosine", "manhattan"])
@pytest.mark.parametrize("reduction", ["active", "all", "sum"])
def test_proxy_triplet_equals_a_loop(distance: str, reduction: str) -> None:
    x, labels = batch()
    loss = ProxyTripletLoss(
        classes=CLASSES, embedding=WIDTH, margin=0.3, reduction=reduction, distance=distance
    ).double()
    costs = []
    for row, label in zip(x, labels.tolist(), strict=True):
        far = [loss.distance.paired(row[None], loss.proxies[z : z + 1]).item() for z in range(CLASSES)]
        costs += [max(0.0, far[label] - far[z] + 0.3) for z in range(CLASSES) if z != label]
    active = sum(cost > 0 for cost in costs)
    result = loss.measure(x, labels)
    divisor = {"active": active, "all": len(costs), "sum": 1}[reduction]
    assert result.loss.item() == pytest.approx(sum(costs) / divisor, rel=1e-9)
    assert result.candidates == len(costs)
    assert result.zero_share.item() == pytest.approx(1 - active / len(costs))


@pytest.mark.parametrize("kind", MAKERS)
def test_the_vectors_are_a_named_parameter_of_length_one_drawn_from_the_seed(kind: type[ProxyLoss]) -> None:
    loss = kind(classes=CLASSES, embedding=WIDTH, seed=3)
    assert dict(loss.named_parameters())["proxies"].shape == (CLASSES, WIDTH)
    torch.testing.assert_close(loss.proxies.detach().norm(dim=1), torch.ones(CLASSES))
    torch.manual_seed(99)
    assert torch.equal(loss.proxies, kind(classes=CLASSES, embedding=WIDTH, seed=3).proxies)
    assert not torch.equal(loss.proxies, kind(classes=CLASSES, embedding=WIDTH, seed=4).proxies)


@pytest.mark.parametrize("kind", MAKERS)
def test_labels_and_widths_that_do_not_fit_are_refused(kind: type[ProxyLoss]) -> None:
    loss = kind(classes=CLASSES, embedding=WIDTH)
    x, labels = batch()
    for wrong in (CLASSES, -1):
        labels[3] = wrong
        with pytest.raises(ValueError, match=rf"labels must be 0\.\.4, a number for each class, and one is {wrong}"):
            loss(x, labels)
    with pytest.raises(ValueError, match="the embeddings have 3 dimensions and the proxies 7"):
        loss(torch.randn(2, 3), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="at least 1"):
        kind(classes=0, embedding=WIDTH)


@pytest.mark.parametrize("kind", MAKERS)
def test_one_class_alone_is_finite(kind: type[ProxyLoss]) -> None:
    loss = kind(classes=1, embedding=WIDTH)
    x = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(0)).requires_grad_()
    value = loss(x, torch.zeros(3, dtype=torch.int64))
    value.backward()
    assert torch.isfinite(value)
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("cosine", [1.0, -1.0])
def test_arcface_is_finite_at_the_ends_of_the_cosine(cosine: float) -> None:
    loss = ArcFaceLoss(classes=2, embedding=2)
    loss.proxies.data = torch.eye(2)
    x = torch.tensor([[cosine, 0.0]], requires_grad=True)
    value = loss(x, torch.tensor([0]))
    value.backward()
    assert torch.isfinite(value)
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def test_arcface_keeps_falling_beyond_half_a_turn() -> None:
    loss = ArcFaceLoss(classes=2, embedding=2, margin=0.5)
    angles = torch.linspace(0.01, math.pi - 0.01, 200, dtype=torch.float64)
    lowered = loss.lowered(angles.cos())
    assert (lowered.diff() < 0).all()
    before = angles < math.pi - 0.5
    torch.testing.assert_close(lowered[before], (angles + 0.5).cos()[before], rtol=1e-9, atol=1e-9)


def test_training_the_vectors_pulls_them_to_their_classes() -> None:
    draw = torch.Generator().manual_seed(0)
    centres = F.normalize(torch.randn(CLASSES, WIDTH, generator=draw))
    labels = torch.arange(CLASSES).repeat(8)
    x = centres[labels] + 0.05 * torch.randn(len(labels), WIDTH, generator=draw)
    for kind in MAKERS:
        loss = kind(classes=CLASSES, embedding=WIDTH)
        for _ in range(60):
            (gradient,) = torch.autograd.grad(loss(x, labels), loss.proxies)
            loss.proxies.data -= 0.2 * F.normalize(gradient, dim=1)
        nearest = (F.normalize(loss.proxies.detach()) @ centres.T).argmax(dim=1)
        assert torch.equal(nearest, torch.arange(CLASSES)), kind.__name__

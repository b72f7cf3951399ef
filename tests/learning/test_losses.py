from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from likewise.learning import losses
from likewise.learning.losses import LOSSES, Loss, PairTuples, TripletTuples, build

WIDTH, CLASSES = 8, 6
HELD_CONSTANT = {"circle"}  # its paces have no gradient; the oracle test covers it
ORDERED = {"n_pair"}  # pairs the samples of a class in the order of the batch


def loss_of(name: str, **options: Any) -> Loss:
    return build(name, classes=CLASSES, embedding=WIDTH, **options)


def batch(seed: int = 0, per_class: int = 4) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(CLASSES).repeat_interleave(per_class)
    return torch.randn(len(labels), WIDTH, generator=draw), labels[torch.randperm(len(labels), generator=draw)]


def gradients(loss: Loss, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    leaf = x.clone().requires_grad_()
    value = loss(leaf, labels)
    (gradient,) = torch.autograd.grad(value, leaf)
    return value.detach(), gradient


@pytest.mark.parametrize("name", LOSSES)
def test_forward_is_the_scalar_of_measure_and_reaches_every_parameter(name: str) -> None:
    x, labels = batch()
    loss = loss_of(name)
    leaf = x.requires_grad_()
    result = loss.measure(leaf, labels)
    assert result.loss.shape == result.zero_share.shape == result.candidates.shape == ()
    assert torch.equal(loss(leaf, labels), result.loss)
    assert 0 <= result.zero_share.item() <= 1
    assert result.candidates.item() > 0
    result.loss.backward()  # type: ignore[no-untyped-call]
    for parameter in (leaf, *loss.parameters()):
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()
        assert parameter.grad.any()


@pytest.mark.parametrize("name", sorted(set(LOSSES) - HELD_CONSTANT))
def test_gradient_is_the_derivative(name: str) -> None:
    x, labels = batch(seed=1, per_class=2)
    loss = loss_of(name).double()
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    _, gradient = gradients(loss, x.double(), labels)
    step = 1e-6
    ahead, behind = loss(x + step * direction, labels), loss(x - step * direction, labels)
    assert ((ahead - behind) / (2 * step)).item() == pytest.approx((gradient * direction).sum().item(), rel=1e-4)


@pytest.mark.parametrize("name", sorted(set(LOSSES) - ORDERED))
def test_order_of_rows_does_not_matter(name: str) -> None:
    x, labels = batch()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(3))
    loss = loss_of(name)
    value, gradient = gradients(loss, x, labels)
    moved, moved_gradient = gradients(loss, x[order], labels[order])
    torch.testing.assert_close(moved, value, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(moved_gradient, gradient[order], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_is_computed_in_single(name: str, dtype: torch.dtype) -> None:
    x, labels = batch()
    loss = loss_of(name)
    half = x.to(dtype)
    value, gradient = gradients(loss, half, labels)
    assert value.dtype == torch.float32
    assert gradient.dtype == dtype
    torch.testing.assert_close(value, loss(half.float(), labels).detach(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", LOSSES)
def test_autocast_changes_nothing(name: str) -> None:
    x, labels = batch()
    loss = loss_of(name)
    with torch.autocast("cpu", torch.bfloat16):
        inside = loss(x, labels)
    assert torch.equal(inside, loss(x, labels))


@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 1, 2, 3], [2], []])
@pytest.mark.parametrize("name", LOSSES)
def test_poor_batches_stay_finite_and_attached(name: str, labels: list[int]) -> None:
    x = torch.randn(len(labels), WIDTH, generator=torch.Generator().manual_seed(0)).requires_grad_()
    result = loss_of(name).measure(x, torch.tensor(labels, dtype=torch.int64))
    result.loss.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(result.loss)
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    if result.candidates == 0:
        assert result.zero_share == 1


@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 1, 2, 3]])
@pytest.mark.parametrize("name", ["triplet", "ntxent", "supcon", "circle", "n_pair", "ge2e", "multi_similarity"])
def test_without_a_positive_or_a_negative_there_is_nothing_to_learn(name: str, labels: list[int]) -> None:
    x = torch.randn(4, WIDTH, generator=torch.Generator().manual_seed(0)).requires_grad_()
    result = loss_of(name).measure(x, torch.tensor(labels))
    result.loss.backward()  # type: ignore[no-untyped-call]
    assert (result.loss.item(), result.candidates.item(), result.zero_share.item()) == (0, 0, 1)
    assert x.grad is not None
    assert not x.grad.any()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("collapsed", ["zero", "same"])
def test_collapsed_embeddings_give_no_nan(name: str, collapsed: str) -> None:
    _, labels = batch()
    x = torch.zeros(len(labels), WIDTH) if collapsed == "zero" else torch.ones(len(labels), WIDTH)
    value, gradient = gradients(loss_of(name), x, labels)
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().max() < 1e3


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", LOSSES)
def test_embeddings_that_are_not_finite_are_refused(name: str, bad: float) -> None:
    x, labels = batch()
    x[3, 2] = bad
    with pytest.raises(ValueError, match="1 of 24 embeddings hold NaN or infinity"):
        loss_of(name)(x, labels)


def test_labels_that_do_not_fit_are_refused() -> None:
    x, labels = batch()
    loss = loss_of("triplet")
    with pytest.raises(ValueError, match=r"24 embeddings need as many labels, and these are \(23,\)"):
        loss(x, labels[:-1])
    with pytest.raises(ValueError, match="labels must be integers"):
        loss(x, labels.float())
    with pytest.raises(ValueError, match="labels are on meta and the embeddings on cpu"):
        loss(x, labels.to("meta"))
    with pytest.raises(ValueError, match="needs labels, or tuples"):
        loss(x)
    with pytest.raises(ValueError, match="samples, dimensions"):
        loss(x.flatten(), labels)


@pytest.mark.parametrize("name", LOSSES)
def test_each_loss_eats_what_it_says(name: str) -> None:
    x, labels = batch()
    loss = loss_of(name)
    rows = torch.tensor([0, 1])
    tuples: dict[str, PairTuples | TripletTuples] = {
        "pairs": PairTuples(rows, rows + 2, torch.tensor([1, 0])),
        "triplets": TripletTuples(rows, rows + 2, rows + 4),
    }
    assert "classes" in loss.feeds
    for feed, given in tuples.items():
        if feed in loss.feeds:
            assert loss.measure(x, labels, given).candidates == 2
            assert torch.isfinite(loss(x, tuples=given))
        else:
            with pytest.raises(ValueError, match=f"does not learn from given {feed}, only from: classes"):
                loss(x, labels, given)


@pytest.mark.parametrize("name", LOSSES)
def test_state_survives_a_save(name: str) -> None:
    x, labels = batch()
    first, second = loss_of(name), loss_of(name)
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.add_(0.1)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(x, labels), second(x, labels))
    assert isinstance(first, nn.Module)


def test_unknown_names_list_the_known_ones_nearest_first() -> None:
    with pytest.raises(ValueError, match="unknown loss 'triplets'; known: triplet, "):
        loss_of("triplets")
    with pytest.raises(ValueError, match="unknown option of the loss triplet 'margn'; known: margin, "):
        loss_of("triplet", margn=0.2)
    with pytest.raises(ValueError, match="unknown option of the loss binary 'margin'"):
        loss_of("binary", margin=0.2)
    with pytest.raises(ValueError, match="unknown mining 'semi_hard'; known: semihard, "):
        loss_of("triplet", mining="semi_hard")
    with pytest.raises(ValueError, match="unknown reduction 'mean'"):
        loss_of("contrastive", reduction="mean")
    with pytest.raises(ValueError, match="unknown distance of TripletLoss 'euclid'; known: euclidean, "):
        loss_of("triplet", distance="euclid")
    with pytest.raises(ValueError, match="unknown distance of ArcFaceLoss 'euclidean'; known: cosine"):
        loss_of("arcface", distance="euclidean")


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("triplet", "margin", -0.1),
        ("contrastive", "margin", float("nan")),
        ("ntxent", "temperature", 0.0),
        ("binary", "scale", -1.0),
        ("proxy_triplet", "margin", -1.0),
        ("multi_similarity", "epsilon", -0.1),
        ("arcface", "margin", 4.0),
    ],
)
def test_values_out_of_range_are_refused(name: str, option: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{option} must be"):
        loss_of(name, **{option: value})


@pytest.mark.parametrize("name", LOSSES)
def test_the_default_distance_is_one_of_its_own(name: str) -> None:
    assert loss_of(name).distance.name == LOSSES[name].distance_names[0]
    assert LOSSES[name].__doc__ is not None


def test_public_names_are_handed_out() -> None:
    assert set(losses.__all__) >= {kind.__name__ for kind in LOSSES.values()}
    assert all(hasattr(losses, name) for name in losses.__all__)

from __future__ import annotations

import copy
import math

import pytest
import torch

from likewise.learning import encoders, losses
from likewise.learning.diagnosis import Diagnosis, collapsed
from likewise.learning.losses import LOSSES, Loss
from likewise.learning.memory import CrossBatchMemory

LABELS = torch.arange(16) // 4
SAMPLES = torch.randint(0, 256, (16, 1, 6, 6), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def look(loss: Loss) -> tuple[list[dict[str, object]], float]:
    encoder = encoders.build("mlp", (1, 6, 6), 8, width=16)
    seen = Diagnosis(SAMPLES, LABELS, None).look(encoder, loss, epoch=3)
    return seen.layers, seen.collapsed_loss


@pytest.mark.parametrize(
    ("loss", "stands_at"),
    [
        (losses.TripletLoss(margin=0.3), 0.3),
        (losses.TripletLoss(margin=0.3, mining="semihard"), 0.3),
        (losses.TripletLoss(margin=0.3, mining="nearest_semihard"), 0.3),
        (losses.TripletLoss(margin=0.3, mining="hard"), 0.3),
        (losses.TripletLoss(margin=0.0, soft=True), math.log(2)),
        (losses.ContrastiveLoss(margin=1.0), 0.25),
        (losses.SupConLoss(), math.log(15)),
        (losses.NTXentLoss(), math.log(13)),
    ],
)
def test_the_loss_at_collapse_is_what_the_formula_gives_for_equal_distances(loss: Loss, stands_at: float) -> None:
    assert look(loss)[1] == pytest.approx(stands_at, rel=0.01)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_has_one(name: str) -> None:
    assert math.isfinite(look(losses.build(name, classes=4, embedding=8))[1])


def test_layers_are_told_by_epoch_and_name() -> None:
    layers, _ = look(losses.TripletLoss())
    assert {row["epoch"] for row in layers} == {3}
    assert [row["layer"] for row in layers][-1] == "head"
    assert list(layers[0]) == [
        "epoch",
        "layer",
        "activation_mean",
        "activation_var",
        "gradient_mean",
        "gradient_var",
    ]


@pytest.mark.parametrize(
    "loss",
    [
        losses.TripletLoss(mining="distance_weighted"),
        CrossBatchMemory(losses.TripletLoss(), size=8, embedding=8),
        losses.build("arcface", classes=4, embedding=8),
    ],
)
def test_looking_changes_nothing(loss: Loss) -> None:
    encoder = encoders.build("mlp", (1, 6, 6), 8, width=16)
    before = copy.deepcopy({**encoder.state_dict(), **loss.state_dict()})
    Diagnosis(SAMPLES, LABELS, None).look(encoder, loss, epoch=1)
    after = {**encoder.state_dict(), **loss.state_dict()}
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert loss.training
    assert all(weight.grad is None for weight in [*encoder.parameters(), *loss.parameters()])


def test_given_tuples_are_what_it_looks_at() -> None:
    pairs = losses.PairTuples(torch.tensor([0, 0]), torch.tensor([1, 15]), same=torch.tensor([1, 0]))
    encoder = encoders.build("mlp", (1, 6, 6), 8)
    seen = Diagnosis(SAMPLES, LABELS, pairs).look(encoder, losses.ContrastiveLoss(margin=1.0), epoch=0)
    assert seen.collapsed_loss == pytest.approx(0.25, rel=0.01)


@pytest.mark.parametrize(
    ("loss", "at_collapse", "eer", "said"),
    [
        (0.2, 0.2, 0.5, True),
        (0.197, 0.2, 0.3, True),
        (0.195, 0.2, 0.5, False),
        (0.206, 0.2, 0.5, False),
        (0.2, 0.2, 0.2, False),
        (0.0, 0.2, 0.5, False),
    ],
)
def test_collapse_is_a_loss_that_stands_and_an_eer_that_does_not_fall(
    loss: float, at_collapse: float, eer: float, said: bool
) -> None:
    assert collapsed(loss, at_collapse, eer) is said

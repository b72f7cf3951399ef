from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from likewise.learning import encoders, losses, optimisation
from likewise.learning.optimisation import OPTIMIZERS, SCHEDULES, warm


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_stay_in_range_and_end_low(schedule: str) -> None:
    factors = [SCHEDULES[schedule](done) for done in np.linspace(0, 1, 101)]
    assert min(factors) >= 0
    assert max(factors) == 1
    if schedule == "constant":
        assert set(factors) == {1.0}
    else:
        top = int(np.argmax(factors))
        assert (np.diff(factors[: top + 1]) >= 0).all()
        assert (np.diff(factors[top:]) <= 0).all()
        assert factors[-1] == pytest.approx(0, abs=1e-12)
        assert top == {"cosine": 0, "one_cycle": 30}[schedule]


def test_a_warm_up_rises_evenly_and_is_over_when_it_says() -> None:
    factors = [warm(done, 2) for done in np.linspace(0, 4, 9)]
    assert factors == [0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("adamw", torch.optim.AdamW),
        ("adam", torch.optim.Adam),
        ("sgd", torch.optim.SGD),
        ("rmsprop", torch.optim.RMSprop),
    ],
)
def test_optimizers_are_what_they_are_called(name: str, kind: type[torch.optim.Optimizer]) -> None:
    made = OPTIMIZERS[name]([{"params": [nn.Parameter(torch.ones(2))], "weight_decay": 0.25}], lr=0.5)
    assert type(made) is kind
    assert (made.param_groups[0]["lr"], made.param_groups[0]["weight_decay"]) == (0.5, 0.25)


@pytest.mark.parametrize("encoder", ["conv", "resnet", "vit", "mlp"])
def test_every_weight_is_in_one_group_and_only_the_matrices_decay(encoder: str) -> None:
    network = encoders.build(encoder, (1, 16, 16), 8)
    loss = losses.build("proxy_anchor", classes=3, embedding=8)
    made = optimisation.build("adamw", network, loss, learning_rate=0.1, loss_learning_rate=0.7, weight_decay=0.3)
    heavy, light, learnt = made.param_groups
    grouped = [id(p) for group in made.param_groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in [*network.parameters(), *loss.parameters()])
    names = {id(p): name for name, p in network.named_parameters()}
    assert {names[id(p)].rsplit(".")[-1] for p in heavy["params"]} == {"weight"}
    assert all(p.ndim >= 2 for p in heavy["params"])
    assert any(name.endswith("bias") for name in (names[id(p)] for p in light["params"]))
    if encoder == "vit":
        assert {"kind", "positions"} <= {names[id(p)].rsplit(".")[-1] for p in light["params"]}
    assert [id(p) for p in learnt["params"]] == [id(loss.proxies)]
    assert [group["weight_decay"] for group in made.param_groups] == [0.3, 0.0, 0.0]
    assert [group["lr"] for group in made.param_groups] == [0.1, 0.1, 0.7]
    assert optimisation.set_rate(made, 0.5) == 0.05
    assert [group["lr"] for group in made.param_groups] == [0.05, 0.05, 0.35]


def test_without_a_rate_of_its_own_the_loss_has_the_encoders() -> None:
    loss = losses.build("arcface", classes=3, embedding=8)
    made = optimisation.build("sgd", encoders.build("mlp", (4,), 8), loss, learning_rate=0.1, weight_decay=0.0)
    assert [group["lr"] for group in made.param_groups] == [0.1] * 3


def test_a_loss_that_learns_nothing_has_no_group() -> None:
    made = optimisation.build(
        "adam",
        encoders.build("mlp", (4,), 8),
        losses.build("triplet", classes=3, embedding=8),
        learning_rate=0.1,
        weight_decay=0.1,
    )
    assert len(made.param_groups) == 2


def test_an_unknown_name_lists_the_known_ones_nearest_first() -> None:
    with pytest.raises(ValueError, match="unknown optimizer 'adamv'; known: adam"):
        optimisation.build("adamv", nn.Linear(2, 2), nn.Identity(), learning_rate=0.1, weight_decay=0.0)

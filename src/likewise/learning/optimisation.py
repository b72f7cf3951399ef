"""How weights are moved: optimizers and schedules by name, and which weights decay or have a rate of their own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from likewise.choices import choose
from likewise.learning.initialisers import WEIGHTED


def build(
    name: str,
    encoder: nn.Module,
    loss: nn.Module,
    *,
    learning_rate: float,
    loss_learning_rate: float | None = None,
    weight_decay: float,
) -> torch.optim.Optimizer:
    """Return the optimizer of a name over the weights of an encoder and of a loss.

    The weights of linear and convolution layers decay; biases, norms, tokens, positions and whatever the loss
    learns (proxies, a scale) do not. Each group keeps its highest rate as `peak`, for `set_rate`.

    Args:
        name: a key of `OPTIMIZERS`.
        encoder: the network.
        loss: what it is trained with; its weights, if any, are the last group.
        learning_rate: of the encoder's weights, the highest of the schedule.
        loss_learning_rate: of the loss's weights; the encoder's where it is none.
        weight_decay: as the optimizer defines it (decoupled for AdamW).

    Raises:
        ValueError: when the name is unknown.
    """
    kind = choose("optimizer", name, OPTIMIZERS)
    layers = [layer for layer in encoder.modules() if isinstance(layer, WEIGHTED)]
    heavy = {id(layer.weight) for layer in layers}
    loss_rate = learning_rate if loss_learning_rate is None else loss_learning_rate
    groups = [
        ([p for p in encoder.parameters() if id(p) in heavy], learning_rate, weight_decay),
        ([p for p in encoder.parameters() if id(p) not in heavy], learning_rate, 0.0),
        (list(loss.parameters()), loss_rate, 0.0),
    ]
    given: list[dict[str, Any]] = [
        {"params": weights, "lr": rate, "peak": rate, "weight_decay": decay}
        for weights, rate, decay in groups
        if weights
    ]
    return kind(given, lr=learning_rate)


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """Set every group's rate to its highest times `factor`; return the first group's, the encoder's."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor
    return float(optimizer.param_groups[0]["lr"])


def warm(done: float, warmup: float) -> float:
    """Return the factor of a linear warm-up (Goyal et al. 2017), 1 once it is over.

    Args:
        done: epochs done, the step about to be taken included.
        warmup: epochs that the rise takes; 0 for none.

    Example:
        >>> warm(0.5, 2), warm(3, 2), warm(0.1, 0)
        (0.25, 1.0, 1.0)
    """
    return min(1.0, done / warmup) if warmup else 1.0


def constant(done: float) -> float:  # noqa: ARG001 - all schedules are called alike
    """Return 1: the learning rate stays as it is, whatever share of the training is done."""
    return 1.0


def cosine(done: float) -> float:
    """Return the factor of the cosine schedule when the share `done` of the training is done.

    `(1 + cos(pi done)) / 2` (Loshchilov and Hutter 2017, without restarts).

    Example:
        >>> [round(cosine(done), 3) for done in (0.0, 0.5, 1.0)]
        [1.0, 0.5, 0.0]
    """
    return (1 + math.cos(math.pi * done)) / 2


def one_cycle(done: float) -> float:
    """Return the factor of the one-cycle schedule when the share `done` of the training is done.

    From 1/25 up to 1 over the first three tenths, down to nothing over the rest, both along a cosine
    (Smith and Topin 2018).

    Example:
        >>> [round(one_cycle(done), 3) for done in (0.0, 0.3, 0.65, 1.0)]
        [0.04, 1.0, 0.5, 0.0]
    """
    rise = 0.3
    if done < rise:
        return 1 - (1 - 1 / 25) * cosine(done / rise)
    return cosine((done - rise) / (1 - rise))


def _sgd(groups: list[dict[str, Any]], *, lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True)


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": constant,
    "cosine": cosine,
    "one_cycle": one_cycle,
}

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "sgd": _sgd,
    "rmsprop": torch.optim.RMSprop,
}

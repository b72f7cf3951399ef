"""The running average of the weights (EMA): steadier on val than the weights of any one step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypedDict

import torch
from torch import Tensor, nn


class AverageState(TypedDict):
    """What a checkpoint keeps of an average."""

    steps: int
    averages: list[Tensor]


class Average:
    """An exponential moving average of weights, `average += (1 - d) (weight - average)` after each step.

    The decay rises to its value, `d = min(decay, (1 + step) / (10 + step))`, so that a short training is not
    weighed down by its first weights (TensorFlow's `ExponentialMovingAverage`; the average itself goes back to
    Polyak and Juditsky 1992).

    Args:
        weights: what is averaged, in an order that stays.
        decay: 0 <= decay < 1.

    Raises:
        ValueError: when the decay is out of range.

    Example:
        >>> weight = nn.Parameter(torch.tensor([0.0]))
        >>> average = Average([weight], decay=0.5)
        >>> _ = weight.data.fill_(11.0)
        >>> average.update()
        >>> with average.in_place():
        ...     weight.item()  # 0 + (1 - 2/11) * 11
        9.0
        >>> weight.item()
        11.0
    """

    def __init__(self, weights: Iterable[nn.Parameter], *, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"the decay of the average must be at least 0 and below 1, and is {decay}")
        self._weights = list(weights)
        self._decay = decay
        self._averages = [weight.detach().clone() for weight in self._weights]
        self._steps = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are now; to be called once after each step."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        for average, weight in zip(self._averages, self._weights, strict=True):
            average.lerp_(weight, 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the weights be their averages until the block ends."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def state(self) -> AverageState:
        """Return what `restore` needs."""
        return {"steps": self._steps, "averages": self._averages}

    @torch.no_grad()
    def restore(self, state: AverageState) -> None:
        """Go on where `state` was taken."""
        self._steps = state["steps"]
        for mine, given in zip(self._averages, state["averages"], strict=True):
            mine.copy_(given)

    @torch.no_grad()
    def _exchange(self) -> None:
        for average, weight in zip(self._averages, self._weights, strict=True):
            kept = weight.detach().clone()
            weight.copy_(average)
            average.copy_(kept)

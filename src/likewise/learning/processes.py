"""One training by several processes: each embeds its share of the batch, all learn from the whole of it.

A batch loss couples all samples, so that the mean of the losses of each process's share is another loss. Here the
embeddings are gathered, every process takes the same loss of the whole batch, and its gradient goes back through
the share that the process embedded itself. The gradients of the encoder are then added up, not averaged: each is
the part that came through its own samples. The sum is the gradient that one process would have found.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True)
class Processes:
    """Who trains: this process's number, and how many there are. Alone, nothing is sent anywhere."""

    rank: int = 0
    size: int = 1

    @classmethod
    def joined(cls) -> Self:
        """Return this process's place in PyTorch's process group; alone where there is none."""
        return cls(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else cls()

    def share(self, count: int) -> slice:
        """Return which rows of a batch of `count` are this process's; shares differ by one row at most.

        Raises:
            ValueError: when there are fewer rows than processes.

        Example:
            >>> [Processes(rank, 3).share(8) for rank in range(3)]
            [slice(0, 2, None), slice(2, 5, None), slice(5, 8, None)]
        """
        if count < self.size:
            raise ValueError(
                f"a batch of {count} samples cannot be shared by {self.size} processes; use another train.batch_size"
            )
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def gather(self, own: Tensor, count: int) -> Tensor:
        """Return the rows of all processes, `(count, d)`, in the batch's order; without a gradient."""
        if self.size == 1:
            return own.detach()
        longest = -(-count // self.size)
        padded = own.new_zeros(longest, *own.shape[1:])
        padded[: len(own)] = own.detach()
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        shares = [Processes(rank, self.size).share(count) for rank in range(self.size)]
        return torch.cat([part[: share.stop - share.start] for part, share in zip(parts, shares, strict=True)])

    def add_gradients(self, weights: Iterable[nn.Parameter]) -> None:
        """Let every process have the sum of the gradients of all, in one message."""
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        if self.size == 1 or not gradients:
            return
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        ends = np.cumsum([gradient.numel() for gradient in gradients]).tolist()
        for gradient, summed in zip(gradients, flat.tensor_split(ends[:-1]), strict=True):
            gradient.copy_(summed.view_as(gradient))

    def agreed(self, value: float, device: torch.device) -> float:
        """Return the first process's value to all."""
        if self.size == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64, device=device)
        dist.broadcast(shared, src=0)
        return shared.item()


ALONE = Processes()
"""One process, which shares nothing."""

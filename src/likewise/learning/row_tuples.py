"""Pairs and triplets of a batch, as row numbers: what miners hand to losses, and feeds to training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PairTuples:
    """Pairs of a batch: two row numbers and whether they are of one class.

    Attributes:
        left: `(t,)` int64 row numbers.
        right: `(t,)` int64 row numbers.
        same: `(t,)`, 1 or true where genuine, 0 or false where impostor.

    Raises:
        ValueError: unless the three have one dimension and one length.
    """

    left: Tensor
    right: Tensor
    same: Tensor

    def __post_init__(self) -> None:
        _refuse_ragged(left=self.left, right=self.right, same=self.same)

    def __len__(self) -> int:
        return len(self.left)

    def to(self, device: torch.device | str) -> PairTuples:
        """Return the same pairs on a device."""
        return PairTuples(self.left.to(device), self.right.to(device), self.same.to(device))


@dataclass(frozen=True)
class TripletTuples:
    """Triplets of a batch: anchor and positive are of one class, the negative of another.

    Attributes:
        anchor: `(t,)` int64 row numbers.
        positive: `(t,)` int64 row numbers.
        negative: `(t,)` int64 row numbers.

    Raises:
        ValueError: unless the three have one dimension and one length.
    """

    anchor: Tensor
    positive: Tensor
    negative: Tensor

    def __post_init__(self) -> None:
        _refuse_ragged(anchor=self.anchor, positive=self.positive, negative=self.negative)

    def __len__(self) -> int:
        return len(self.anchor)

    def to(self, device: torch.device | str) -> TripletTuples:
        """Return the same triplets on a device."""
        return TripletTuples(self.anchor.to(device), self.positive.to(device), self.negative.to(device))

    def pairs(self) -> PairTuples:
        """Return the pairs of the triplets, each once: anchor and positive genuine, anchor and negative impostor.

        >>> triplets = TripletTuples(torch.tensor([0, 0]), torch.tensor([1, 1]), torch.tensor([2, 3]))
        >>> pairs = triplets.pairs()
        >>> torch.stack([pairs.left, pairs.right, pairs.same]).tolist()
        [[0, 0, 0], [1, 2, 3], [1, 0, 0]]
        """
        genuine = _both_ways(self.anchor, self.positive)
        impostor = _both_ways(self.anchor, self.negative)
        both = torch.cat([genuine, impostor])
        same = torch.arange(len(both), device=both.device) < len(genuine)
        return PairTuples(both[:, 0], both[:, 1], same.to(both.dtype))


def _both_ways(left: Tensor, right: Tensor) -> Tensor:
    """Return the pairs `(t, 2)`, the smaller row number first and each pair once."""
    ordered = torch.stack([torch.minimum(left, right), torch.maximum(left, right)], dim=1)
    distinct: Tensor = torch.unique(ordered, dim=0)
    return distinct


def _refuse_ragged(**columns: Tensor) -> None:
    shapes = {name: tuple(column.shape) for name, column in columns.items()}
    if len(set(shapes.values())) != 1 or len(next(iter(shapes.values()))) != 1:
        raise ValueError(f"tuples need one-dimensional tensors of one length, and these are {shapes}")

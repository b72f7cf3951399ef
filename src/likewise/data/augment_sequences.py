"""Augmentation of sequences: a whole batch at a time, on its device, from numbers drawn on the CPU.

The numbers come from a CPU generator, so that a seed means the same sequences on every device. Each kind has one
strength, and 0 leaves it out. The first and the last point stay the first and the last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from likewise.data.strengths import Strengths

KNOTS = 5
"""Places, evenly spaced, whose speed the time warp draws; in between its logarithm lies on a straight line."""

LIMITS = {"warp": 10.0, "dropout": 1.0, "rotation": 180.0, "scale": 10.0, "jitter": 10.0}
"""The greatest strength of each kind; the least is 0, which leaves it out."""


@dataclass(frozen=True)
class SequenceAugmentation(Strengths):
    """Random changes of sequences that keep their class; the kinds are applied in the order of the arguments.

    Every number is drawn uniformly up to its strength, both ways where there are two. A change by a factor is drawn as
    `(1 + strength) ** u` with u from -1 to 1.

    Args:
        warp: factor of the speed, which rises and falls smoothly along the sequence (Um et al. 2017).
        dropout: share of the points between the ends that are lost; straight lines join those that stay.
        rotation: degrees in the plane of the first two channels, about their means.
        scale: factor of the distance from each channel's mean, one for all channels.
        jitter: standard deviation of the noise on each channel, as a share of the channel's own in that sample.
        differences: whether the second half of the channels are the first differences of the first half, which are
            changed with it; this is no strength.

    Raises:
        ValueError: when a strength is below 0 or above its limit.

    Example:
        >>> lost = SequenceAugmentation(dropout=1.0)
        >>> lost(torch.tensor([[[1.0, 5.0, 5.0, 4.0]]]), generator=torch.Generator().manual_seed(0))
        tensor([[[1., 2., 3., 4.]]])
    """

    limits: ClassVar = LIMITS

    warp: float = 0.0
    dropout: float = 0.0
    rotation: float = 0.0
    scale: float = 0.0
    jitter: float = 0.0
    differences: bool = False

    def __call__(self, batch: Tensor, *, generator: torch.Generator) -> Tensor:
        """Return changed copies of the sequences (n, channels, length), float32 on their device.

        The batch itself comes back when everything is off.

        Args:
            batch: sequences of any type of float, at least 2 points long.
            generator: a CPU generator; the same state gives the same changes.

        Raises:
            ValueError: when the batch is not one of sequences, has one channel that is to be rotated, or an odd
                number of which half are to be differences.
        """
        if self.off:
            return batch
        self._check(batch)
        sequences = batch.float()
        if self.differences:
            sequences = sequences[:, : batch.shape[1] // 2]
        for change in (self._warped, self._thinned, self._turned, self._scaled, self._noisy):
            sequences = change(sequences, generator)
        return with_differences(sequences) if self.differences else sequences

    def _check(self, batch: Tensor) -> None:
        if batch.dim() != 3 or not batch.is_floating_point() or batch.shape[2] < 2:
            raise ValueError(
                f"augmentation takes sequences (n, channels, length) of floats, but was given {batch.dtype} "
                f"{tuple(batch.shape)}; set every strength to 0 for other kinds of samples"
            )
        channels = batch.shape[1]
        if self.differences and channels % 2:
            raise ValueError(f"augmentation: half of the channels cannot be differences, there are {channels}")
        if self.rotation and channels // (1 + self.differences) < 2:
            raise ValueError("augmentation: there is no plane to rotate in with one channel; set rotation to 0")

    def _warped(self, sequences: Tensor, generator: torch.Generator) -> Tensor:
        if not self.warp:
            return sequences
        speeds = (1 + self.warp) ** _both_ways((len(sequences), KNOTS), generator)
        return read_at(sequences, warped_places(speeds, length=sequences.shape[2]))

    def _thinned(self, sequences: Tensor, generator: torch.Generator) -> Tensor:
        if not self.dropout:
            return sequences
        shares = torch.rand((len(sequences), 1), generator=generator) * self.dropout
        kept = torch.rand((len(sequences), sequences.shape[2]), generator=generator) >= shares
        return bridged(sequences, kept)

    def _turned(self, sequences: Tensor, generator: torch.Generator) -> Tensor:
        if not self.rotation:
            return sequences
        return turned(sequences, _both_ways((len(sequences),), generator) * math.radians(self.rotation))

    def _scaled(self, sequences: Tensor, generator: torch.Generator) -> Tensor:
        if not self.scale:
            return sequences
        factors = _each((1 + self.scale) ** _both_ways((len(sequences),), generator), sequences)
        middle = sequences.mean(dim=2, keepdim=True)
        return middle + (sequences - middle) * factors

    def _noisy(self, sequences: Tensor, generator: torch.Generator) -> Tensor:
        if not self.jitter:
            return sequences
        shares = _each(torch.rand(len(sequences), generator=generator) * self.jitter, sequences)
        noise = torch.randn(sequences.shape, generator=generator).to(sequences.device)
        return sequences + noise * shares * sequences.std(dim=2, correction=0, keepdim=True)


def warped_places(speeds: Tensor, *, length: int) -> Tensor:
    """Return where each point of a warped sequence is read: (n, length), rising from 0 to length - 1.

    The speed of the step from point to point is read from the knots, its logarithm on straight lines between them at
    the middle of the step; the place of a point is the sum of the steps before it, as a share of all.

    Args:
        speeds: at the knots (n, knots), above 0; only their ratios count.
        length: points, at least 2.

    Example:
        >>> warped_places(torch.tensor([[3.0, 3.0, 1.0]]), length=3).round(decimals=2)
        tensor([[0.0000, 1.2700, 2.0000]])
    """
    steps = F.interpolate(speeds.log()[:, None], size=2 * length - 1, mode="linear", align_corners=True)
    travelled = F.pad(steps[:, 0, 1::2].exp().cumsum(dim=1), (1, 0))
    return travelled / travelled[:, -1:] * (length - 1)


def read_at(sequences: Tensor, places: Tensor) -> Tensor:
    """Return the sequences at other places, on the straight lines between their points: (n, channels, places).

    Args:
        sequences: (n, channels, length), at least 2 points long.
        places: from 0 to length - 1 (n, places).

    Example:
        >>> read_at(torch.tensor([[[0.0, 10.0, 30.0]]]), torch.tensor([[0.5, 2.0]]))
        tensor([[[ 5., 30.]]])
    """
    before = places.floor().clamp(0, sequences.shape[2] - 2)
    share = (places - before).to(sequences)[:, None]
    index = before.long().to(sequences.device)[:, None].expand(-1, sequences.shape[1], -1)
    return torch.lerp(sequences.gather(2, index), sequences.gather(2, index + 1), share)


def bridged(sequences: Tensor, kept: Tensor) -> Tensor:
    """Return the sequences with straight lines over the points that are not kept; the ends always are.

    Args:
        sequences: (n, channels, length).
        kept: bool (n, length).

    Example:
        >>> bridged(torch.tensor([[[0.0, 9.0, 4.0, 7.0]]]), torch.tensor([[True, False, True, False]]))
        tensor([[[0., 2., 4., 7.]]])
    """
    last = sequences.shape[2] - 1
    steps = torch.arange(last + 1)
    kept = kept | (steps == 0) | (steps == last)
    before = torch.where(kept, steps, 0).cummax(dim=1).values
    after = torch.where(kept, steps, last).flip(1).cummin(dim=1).values.flip(1)
    share = ((steps - before) / (after - before).clamp(min=1)).to(sequences)[:, None]
    left, right = (
        sequences.gather(2, index.to(sequences.device)[:, None].expand(sequences.shape)) for index in (before, after)
    )
    return torch.lerp(left, right, share)


def turned(sequences: Tensor, angles: Tensor) -> Tensor:
    """Return the sequences with their first two channels turned about their means, from the first to the second.

    Args:
        sequences: (n, channels, length), at least two channels.
        angles: radians (n,).

    Example:
        >>> turned(torch.tensor([[[2.0, 4.0], [5.0, 5.0]]]), torch.tensor([math.pi / 2])).round()
        tensor([[[3., 3.],
                 [4., 6.]]])
    """
    plane = sequences[:, :2]
    middle = plane.mean(dim=2, keepdim=True)
    cos, sin = angles.cos(), angles.sin()
    matrices = torch.stack([torch.stack([cos, -sin], dim=1), torch.stack([sin, cos], dim=1)], dim=1)
    return torch.cat([matrices.to(sequences) @ (plane - middle) + middle, sequences[:, 2:]], dim=1)


def with_differences(sequences: Tensor) -> Tensor:
    """Return the sequences with their first differences appended as channels: 0, then `x[i] - x[i - 1]`.

    Example:
        >>> with_differences(torch.tensor([[[1.0, 3.0, 2.0]]]))
        tensor([[[ 1.,  3.,  2.],
                 [ 0.,  2., -1.]]])
    """
    return torch.cat([sequences, sequences.diff(dim=2, prepend=sequences[:, :, :1])], dim=1)


def _both_ways(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw numbers from -1 to 1."""
    return torch.rand(shape, generator=generator) * 2 - 1


def _each(values: Tensor, sequences: Tensor) -> Tensor:
    """Return a number a sequence (n,) as (n, 1, 1) on the sequences' device."""
    return values.to(sequences.device)[:, None, None]

"""Augmentation of sounds as log-mel: a whole batch at a time, on its device, from numbers drawn on the CPU.

The numbers come from a CPU generator, so that a seed means the same sounds on every device. Each kind has one strength,
and 0 leaves it out. What moves in from outside is digital silence, as it is where short sounds are filled up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from likewise.data.spectra import LOG_FLOOR
from likewise.data.strengths import Strengths

MASKS = 2
"""Masks an axis, as in SpecAugment's policies for Switchboard and the longer one for LibriSpeech."""

DECIBEL = math.log(10) / 10
"""One decibel in the natural logarithm of the power."""

LIMITS = {"shift": 1.0, "gain": 100.0, "noise": 100.0, "mask_mels": 1.0, "mask_frames": 1.0}
"""The greatest strength of each kind; the least is 0, which leaves it out."""


@dataclass(frozen=True)
class SoundAugmentation(Strengths):
    """Random changes of sounds that keep their class; the kinds are applied in the order of the arguments.

    Every number is drawn uniformly up to its strength, both ways where there are two.

    Args:
        shift: earlier and later, in shares of the length.
        gain: louder and softer, in decibels.
        noise: power of noise as a share of the sound's mean power, equal in all bands.
        mask_mels: length of each of two masks over neighbouring bands (Park et al. 2019), as a share of the bands.
        mask_frames: length of each of two masks over neighbouring frames, as a share of the frames.

    Raises:
        ValueError: when a strength is below 0 or above its limit.

    Example:
        >>> later = SoundAugmentation(shift=1.0)
        >>> later(torch.tensor([[[1.0, 2.0, 3.0, 4.0]]]), generator=torch.Generator().manual_seed(2))
        tensor([[[-18.4219,   1.0000,   2.0000,   3.0000]]])
    """

    limits: ClassVar = LIMITS

    shift: float = 0.0
    gain: float = 0.0
    noise: float = 0.0
    mask_mels: float = 0.0
    mask_frames: float = 0.0

    def __call__(self, batch: Tensor, *, generator: torch.Generator) -> Tensor:
        """Return changed copies of the sounds (n, mels, frames), float32 on their device, nowhere below the floor.

        The batch itself comes back when everything is off.

        Args:
            batch: natural logarithms of power, as of `likewise.data.spectra.log_mel`, any type of float.
            generator: a CPU generator; the same state gives the same changes.

        Raises:
            ValueError: when the batch is not one of log-mel.
        """
        if self.off:
            return batch
        if batch.dim() != 3 or not batch.is_floating_point():
            raise ValueError(
                f"augmentation takes log-mel (n, mels, frames) of floats, but was given {batch.dtype} "
                f"{tuple(batch.shape)}; set every strength to 0 for other kinds of samples"
            )
        sounds = batch.float()
        for change in (self._shifted, self._louder, self._noisy, self._masked):
            sounds = change(sounds, generator)
        return sounds.clamp(min=LOG_FLOOR)

    def _shifted(self, sounds: Tensor, generator: torch.Generator) -> Tensor:
        if not self.shift:
            return sounds
        steps = _both_ways(len(sounds), generator) * self.shift * sounds.shape[2]
        return shifted(sounds, steps.round().long())

    def _louder(self, sounds: Tensor, generator: torch.Generator) -> Tensor:
        return louder(sounds, _both_ways(len(sounds), generator) * self.gain) if self.gain else sounds

    def _noisy(self, sounds: Tensor, generator: torch.Generator) -> Tensor:
        if not self.noise:
            return sounds
        shares = torch.rand(len(sounds), generator=generator) * self.noise
        return noisy(sounds, shares, noise=torch.empty(sounds.shape).exponential_(generator=generator))

    def _masked(self, sounds: Tensor, generator: torch.Generator) -> Tensor:
        middle = sounds.mean(dim=(1, 2), keepdim=True)
        for axis, strength in ((1, self.mask_mels), (2, self.mask_frames)):
            if strength:
                places, lengths = torch.rand((2, len(sounds), MASKS), generator=generator)
                inside = masks(sounds.shape[axis], places=places, lengths=lengths * strength).to(sounds.device)
                sounds = torch.where(inside.unsqueeze(3 - axis), middle, sounds)
        return sounds


def shifted(sounds: Tensor, steps: Tensor) -> Tensor:
    """Return the sounds so many frames later (above 0) or earlier; silence moves in, what moves out is lost.

    Args:
        sounds: (n, mels, frames).
        steps: whole frames (n,), int64.

    Example:
        >>> shifted(torch.tensor([[[1.0, 2.0, 3.0]]]), torch.tensor([-1]))
        tensor([[[  2.0000,   3.0000, -18.4219]]])
    """
    frames = sounds.shape[2]
    source = torch.arange(frames) - steps[:, None]
    inside = ((source >= 0) & (source < frames)).to(sounds.device)[:, None]
    places = source.clamp(0, frames - 1).to(sounds.device)[:, None].expand(sounds.shape)
    return torch.where(inside, sounds.gather(2, places), LOG_FLOOR)


def louder(sounds: Tensor, gain: Tensor) -> Tensor:
    """Return `max(x + gain log(10) / 10, LOG_FLOOR)` where x is above the floor; digital silence stays what it is.

    Args:
        sounds: (n, mels, frames).
        gain: decibels (n,).

    Example:
        >>> louder(torch.tensor([[[0.0, LOG_FLOOR]]]), torch.tensor([10.0])).round(decimals=2)
        tensor([[[  2.3000, -18.4200]]])
    """
    moved = (sounds + _each(gain * DECIBEL, sounds)).clamp(min=LOG_FLOOR)
    return torch.where(sounds > LOG_FLOOR, moved, sounds)


def noisy(sounds: Tensor, shares: Tensor, *, noise: Tensor) -> Tensor:
    """Return `log(exp x + share mean(exp x) noise)`: powers of sounds that have nothing to do with each other add up.

    The mean is over the sound's bands and frames.

    Args:
        sounds: (n, mels, frames).
        shares: power of the noise as a share of the sound's (n,).
        noise: (n, mels, frames), of mean 1; the power of white noise at one frequency is exponential.

    Example:
        >>> noisy(torch.zeros(1, 1, 2), torch.tensor([1.0]), noise=torch.tensor([[[0.0, 1.0]]])).exp().round()
        tensor([[[1., 2.]]])
    """
    powers = sounds.exp()
    loudness = _each(shares, sounds) * powers.mean(dim=(1, 2), keepdim=True)
    return (powers + loudness * noise.to(sounds.device)).log()


def masks(size: int, *, places: Tensor, lengths: Tensor) -> Tensor:
    """Return what lies in at least one of a sound's masks along an axis: bool (n, size).

    Args:
        size: bands or frames of the axis.
        places: where each mask lies (n, masks): 0 at the first, 1 at the last.
        lengths: of each mask, as shares of the size (n, masks), rounded to whole bands or frames.

    Example:
        >>> masks(4, places=torch.tensor([[1.0]]), lengths=torch.tensor([[0.5]]))
        tensor([[False, False,  True,  True]])
    """
    extents = (lengths * size).round()
    starts = (places * (size - extents)).round()
    steps = torch.arange(size)
    return ((steps >= starts[..., None]) & (steps < (starts + extents)[..., None])).any(dim=1)


def _both_ways(count: int, generator: torch.Generator) -> Tensor:
    """Draw numbers from -1 to 1."""
    return torch.rand(count, generator=generator) * 2 - 1


def _each(values: Tensor, sounds: Tensor) -> Tensor:
    """Return a number a sound (n,) as (n, 1, 1) on the sounds' device."""
    return values.to(sounds.device)[:, None, None]

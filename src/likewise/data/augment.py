"""Augmentation of images: a whole batch at a time, on its device, from numbers drawn on the CPU.

The numbers come from a CPU generator, so that a seed means the same pictures on every device. Each kind has one
strength, and 0 leaves it out. What moves into the picture from outside repeats the edge's pixel: paper stays paper, and
no black corner tells the network how an image was turned.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from likewise.data.strengths import Strengths

WHITE = 255.0
KNOTS = 5
"""Control points a side of the elastic displacement."""

QUARTERS = 4
"""Turns of a square image by right angles, the one by none included."""

MOST_ASPECT = 3.0
"""Greatest ratio of an erased rectangle's sides, as shares of the picture's."""

LIMITS = {
    "flip": 1.0,
    "shift": 1.0,
    "rotation": 180.0,
    "scale": 10.0,
    "shear": 80.0,
    "elastic": 1.0,
    "brightness": 1.0,
    "contrast": 10.0,
    "gamma": 10.0,
    "blur": 20.0,
    "erase": 1.0,
}
"""The greatest strength of each kind; the least is 0, which leaves it out."""


@dataclass(frozen=True)
class Augmentation(Strengths):
    """Random changes of images that keep their class; the kinds are applied in the order of the arguments.

    Every number is drawn uniformly up to its strength, both ways where there are two. A change by a factor is drawn as
    `(1 + strength) ** u` with u from -1 to 1.

    Args:
        flip: the share of images mirrored left to right.
        shift: across and down, in shares of the width and height.
        rotation: degrees.
        scale: factor of the size; 0.25 is four fifths to five fourths.
        shear: degrees by which upright lines lean.
        elastic: smooth random displacement (Simard et al. 2003), in shares of the width and height.
        brightness: what is added, as a share of 255.
        contrast: factor of the distance from the image's mean.
        gamma: exponent of the values as shares of 255.
        blur: standard deviation of a Gaussian, in pixels.
        erase: share of the area of one rectangle set to the image's mean (Zhong et al. 2020).

    Raises:
        ValueError: when a strength is below 0 or above its limit.

    Example:
        >>> mirror = Augmentation(flip=1.0)
        >>> mirror(torch.tensor([[[[1, 2, 3]]]], dtype=torch.uint8), generator=torch.Generator())
        tensor([[[[3., 2., 1.]]]])
    """

    limits: ClassVar = LIMITS

    flip: float = 0.0
    shift: float = 0.0
    rotation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    elastic: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    gamma: float = 0.0
    blur: float = 0.0
    erase: float = 0.0

    def __call__(self, batch: Tensor, *, generator: torch.Generator) -> Tensor:
        """Return changed copies of the images (n, channels, height, width), 0..255, float32 on their device.

        The batch itself comes back when everything is off.

        Args:
            batch: images in raw units, 0..255, uint8 or float.
            generator: a CPU generator; the same state gives the same changes.

        Raises:
            ValueError: when the batch is not one of images.
        """
        if self.off:
            return batch
        if batch.dim() != 4:
            raise ValueError(
                f"augmentation takes images (n, channels, height, width), but was given {tuple(batch.shape)}; "
                "set every strength to 0 for other kinds of samples"
            )
        images = batch.float()
        for change in (self._flipped, self._moved, self._lit, self._blurred, self._erased):
            images = change(images, generator)
        return images.clamp(0, WHITE)

    def _flipped(self, images: Tensor, generator: torch.Generator) -> Tensor:
        if not self.flip:
            return images
        chosen = torch.rand(len(images), generator=generator) < self.flip
        return torch.where(_each(chosen, images), images.flip(-1), images)

    def _moved(self, images: Tensor, generator: torch.Generator) -> Tensor:
        if not any((self.shift, self.rotation, self.scale, self.shear, self.elastic)):
            return images
        count, _, height, width = images.shape
        turn, lean, size, across, down = _both_ways((5, count), generator)
        matrices = affine(
            turn=turn * math.radians(self.rotation),
            lean=lean * math.radians(self.shear),
            size=(1 + self.scale) ** size,
            across=across * self.shift,
            down=down * self.shift,
            aspect=height / width,
        )
        knots = _both_ways((count, 2, KNOTS, KNOTS), generator) * 2 * self.elastic if self.elastic else None
        return moved(images, matrices, knots)

    def _lit(self, images: Tensor, generator: torch.Generator) -> Tensor:
        if not any((self.brightness, self.contrast, self.gamma)):
            return images
        light, spread, bend = _both_ways((3, len(images)), generator)
        return lit(
            images,
            brightness=light * self.brightness,
            contrast=(1 + self.contrast) ** spread,
            gamma=(1 + self.gamma) ** bend,
        )

    def _blurred(self, images: Tensor, generator: torch.Generator) -> Tensor:
        if not self.blur:
            return images
        sigma = torch.rand(len(images), generator=generator) * self.blur
        return blurred(images, sigma, radius=math.ceil(3 * self.blur))

    def _erased(self, images: Tensor, generator: torch.Generator) -> Tensor:
        if not self.erase:
            return images
        area, down, across = torch.rand((3, len(images)), generator=generator)
        aspect = MOST_ASPECT ** _both_ways((len(images),), generator)
        sides = torch.stack([area * aspect, area / aspect]).mul(self.erase).sqrt().clamp(max=1)
        return erased(images, places=torch.stack([down, across]), sides=sides)


def turned(images: Tensor, quarters: Tensor) -> Tensor:
    """Return each image turned against the clock by so many quarters of a circle; with 4 more, then mirrored.

    Args:
        images: (n, channels, side, side), any type.
        quarters: (n,) 0 to 7, on any device; from 4 on the turned image is mirrored left to right.

    Example:
        >>> turned(torch.tensor([[[[1, 2], [3, 4]]]]), torch.tensor([1]))
        tensor([[[[2, 4],
                  [1, 3]]]])
    """
    every = torch.stack([torch.rot90(images, quarter, (-2, -1)) for quarter in range(QUARTERS)])
    quarters = quarters.to(images.device)
    upright = every[quarters % QUARTERS, torch.arange(len(images), device=images.device)]
    return torch.where((quarters >= QUARTERS).view(-1, 1, 1, 1), upright.flip(-1), upright)


def affine(*, turn: Tensor, lean: Tensor, size: Tensor, across: Tensor, down: Tensor, aspect: float) -> Tensor:
    """Return the matrices (n, 2, 3) that say where each pixel of the result is read from, as `moved` takes them.

    About the middle and in pixels (x right, y down), the place p is read from `R(turn) K(lean) p / size + shift` with
    `R = [[cos, -sin], [sin, cos]]` and `K = [[1, tan], [0, 1]]`. The matrices are in the coordinates of
    `torch.nn.functional.affine_grid`, where both axes go from -1 to 1.

    Args:
        turn: radians (n,).
        lean: radians (n,).
        size: factors (n,).
        across: shares of the width (n,).
        down: shares of the height (n,).
        aspect: height / width of the images.

    Example:
        >>> zero, one = torch.zeros(1), torch.ones(1)
        >>> affine(turn=zero, lean=zero, size=2 * one, across=one / 4, down=zero, aspect=1.5)
        tensor([[[0.5000, 0.0000, 0.5000],
                 [0.0000, 0.5000, 0.0000]]])
    """
    cos, sin, tan = turn.cos() / size, turn.sin() / size, lean.tan()
    rows = [
        [cos, (cos * tan - sin) * aspect, 2 * across],
        [sin / aspect, sin * tan + cos, 2 * down],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def moved(images: Tensor, matrices: Tensor, knots: Tensor | None = None) -> Tensor:
    """Return the images read at other places, bilinearly; outside them the edge's pixel is repeated.

    Args:
        images: (n, channels, height, width), float.
        matrices: (n, 2, 3), from `affine`.
        knots: displacement of a coarse grid's places (n, 2, knots, knots), x then y, where the side is 2; cubic in
            between.
    """
    grid = F.affine_grid(matrices.to(images), list(images.shape), align_corners=False)
    if knots is not None:
        drift = F.interpolate(knots.to(images), size=images.shape[2:], mode="bicubic", align_corners=True)
        grid = grid + drift.permute(0, 2, 3, 1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def lit(images: Tensor, *, brightness: Tensor, contrast: Tensor, gamma: Tensor) -> Tensor:
    """Return the images under another light: `255 (clip(m + contrast (x - m) + 255 brightness) / 255) ** gamma`.

    `m` is the image's mean over all channels.

    Args:
        images: (n, channels, height, width), 0..255, float.
        brightness: (n,).
        contrast: (n,), above 0.
        gamma: (n,), above 0.
    """
    middle = images.mean(dim=(1, 2, 3), keepdim=True)
    lighter = middle + _each(brightness, images) * WHITE + (images - middle) * _each(contrast, images)
    return (lighter / WHITE).clamp(0, 1) ** _each(gamma, images) * WHITE


def blurred(images: Tensor, sigma: Tensor, *, radius: int) -> Tensor:
    """Return the images under a Gaussian each, rows and columns in turn; outside them the edge's pixel is repeated.

    Args:
        images: (n, channels, height, width), float.
        sigma: standard deviations in pixels (n,); 0 leaves an image as it is.
        radius: pixels after which the Gaussian is cut off.
    """
    distance = torch.arange(-radius, radius + 1)
    weights = torch.exp(-0.5 * (distance / sigma.clamp(min=1e-3)[:, None]) ** 2)
    weights = (weights / weights.sum(dim=1, keepdim=True)).to(images)[:, None, None]
    # Channels become the batch and images the groups, so that each image has its own kernel: (c, n, h, w).
    swapped = images.transpose(0, 1)
    for kernel, pad in ((weights, (radius, radius, 0, 0)), (weights.transpose(2, 3), (0, 0, radius, radius))):
        swapped = F.conv2d(F.pad(swapped, pad, mode="replicate"), kernel, groups=len(images))
    return swapped.transpose(0, 1)


def erased(images: Tensor, *, places: Tensor, sides: Tensor) -> Tensor:
    """Return the images with one rectangle each set to the image's mean, channel by channel.

    Args:
        images: (n, channels, height, width), float.
        places: where the rectangle lies, down then across (2, n): 0 at the first edge, 1 at the last.
        sides: height and width of the rectangle as shares of the image's (2, n), rounded to whole pixels.
    """
    lengths = torch.tensor(images.shape[2:])[:, None]
    extents = (sides * lengths).round()
    starts = (places * (lengths - extents)).round()
    inside = []
    for start, extent, length in zip(starts, extents, images.shape[2:], strict=True):
        steps = torch.arange(length)
        inside.append((steps >= start[:, None]) & (steps < (start + extent)[:, None]))
    down, across = inside
    mask = (down[:, None, :, None] & across[:, None, None, :]).to(images.device)
    return torch.where(mask, images.mean(dim=(2, 3), keepdim=True), images)


def _both_ways(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw numbers from -1 to 1."""
    return torch.rand(shape, generator=generator) * 2 - 1


def _each(values: Tensor, images: Tensor) -> Tensor:
    """Return a number an image (n,) as (n, 1, 1, 1) on the images' device."""
    return values.to(images.device)[:, None, None, None]

"""What all backbones share: their contract, checks of the input's shape, normalisation; and the plain MLP."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

from torch import Tensor, nn

from likewise.choices import choose
from likewise.learning.options import whole

CHANNELS_PER_GROUP = 8
"""Channels that share a mean and a variance in group normalisation; widths are multiples of it."""


class Backbone(nn.Module):
    """The middle of an encoder: a standardised batch (n, *input_shape) to features (n, features).

    A subclass takes `input_shape` and keyword-only options, all of them JSON values, and sets `features`.

    Attributes:
        features: numbers that come out, for each sample.
        any_length: whether the last axis of the input may have another size than at construction.
        images: whether it takes images only; it is then given samples (bands, frames) as images of one channel.
        symbols: whether the numbers of a sample stand for things, such as letters, and are not standardised.
    """

    features: int
    any_length: bool = False
    images: bool = False
    symbols: bool = False


class Mlp(Backbone):
    """Fully connected layers with ReLU over the flattened input, which may have any shape.

    Args:
        input_shape: shape of one sample.
        width: numbers a hidden layer.
        depth: hidden layers.
    """

    def __init__(self, input_shape: tuple[int, ...], *, width: int = 256, depth: int = 2) -> None:
        super().__init__()
        self.features = whole("mlp", "width", width)
        sizes = [math.prod(input_shape), *[width] * whole("mlp", "depth", depth)]
        layers: list[nn.Module] = [nn.Flatten()]
        for inner, outer in itertools.pairwise(sizes):
            layers += [nn.Linear(inner, outer), nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, samples: Tensor) -> Tensor:
        """Map (n, *input_shape) to (n, width)."""
        features: Tensor = self.layers(samples)
        return features


def image_shape(owner: str, input_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return `input_shape` as (channels, height, width).

    Raises:
        ValueError: when it is the shape of something else than an image.
    """
    if len(input_shape) != 3:
        raise ValueError(
            f"{owner} needs images (channels, height, width), but was given samples of shape "
            f"{input_shape}; {_advice(input_shape)}"
        )
    return input_shape[0], input_shape[1], input_shape[2]


def sequence_shape(owner: str, input_shape: tuple[int, ...]) -> tuple[int, int]:
    """Return `input_shape` as (channels, length).

    Raises:
        ValueError: when it is the shape of something else than a sequence.
    """
    if len(input_shape) != 2:
        raise ValueError(
            f"{owner} needs sequences (channels, length), but was given samples of shape "
            f"{input_shape}; {_advice(input_shape)}"
        )
    return input_shape[0], input_shape[1]


def text_shape(owner: str, input_shape: tuple[int, ...]) -> int:
    """Return `input_shape` as the length.

    Raises:
        ValueError: when it is the shape of something else than a text.
    """
    if len(input_shape) != 1:
        raise ValueError(
            f"{owner} needs texts (length,), but was given samples of shape {input_shape}; {_advice(input_shape)}"
        )
    return input_shape[0]


def normalisation(owner: str, name: str, channels: int) -> nn.Module:
    """Return the layer `name` for (n, channels, ...): `group` (Wu and He 2018) or `batch` (Ioffe 2015).

    Raises:
        ValueError: when the name is unknown.
    """
    return choose(f"{owner} norm", name, NORMS)(channels)


def _advice(input_shape: tuple[int, ...]) -> str:
    family = {
        1: "bytes or mlp fits",
        2: "tdnn, vit, conv, resnet or mlp fits",
        3: "conv, resnet, vit or mlp fits",
    }
    return family.get(len(input_shape), "mlp fits")


def _group(channels: int) -> nn.Module:
    return nn.GroupNorm(channels // CHANNELS_PER_GROUP, channels)


def _batch(channels: int) -> nn.Module:
    return _AnyBatchNorm(channels)


class _AnyBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation of (n, channels) with any number of axes behind."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"batch normalisation needs (n, channels, ...), not {tuple(input.shape)}")


NORMS: dict[str, Callable[[int], nn.Module]] = {"group": _group, "batch": _batch}

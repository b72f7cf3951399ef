"""A time-delay network for sequences, such as the frames of speech."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from likewise.learning.backbones import CHANNELS_PER_GROUP, Backbone, normalisation, sequence_shape
from likewise.learning.options import whole

LAYERS = ((5, 1, 1), (3, 2, 1), (3, 3, 1), (1, 1, 1), (1, 1, 3))
"""Kernel, dilation and width factor of each layer: the frame-level half of the x-vector network."""

VARIANCE_FLOOR = 1e-5
"""Added to the variance over time, so that a constant channel has a finite gradient."""


class Tdnn(Backbone):
    """Dilated 1-D convolutions and statistics pooling: the x-vector network (Snyder et al. 2018), small.

    Each convolution sees zeros beyond both ends, so that any length >= 1 fits, and a batch may have another
    length than `input_shape`. Pooling joins mean and standard deviation over time.

    Args:
        input_shape: (channels, length).
        width: channels of the layers, a multiple of 8; the last has three times as many.
        norm: `group` or `batch`.
    """

    any_length = True

    def __init__(self, input_shape: tuple[int, ...], *, width: int = 128, norm: str = "group") -> None:
        super().__init__()
        channels, _ = sequence_shape("tdnn", input_shape)
        whole("tdnn", "width", width, step=CHANNELS_PER_GROUP)
        layers: list[nn.Module] = []
        for kernel, dilation, factor in LAYERS:
            wider, padding = width * factor, dilation * (kernel // 2)
            convolution = nn.Conv1d(channels, wider, kernel, dilation=dilation, padding=padding, bias=False)
            layers += [convolution, normalisation("tdnn", norm, wider), nn.ReLU()]
            channels = wider
        self.layers = nn.Sequential(*layers)
        self.pooling = StatisticsPooling()
        self.features = 2 * channels

    def forward(self, sequences: Tensor) -> Tensor:
        """Map (n, channels, length) to (n, 6 width)."""
        features: Tensor = self.pooling(self.layers(sequences))
        return features


class StatisticsPooling(nn.Module):
    """Mean and standard deviation over time.

    Example:
        >>> StatisticsPooling()(torch.tensor([[[1.0, 3.0], [2.0, 2.0]]])).round(decimals=2)
        tensor([[2., 2., 1., 0.]])
    """

    def forward(self, sequences: Tensor) -> Tensor:
        """Map (n, channels, length) to (n, 2 channels)."""
        sequences = sequences.float()  # the variance of long sequences is out of bf16's reach
        mean = sequences.mean(dim=2, keepdim=True)
        variance = (sequences - mean).square().mean(dim=2)
        return torch.cat([mean.squeeze(2), (variance + VARIANCE_FLOOR).sqrt()], dim=1)

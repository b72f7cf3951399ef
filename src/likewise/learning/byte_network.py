"""A convolutional network over the bytes of texts, without a tokenizer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from likewise.learning.backbones import Backbone, text_shape
from likewise.learning.options import whole
from likewise.learning.tdnn import VARIANCE_FLOOR

BYTES = 256
KERNEL = 5
"""Bytes that a layer joins; the layers' dilations are 1, 2, 4, ..."""


class ByteNetwork(Backbone):
    """A vector a byte, residual dilated 1-D convolutions, and mean and standard deviation over the text.

    Each layer: x + relu(norm(convolution(x))), normalised at each byte over its channels (Ba et al. 2016), dilation
    1, 2, 4, ... (as in ByteNet, Kalchbrenner et al. 2016, which looks backward only). Zeros are no bytes of the text:
    they take part in nothing, so that a text has the same features whatever length it is filled up to. Those of an
    empty text are finite. With 4 layers a place of the last one sees 61 bytes.

    Args:
        input_shape: (length,); a batch may have another length.
        width: channels of the layers.
        depth: layers.
    """

    any_length = True
    symbols = True

    def __init__(self, input_shape: tuple[int, ...], *, width: int = 64, depth: int = 4) -> None:
        super().__init__()
        text_shape("bytes", input_shape)
        self.features = 2 * whole("bytes", "width", width)
        self.letters = nn.Embedding(BYTES, width, padding_idx=0)
        self.layers = nn.ModuleList(_Layer(width, 2**index) for index in range(whole("bytes", "depth", depth)))

    def forward(self, texts: Tensor) -> Tensor:
        """Map bytes 0..255 (n, length), of any type, to (n, 2 width)."""
        codes = texts.long()
        inside = (codes != 0).unsqueeze(2)  # (n, length, 1)
        places = self.letters(codes)
        for layer in self.layers:
            places = layer(places, inside)
        return pooled(places, inside)


class _Layer(nn.Module):
    """A dilated convolution with a path around it."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        padding = dilation * (KERNEL // 2)
        self.convolution = nn.Conv1d(width, width, KERNEL, dilation=dilation, padding=padding, bias=False)
        self.norm = nn.LayerNorm(width)
        self.activation = nn.ReLU()

    def forward(self, places: Tensor, inside: Tensor) -> Tensor:
        """Map (n, length, width), 0 where not `inside`, to the same."""
        joined = self.convolution(places.transpose(1, 2)).transpose(1, 2)
        result: Tensor = places + self.activation(self.norm(joined)) * inside
        return result


def pooled(places: Tensor, inside: Tensor) -> Tensor:
    """Return the mean and the standard deviation over the places inside: (n, 2 width).

    Args:
        places: (n, length, width).
        inside: bool (n, length, 1); where there is none, the result is that of zeros.

    Example:
        >>> pooled(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[[True], [True], [False]]])).round()
        tensor([[2., 1.]])
    """
    places = places.float()  # the variance of long texts is out of bf16's reach
    weights = inside / inside.sum(dim=1, keepdim=True).clamp(min=1)
    mean = (places * weights).sum(dim=1, keepdim=True)
    variance = ((places - mean).square() * weights).sum(dim=1)
    return torch.cat([mean.squeeze(1), (variance + VARIANCE_FLOOR).sqrt()], dim=1)

"""A small vision transformer, also over time."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from likewise.learning.backbones import Backbone, image_shape
from likewise.learning.options import whole

POSITION_STD = 0.02
"""Spread of the class token and the positions at the start (Dosovitskiy et al. 2021, after BERT)."""


class VisionTransformer(Backbone):
    """A transformer over patches, read at a class token (Dosovitskiy et al. 2021), pre-norm.

    A patch of an image is a square of pixels, one of a sequence some points that follow each other, with all channels.

    Each block: x + attention(norm(x)), then x + mlp(norm(x)), attention softmax(Q K' / sqrt(d)) V.

    Args:
        input_shape: (channels, height, width) or (channels, length), all but the channels multiples of `patch`.
        patch: side of a patch in pixels, or points of a patch.
        width: numbers a token, a multiple of `heads`.
        depth: transformer blocks.
        heads: attention heads.
    """

    def __init__(
        self, input_shape: tuple[int, ...], *, patch: int = 4, width: int = 96, depth: int = 4, heads: int = 4
    ) -> None:
        super().__init__()
        channels, *sides = input_shape if len(input_shape) == 2 else image_shape("vit", input_shape)
        _check_patch(whole("vit", "patch", patch), sides)
        self.features = whole("vit", "width", width, step=whole("vit", "heads", heads))
        convolution = nn.Conv1d if len(sides) == 1 else nn.Conv2d
        self.patches = convolution(channels, width, patch, stride=patch)
        self.tokens = Tokens(math.prod(side // patch for side in sides), width)
        blocks = [_Block(width, heads) for _ in range(whole("vit", "depth", depth))]
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(width)

    def forward(self, samples: Tensor) -> Tensor:
        """Map (n, channels, height, width) or (n, channels, length) to (n, width)."""
        tokens = self.tokens(self.patches(samples).flatten(2).transpose(1, 2))  # (n, 1 + patches, width)
        features: Tensor = self.norm(self.blocks(tokens)[:, 0])
        return features


class Tokens(nn.Module):
    """Puts a learnt class token before the patches' tokens and adds a learnt position to each."""

    def __init__(self, patches: int, width: int) -> None:
        super().__init__()
        self.kind = nn.Parameter(torch.empty(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1, 1 + patches, width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the token and the positions from a normal distribution cut at two standard deviations."""
        for parameter in (self.kind, self.positions):
            nn.init.trunc_normal_(parameter, std=POSITION_STD, a=-2 * POSITION_STD, b=2 * POSITION_STD)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (n, patches, width) to (n, 1 + patches, width)."""
        kind = self.kind.expand(tokens.shape[0], -1, -1).to(tokens.dtype)
        return torch.cat([kind, tokens], dim=1) + self.positions


class _Attention(nn.Module):
    """Self-attention with several heads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.inward = nn.Linear(width, 3 * width)
        self.outward = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (n, tokens, width) to the same shape."""
        parts = self.inward(tokens).unflatten(2, (3, self.heads, -1))  # (n, tokens, 3, heads, width / heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(query, key, value)  # (n, heads, tokens, width / heads)
        result: Tensor = self.outward(mixed.transpose(1, 2).flatten(2))
        return result


class _Block(nn.Module):
    """Attention, then two fully connected layers, each with a norm before it and a path around it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(width), _Attention(width, heads))
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (n, tokens, width) to the same shape."""
        tokens = tokens + self.attention(tokens)
        return tokens + self.mlp(tokens)  # type: ignore[no-any-return]


def _check_patch(patch: int, sides: list[int]) -> None:
    common = math.gcd(*sides)
    if common % patch == 0:
        return
    fitting = [side for side in range(1, common + 1) if common % side == 0]
    nearest = min(fitting, key=lambda side: (abs(side - patch), -side))
    kind = "images" if len(sides) == 2 else "sequences"
    filled = [max(1, round(side / patch)) * patch for side in sides]
    raise ValueError(
        f"vit: patches of {_times([patch] * len(sides))} do not fill {kind} of {_times(sides)}; "
        f"resize to {_times(filled)}, or use patch={nearest} (of {', '.join(map(str, fitting))})"
    )


def _times(sides: list[int]) -> str:
    return " x ".join(map(str, sides))

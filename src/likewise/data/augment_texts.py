"""Augmentation of texts as bytes: a whole batch at a time, on its device, from numbers drawn on the CPU.

The numbers come from a CPU generator, so that a seed means the same texts on every device. Each kind has one strength,
and 0 leaves it out. What is taken out leaves no gap: the rest moves up, and zeros fill the end. Bytes are taken out
whatever character they belong to, and at least one of each text stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from likewise.data.strengths import Strengths

LIMITS = {"cut": 1.0, "dropout": 1.0}
"""The greatest strength of each kind; the least is 0, which leaves it out."""


@dataclass(frozen=True)
class TextAugmentation(Strengths):
    """Random changes of texts that keep their class; the kinds are applied in the order of the arguments.

    Every number is drawn uniformly up to its strength.

    Args:
        cut: share of the text that is cut off, at its beginning, its end or both.
        dropout: share of the bytes that are lost, one by one.

    Raises:
        ValueError: when a strength is below 0 or above its limit.

    Example:
        >>> lost = TextAugmentation(dropout=1.0)
        >>> lost(torch.tensor([[1, 2, 3, 4, 5, 0]], dtype=torch.uint8), generator=torch.Generator().manual_seed(10))
        tensor([[1, 3, 0, 0, 0, 0]], dtype=torch.uint8)
    """

    limits: ClassVar = LIMITS

    cut: float = 0.0
    dropout: float = 0.0

    def __call__(self, batch: Tensor, *, generator: torch.Generator) -> Tensor:
        """Return changed copies of the texts (n, length), uint8 on their device.

        The batch itself comes back when everything is off.

        Args:
            batch: texts, zeros after their end.
            generator: a CPU generator; the same state gives the same changes.

        Raises:
            ValueError: when the batch is not one of texts.
        """
        if self.off:
            return batch
        if batch.dim() != 2 or batch.dtype != torch.uint8:
            raise ValueError(
                f"augmentation takes texts (n, length) of uint8, but was given {batch.dtype} {tuple(batch.shape)}; "
                "set every strength to 0 for other kinds of samples"
            )
        return self._thinned(self._shortened(batch, generator), generator)

    def _shortened(self, texts: Tensor, generator: torch.Generator) -> Tensor:
        if not self.cut:
            return texts
        shares, places = torch.rand((2, len(texts)), generator=generator)
        return shortened(texts, shares * self.cut, places=places)

    def _thinned(self, texts: Tensor, generator: torch.Generator) -> Tensor:
        if not self.dropout:
            return texts
        shares = torch.rand((len(texts), 1), generator=generator) * self.dropout
        kept = (torch.rand(texts.shape, generator=generator) >= shares).to(texts.device)
        # A text that lost all its bytes keeps them all.
        gone = ~(kept & (texts != 0)).any(dim=1, keepdim=True)
        return closed_up(texts, kept | gone)


def shortened(texts: Tensor, shares: Tensor, *, places: Tensor) -> Tensor:
    """Return one piece of each text, moved to the beginning; at least one byte of what there was.

    Args:
        texts: uint8 (n, length), zeros after their end.
        shares: of each text that is cut off (n,), rounded to whole bytes.
        places: how much of that at the beginning (n,): 0 nothing, 1 all of it.

    Example:
        >>> shortened(torch.tensor([[1, 2, 3, 4, 0]], dtype=torch.uint8), torch.tensor([0.5]), places=torch.ones(1))
        tensor([[3, 4, 0, 0, 0]], dtype=torch.uint8)
    """
    sizes = (texts != 0).sum(dim=1)
    lost = torch.minimum((shares.to(texts.device) * sizes).round(), (sizes - 1).clamp(min=0))
    starts = (places.to(texts.device) * lost).round()
    ends = starts + sizes - lost
    steps = torch.arange(texts.shape[1], device=texts.device)
    return closed_up(texts, (steps >= starts[:, None]) & (steps < ends[:, None]))


def closed_up(texts: Tensor, kept: Tensor) -> Tensor:
    """Return the bytes that are kept, in their order and without gaps, zeros after them.

    Args:
        texts: uint8 (n, length).
        kept: bool (n, length).

    Example:
        >>> closed_up(torch.tensor([[1, 2, 3]], dtype=torch.uint8), torch.tensor([[True, False, True]]))
        tensor([[1, 3, 0]], dtype=torch.uint8)
    """
    order = (~kept).long().argsort(dim=1, stable=True)
    return (texts * kept).gather(1, order)

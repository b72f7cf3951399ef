"""Embeddings of many samples by a trained encoder: the one way, wherever a sample is embedded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from likewise.data.batches import Media


class Embedder(Protocol):
    """What an encoder has to be: a module that says what the mean of several embeddings becomes."""

    training: bool

    def __call__(self, samples: Tensor) -> Tensor:
        """Map rows of the media (n, ...) to embeddings (n, embedding)."""

    def joined(self, means: Tensor) -> Tensor:
        """Return the embeddings of samples of several rows from the means of those of their rows."""

    def train(self, mode: bool = True) -> Any:
        """Put the module in training mode, or in evaluation mode."""


def embed(encoder: Embedder, media: Media, samples: np.ndarray[Any, Any], *, batch_size: int = 512) -> Tensor:
    """Return the embeddings of samples: float32 (n, embedding) on the CPU, in the order given.

    That of a sample of several rows, such as the windows of a long sound, is what the encoder makes of their mean:
    the mean itself, brought to length 1 where embeddings have it.

    The encoder is put in evaluation mode and left as it was found. The batch size decides the last bits of a
    result, so that it is fixed by default.

    Args:
        encoder: the encoder.
        media: the media of all samples.
        samples: which samples (n,).
        batch_size: rows embedded at a time.

    Raises:
        ValueError: when an embedding is not finite, with the number of such samples.
    """
    rows, counts = media.rows(samples)
    training = encoder.training
    encoder.train(False)
    try:
        with torch.inference_mode():
            parts = (
                encoder(media.gather(rows[start : start + batch_size])).float().cpu()
                for start in range(0, len(rows), batch_size)
            )
            embeddings = _whole(parts) if len(rows) == len(samples) else _joined(encoder, parts, counts)
    finally:
        encoder.train(training)
    broken = int((~torch.isfinite(embeddings)).any(dim=1).sum()) if len(samples) else 0
    if broken:
        raise ValueError(
            f"{broken} of {len(samples)} embeddings are not finite: the training diverged; "
            "try a lower train.learning_rate, or train.clip: 1.0"
        )
    return embeddings.clone()


def _whole(parts: Iterable[Tensor]) -> Tensor:
    listed = list(parts)
    return torch.cat(listed) if listed else torch.empty(0, 0)


def _joined(encoder: Embedder, parts: Iterator[Tensor], counts: np.ndarray[Any, Any]) -> Tensor:
    """Return the embeddings of samples from those of their rows, of which only a part is in memory at a time."""
    owners, start = torch.from_numpy(np.repeat(np.arange(len(counts)), counts)), 0
    sums = torch.empty(0, 0)
    for part in parts:
        # In double precision the sum of one row is that row.
        sums = sums if start else torch.zeros(len(counts), part.shape[1], dtype=torch.float64)
        sums.index_add_(0, owners[start : start + len(part)], part.double())
        start += len(part)
    several = torch.from_numpy(counts > 1)
    sums[several] = encoder.joined(sums[several] / torch.from_numpy(counts)[several, None])
    return sums.float()

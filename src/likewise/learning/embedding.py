"""Embeddings of many samples by a trained encoder."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from likewise.data.batches import Media


def embed(encoder: nn.Module, media: Media, rows: np.ndarray[Any, Any], *, batch_size: int = 512) -> Tensor:
    """Return the embeddings of the samples `rows`: float32 (n, embedding) on the CPU, in the order of `rows`.

    The encoder is put in evaluation mode and left as it was found. The batch size decides the last bits of a
    result, so that it is fixed by default.

    Raises:
        ValueError: when an embedding is not finite, with the number of such samples.
    """
    training = encoder.training
    encoder.eval()
    try:
        with torch.inference_mode():
            parts = [
                encoder(media.gather(rows[start : start + batch_size])).float().cpu()
                for start in range(0, len(rows), batch_size)
            ]
    finally:
        encoder.train(training)
    embeddings = torch.cat(parts) if parts else torch.empty(0, 0)
    broken = int((~torch.isfinite(embeddings)).any(dim=1).sum()) if len(rows) else 0
    if broken:
        raise ValueError(
            f"{broken} of {len(rows)} embeddings are not finite: the training diverged; "
            "try a lower train.learning_rate, or train.clip: 1.0"
        )
    return embeddings.clone()

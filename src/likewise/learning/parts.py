"""Embeddings of a batch in parts, whose gradient is that of the whole batch: gradient accumulation for batch losses.

A batch loss couples all samples, so that gradients of smaller batches do not add up to it. Gradient caching does it
(Gao, Zhang, Han, Callan: Scaling deep contrastive learning batch size under memory limited setup, 2021): embed part
by part without a graph, take the loss and its gradient with respect to the embeddings, then embed each part again
and send its rows of that gradient back. Memory is that of one part, time that of one more forward pass.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Encode = Callable[[Tensor], Tensor]


def embed(encode: Encode, samples: Tensor, *, parts: int) -> tuple[Tensor, Callable[[Tensor], None]]:
    """Return the embeddings of a batch, detached, and what sends their gradient back into the encoder's weights.

    What the encoder draws from PyTorch's global generators (dropout) is drawn alike in both passes. Batch
    normalisation sees one part at a time.

    Args:
        encode: samples (n, ...) to embeddings (n, d).
        samples: the batch.
        parts: how many parts to embed it in; at most one a sample.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor(2.0))
        >>> embeddings, send_back = embed(lambda x: weight * x, torch.ones(4, 1), parts=2)
        >>> send_back(torch.ones(4, 1))
        >>> embeddings.requires_grad, weight.grad
        (False, tensor(4.))
    """
    if parts == 1:
        embeddings = encode(samples)
        return embeddings.detach(), lambda gradient: torch.autograd.backward(embeddings, gradient)
    chunks = samples.tensor_split(min(parts, len(samples)))
    draws, found = [], []
    with torch.no_grad():
        for chunk in chunks:
            draws.append(_generators(samples.device))
            found.append(encode(chunk))

    def send_back(gradient: Tensor) -> None:
        after = _generators(samples.device)
        for chunk, draw, rows in zip(chunks, draws, gradient.tensor_split(len(chunks)), strict=True):
            _set_generators(samples.device, draw)
            torch.autograd.backward(encode(chunk), rows)
        _set_generators(samples.device, after)

    return torch.cat(found), send_back


def _generators(device: torch.device) -> list[Tensor]:
    """Return where PyTorch's global generators stand that layers on a device draw from."""
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def _set_generators(device: torch.device, states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)

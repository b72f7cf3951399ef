"""First weights: the schemes by name, drawn from a seed, and what they do to each layer's numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from likewise.choices import choose

Scheme = Callable[[Tensor], object]

WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d)
"""Layers whose weight a scheme draws; every other layer is left to its own `reset_parameters`."""

TRUNCATED_STD = 0.02


class LayerStatistics(NamedTuple):
    """Mean and variance over all elements of a layer's output, and of the loss's gradient with respect to it.

    The gradient's are NaN where no loss was given or none reaches the layer.
    """

    layer: str
    activation_mean: float
    activation_var: float
    gradient_mean: float
    gradient_var: float


def apply(module: nn.Module, name: str = "default", *, seed: int = 0) -> None:
    """Draw all weights of `module` anew by the scheme `name`: same seed, same bits; no global state changes.

    A scheme fills the weights of linear and convolution layers and sets their biases to 0. Every other
    layer that holds parameters must have a `reset_parameters()`, as PyTorch's own have.

    | name | weight | source |
    |---|---|---|
    | default | U(-b, b), b = 1 / sqrt(fan in), biases too | PyTorch's `reset_parameters` |
    | kaiming | N(0, 2 / fan in) | He et al. 2015, equation 10 |
    | xavier | U(-b, b), b = sqrt(6 / (fan in + fan out)) | Glorot and Bengio 2010, equation 16 |
    | orthogonal | sqrt(2) times a matrix with orthonormal rows or columns | Saxe et al. 2014; gain for ReLU |
    | truncated_normal | N(0, 0.02^2), cut at two standard deviations | Devlin et al. 2019 |

    Args:
        module: a network whose parameters are on the CPU.
        name: the scheme.
        seed: decides the weights.

    Raises:
        ValueError: when the scheme is unknown, a parameter is not on the CPU, or a layer cannot be reset.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> apply(layer, "orthogonal", seed=1)
        >>> (layer.weight @ layer.weight.T).round(decimals=4).tolist()
        [[2.0, 0.0], [0.0, 2.0]]
    """
    scheme = choose("initialiser", name, INITIALISERS)
    _check_device(module)
    with seeded(seed), torch.no_grad():
        for path, layer in module.named_modules():
            if scheme is not None and isinstance(layer, WEIGHTED):
                scheme(layer.weight)
                if layer.bias is not None:
                    layer.bias.zero_()
            else:
                _reset(path, layer)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let PyTorch's CPU generator start from `seed` inside, and be as it was after."""
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: that seeds every GPU too, which nothing here would put back.
        torch.default_generator.manual_seed(seed)
        yield


def layer_statistics(
    encoder: nn.Module, batch: Tensor, loss_fn: Callable[[Tensor], Tensor] | None = None
) -> list[LayerStatistics]:
    """Return one record for each call of each innermost layer, in order: how numbers and gradients flow.

    A variance that falls or grows from layer to layer is a poor start (Glorot and Bengio 2010, section 4.2).
    The encoder is left as it was: its gradients, its buffers and its mode; no hook stays, whatever happens.

    Args:
        encoder: the network, on the device of `batch`.
        batch: samples (n, ...).
        loss_fn: maps the encoder's output to a scalar; none gives no gradients.

    Raises:
        ValueError: when the loss is not a scalar.
    """
    outputs: list[tuple[str, Tensor]] = []
    handles = [
        layer.register_forward_hook(_recorder(path, outputs))
        for path, layer in encoder.named_modules()
        if not any(layer.children())
    ]
    # Copies, since batch normalisation counts what it sees.
    buffers = {name: buffer.clone() for name, buffer in encoder.named_buffers()}
    try:
        with torch.set_grad_enabled(loss_fn is not None):
            embeddings = torch.func.functional_call(encoder, buffers, (batch,))
            loss = None if loss_fn is None else loss_fn(embeddings)
    finally:
        for handle in handles:
            handle.remove()
    gradients = _gradients(loss, [output for _, output in outputs])
    return [
        LayerStatistics(path, *_moments(output), *_moments(gradient))
        for (path, output), gradient in zip(outputs, gradients, strict=True)
    ]


def _recorder(path: str, outputs: list[tuple[str, Tensor]]) -> Callable[[nn.Module, Any, Any], None]:
    def record(layer: nn.Module, given: Any, output: Any) -> None:  # noqa: ARG001 - a hook's signature
        if isinstance(output, Tensor) and output.is_floating_point():
            outputs.append((path, output))

    return record


def _gradients(loss: Tensor | None, outputs: list[Tensor]) -> list[Tensor | None]:
    if loss is None:
        return [None] * len(outputs)
    if loss.numel() != 1:
        raise ValueError(f"the loss has the shape {tuple(loss.shape)}, but must be a scalar; take its mean")
    reached = [output for output in outputs if output.requires_grad]
    found = iter(torch.autograd.grad(loss.reshape(()), reached, allow_unused=True) if reached else ())
    return [next(found) if output.requires_grad else None for output in outputs]


def _moments(values: Tensor | None) -> tuple[float, float]:
    if values is None:
        return math.nan, math.nan
    values = values.detach().double()
    return values.mean().item(), values.var(correction=0).item()


def _check_device(module: nn.Module) -> None:
    for path, parameter in module.named_parameters():
        if parameter.device.type != "cpu":
            raise ValueError(
                f"{path} is on {parameter.device}; initialise on the CPU and move the module after, "
                "so that a seed means the same weights everywhere"
            )


def _reset(path: str, layer: nn.Module) -> None:
    own = getattr(layer, "reset_parameters", None)
    if callable(own):
        own()
    elif next(layer.parameters(recurse=False), None) is not None:
        raise ValueError(
            f"{path or 'the module'} ({type(layer).__name__}) holds parameters but has no "
            "reset_parameters(); give it one that draws them"
        )


def _kaiming(weight: Tensor) -> Tensor:
    return nn.init.kaiming_normal_(weight, nonlinearity="relu")


def _orthogonal(weight: Tensor) -> Tensor:
    return nn.init.orthogonal_(weight, gain=math.sqrt(2))


def _truncated_normal(weight: Tensor) -> Tensor:
    return nn.init.trunc_normal_(weight, std=TRUNCATED_STD, a=-2 * TRUNCATED_STD, b=2 * TRUNCATED_STD)


INITIALISERS: dict[str, Scheme | None] = {
    "default": None,
    "kaiming": _kaiming,
    "xavier": nn.init.xavier_uniform_,
    "orthogonal": _orthogonal,
    "truncated_normal": _truncated_normal,
}

"""Sums over the rows of a distance matrix that is never whole in memory, with their exact gradient.

A loss that is a sum over anchors needs one block of rows at a time. Its gradient is taken as soon as the
block is summed, so that nothing of a block outlives it: memory is O(n d + block), where autograd alone would
keep several matrices of n x n until the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from likewise.distances import Distance
from likewise.learning.loss_base import single_or_double

# Numbers in a block of rows: 4 MB in float32. A batch of up to 1,024 is one block.
BLOCK_ELEMENTS = 2**20

# A distance matrix of up to so many blocks is worth having whole where a batch is compared with itself: symmetric, it
# takes half the products of its blocks. That is a batch of 4,096, at 64 MB a matrix.
WHOLE_BLOCKS = 16

# Tuples that are looked at at once: their embeddings of 128 numbers, in double precision, take 4 MB a side.
LISTED_AT_ONCE = 2**12

# From (b, d) anchors, all (m, d) references and which rows the anchors are, to the block's sum, a scalar, and
# to counts, any tensor of whole numbers. With one block only, the references may be the very same tensor.
BlockLoss = Callable[[Tensor, Tensor, slice], tuple[Tensor, Tensor]]


def summed(
    block_loss: BlockLoss,
    anchors: Tensor,
    references: Tensor,
    *,
    parameters: tuple[Tensor, ...] = (),
    elements: int | None = None,
    symmetric: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return the sums of a block loss and of its counts over all anchors; the first is differentiable, once.

    Args:
        block_loss: what a block of anchors costs, and what is to be counted.
        anchors: `(n, d)`.
        references: `(m, d)`, the anchors themselves where a batch is compared with itself.
        parameters: the leaf tensors that `block_loss` uses besides and that want a gradient.
        elements: how many numbers a block has, about; by default `BLOCK_ELEMENTS`.
        symmetric: whether a batch compared with itself is one block of up to `WHOLE_BLOCKS` times that.

    >>> def inner(part: Tensor, whole: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
    ...     return (part @ whole.T).sum(), torch.tensor(part.shape[0] * whole.shape[0])
    >>> x = torch.tensor([[1.0], [2.0]], requires_grad=True)
    >>> summed(inner, x, x)
    (tensor(9., grad_fn=<_SummedBackward>), tensor(4))
    """
    blocks = block_rows(len(anchors), len(references), elements)
    at_once = anchors is references and 0 < len(blocks) <= (WHOLE_BLOCKS if symmetric else 1)
    if at_once:
        blocks = [slice(0, len(anchors))]
    total, counts = _Summed.apply(  # type: ignore[no-untyped-call]
        block_loss, blocks, anchors, None if at_once else references, *parameters
    )
    return total, counts


def listed(
    tuples_loss: Callable[[Tensor, slice], tuple[Tensor, Tensor]], embeddings: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Return the sums of a loss and of its counts over listed tuples; the first is differentiable.

    Up to `LISTED_AT_ONCE` tuples are plain autograd's, beyond that they are taken so many at a time, and the sum is
    differentiable once: copies of the embeddings of each tuple would take more time to make than their distances.

    Args:
        tuples_loss: what some of the tuples cost by the embeddings, a scalar, and what is to be counted.
        embeddings: `(n, d)`.
        count: how many tuples there are.
    """
    if count <= LISTED_AT_ONCE:
        return tuples_loss(embeddings, slice(0, count))
    total, counts = _Summed.apply(  # type: ignore[no-untyped-call]
        lambda _, whole, rows: tuples_loss(whole, rows),
        block_rows(count, 1, LISTED_AT_ONCE),
        single_or_double(embeddings[:0]).detach(),
        embeddings,
    )
    return total, counts


def matrix(distance: Distance, anchors: Tensor, references: Tensor) -> Tensor:
    """Return a block's distances, `(b, m)`, at half the work where the block is the whole batch with itself."""
    return distance.pairwise(anchors, None if references is anchors else references)


def matrices(distance: Distance, embeddings: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield the rows of a batch's distance matrix with itself, a block at a time: which they are, and `(b, n)`."""
    blocks = block_rows(len(embeddings), len(embeddings))
    if len(blocks) <= WHOLE_BLOCKS:
        whole = distance.pairwise(embeddings)
        yield from ((rows, whole[rows]) for rows in blocks)
    else:
        yield from ((rows, distance.pairwise(embeddings[rows], embeddings)) for rows in blocks)


def block_rows(rows: int, columns: int, elements: int | None = None) -> list[slice]:
    """Return the blocks of rows of a matrix, of about so many numbers each, `BLOCK_ELEMENTS` by default."""
    step = max(1, (elements or BLOCK_ELEMENTS) // max(1, columns))
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def refuse_second_order(what: str) -> None:
    """Raise RuntimeError in a backward pass that is asked for a graph of its own (`create_graph=True`)."""
    if torch.is_grad_enabled():
        raise RuntimeError(f"{what} has no second derivative here: call backward without create_graph=True")


class _Summed(torch.autograd.Function):
    """The sum and, worked out in the same pass, its gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        block_loss: BlockLoss,
        blocks: list[slice],
        anchors: Tensor,
        references: Tensor | None,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        wanted = ctx.needs_input_grad[2:]
        inputs = (anchors, references, *parameters)
        sums = [torch.zeros_like(i) if want and i is not None else None for i, want in zip(inputs, wanted, strict=True)]
        total = anchors.new_zeros((), dtype=torch.float64)
        counts: Tensor | int = 0
        for rows in blocks:
            with torch.set_grad_enabled(any(wanted)):
                part = anchors[rows].detach().requires_grad_(wanted[0])
                whole = part if references is None else references.detach().requires_grad_(wanted[1])
                value, count = block_loss(part, whole, rows)
            total += value.detach()
            counts = count + counts
            goals = [None if sums[0] is None else sums[0][rows], *sums[1:]]
            _add_gradients(value, [part, whole, *parameters], goals)
        ctx.save_for_backward(*sums)
        counted = torch.as_tensor(counts, device=anchors.device)
        ctx.mark_non_differentiable(counted)
        return total.to(anchors.dtype), counted

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_order("a loss summed over blocks of rows")
        scaled = [None if saved is None else saved * upstream[0] for saved in ctx.saved_tensors]
        return (None, None, *scaled)


def _add_gradients(value: Tensor, leaves: list[Tensor], goals: list[Tensor | None]) -> None:
    """Add the gradient of a value to each goal in place, for the leaves that have one."""
    pairs = [(leaf, goal) for leaf, goal in zip(leaves, goals, strict=True) if goal is not None]
    if not (pairs and value.requires_grad):
        return
    found = torch.autograd.grad(value, [leaf for leaf, _ in pairs], allow_unused=True)
    for (_, goal), gradient in zip(pairs, found, strict=True):
        if gradient is not None:
            goal += gradient

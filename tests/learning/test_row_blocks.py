from __future__ import annotations

import pytest
import torch
from torch import Tensor

from likewise.learning.row_blocks import block_rows, summed


def test_blocks_cover_every_row_once() -> None:
    for rows, columns, elements in ((10, 7, 21), (3, 100, 5), (0, 4, 8), (5, 0, 2), (1024, 1024, None)):
        blocks = block_rows(rows, columns, elements)
        assert [row for block in blocks for row in range(block.start, block.stop)] == list(range(rows))
    assert len(block_rows(1024, 1024)) == 1


@pytest.mark.parametrize("elements", [1, 20, 1000])
@pytest.mark.parametrize("square", [True, False])
def test_sum_and_gradients_equal_autograd_at_once(elements: int, square: bool) -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(9, 3, generator=draw, dtype=torch.float64, requires_grad=True)
    y = x if square else torch.randn(7, 3, generator=draw, dtype=torch.float64, requires_grad=True)
    scale = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)

    def block_loss(part: Tensor, whole: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        values = (scale * (part @ whole.T)).sigmoid().square()
        return (values * torch.arange(9)[rows, None]).sum(), (values > 0.25).sum()

    total, count = summed(block_loss, x, y, parameters=(scale,), elements=elements)
    whole, counted = block_loss(x, y, slice(0, 9))
    torch.testing.assert_close(total, whole)
    assert torch.equal(count, counted)
    leaves = [x, scale] if square else [x, y, scale]
    torch.testing.assert_close(torch.autograd.grad(3 * total, leaves), torch.autograd.grad(3 * whole, leaves))


def test_only_the_wanted_gradients_are_made() -> None:
    x, y = torch.randn(4, 2, requires_grad=True), torch.randn(3, 2)

    def block_loss(part: Tensor, whole: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        assert part.requires_grad
        assert not whole.requires_grad
        return (part @ whole.T).sum(), torch.tensor(0)

    total, _ = summed(block_loss, x, y, elements=3)
    total.backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    torch.testing.assert_close(x.grad, y.sum(dim=0).expand(4, 2))


def test_a_second_derivative_is_refused() -> None:
    x = torch.randn(4, 2, requires_grad=True)
    total, _ = summed(lambda part, whole, rows: ((part @ whole.T).sum(), torch.tensor(0)), x, x)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(total, x, create_graph=True)

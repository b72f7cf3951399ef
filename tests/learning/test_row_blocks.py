from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from likewise.distances import Euclidean
from likewise.learning import row_blocks
from likewise.learning.row_blocks import block_rows, listed, matrices, summed


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


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_listed_equals_autograd_at_once(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(6, 3, generator=draw).to(dtype).requires_grad_()
    left, right = torch.randint(6, (2, 23), generator=draw)

    def loss(vectors: Tensor, some: slice) -> tuple[Tensor, Tensor]:
        cost = Euclidean().paired(vectors[left[some]], vectors[right[some]]) * torch.arange(23)[some]
        return cost.sum(), (cost > 9).sum()

    whole, counted = listed(loss, x, 23)
    assert torch.autograd.grad(whole, x, create_graph=True)[0].requires_grad
    monkeypatch.setattr(row_blocks, "LISTED_AT_ONCE", 5)
    total, count = listed(loss, x, 23)
    assert total.dtype == whole.dtype
    close: dict[str, Any] = {"rtol": 0.01, "atol": 0.1} if dtype == torch.float16 else {}
    torch.testing.assert_close(total, whole, **close)
    assert torch.equal(count, counted)
    torch.testing.assert_close(*(torch.autograd.grad(3 * value, x) for value in (total, whole)), **close)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(listed(loss, x, 23)[0], x, create_graph=True)


def test_what_is_listed_is_all_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[slice] = []

    def loss(vectors: Tensor, some: slice) -> tuple[Tensor, Tensor]:
        seen.append(some)
        return vectors.sum() * 0, torch.tensor(some.stop - some.start)

    monkeypatch.setattr(row_blocks, "LISTED_AT_ONCE", 4)
    x = torch.ones(2, 1, requires_grad=True)
    assert [listed(loss, x, count)[1].item() for count in (0, 4, 5, 9)] == [0, 4, 5, 9]
    assert [(some.start, some.stop) for some in seen] == [(0, 0), (0, 4), (0, 4), (4, 5), (0, 4), (4, 8), (8, 9)]


@pytest.mark.parametrize("most", [9, 8])
def test_matrices_are_the_rows_of_the_whole_one(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_blocks, "BLOCK_ELEMENTS", 9)
    monkeypatch.setattr(row_blocks, "WHOLE_BLOCKS", most)
    x = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    found = list(matrices(Euclidean(), x))
    assert [(rows.start, rows.stop) for rows, _ in found] == [(row, row + 1) for row in range(9)]
    direct = (x[:, None].double() - x).square().sum(2).sqrt().float()
    torch.testing.assert_close(torch.cat([distances for _, distances in found]), direct)

"""Distances between embeddings: smaller is more alike, and safe to differentiate anywhere.

The Euclidean and cosine matrices come from dot products, `|x - y|^2 = |x|^2 + |y|^2 - 2 x.y`: fast, since a
matrix product does the work, but in single precision near-duplicates cancel: unit vectors (d = 128) that are 1e-3
apart come out anywhere from 0.0003 to 0.0014, and at 1e-4 from 0 to 0.001. The products are therefore taken in
double precision, a block at a time, and only the result is rounded: the relative error is then 1e-7 for
unit vectors 1e-4 apart, 1e-5 at 1e-5 and 1e-3 at 1e-6. Distances below 1e-7 of the vectors' norms are what
rounding leaves of a zero, and come out as zero. The price, for 4096 vectors on one core, is 1.6 times
single-precision products forward and 1.2 times both ways, where each tile above the diagonal serves both of its
sides; direct differences, accurate too, take 7 to 8 times ours (`benchmarks/distances.py`).

Half and bfloat16 inputs give float32 distances, float32 gives float32 and float64 gives float64; autocast is
switched off inside. Gradients have the dtype of the input; the Euclidean and cosine matrices refuse a
second derivative, aloud.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any, ClassVar

import torch
from torch import Tensor

from likewise.choices import choose

# Squared distances below this share of |x|^2 + |y|^2 are what rounding leaves of a zero.
_ROUNDING = 16 * torch.finfo(torch.float64).eps
# Below this norm a vector has no direction that single precision can carry.
_NO_DIRECTION = 1e-12
# Numbers in a block of rows, 8 MB, and the side of a square tile, 0.5 MB: both stay in a processor's cache. A GPU
# would spend its time on starting so small tiles.
_BLOCK = 2**20
_TILE, _GPU_TILE = 256, 4096


class Distance(ABC):
    """How far two embeddings are, as a matrix over two sets or pair by pair; it holds no state."""

    name: ClassVar[str]
    larger_is_closer: ClassVar[bool] = False

    def pairwise(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the distance of every row of `x` (n, d) to every row of `y` (m, d), as (n, m).

        Without `y`, of `x` to itself: exactly symmetric, the diagonal exactly zero.

        Raises:
            ValueError: if a side is not a floating-point matrix, or widths or devices differ.
        """
        _check(x, x if y is None else y)
        with torch.autocast(x.device.type, enabled=False):
            return self._matrix(x, y)

    def paired(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the distance of each row of `x` (n, d) to the same row of `y` (n, d), as (n,).

        Raises:
            ValueError: if a side is not a floating-point matrix, or shapes or devices differ.
        """
        _check(x, y)
        if len(x) != len(y):
            raise ValueError(
                f"Paired distances need as many rows on both sides, got {len(x)} and {len(y)}: use pairwise?"
            )
        with torch.autocast(x.device.type, enabled=False):
            return self._rows(x.double(), y.double()).to(_result_dtype(x, y))

    def score(self, distance: Tensor) -> Tensor:
        """Return the similarity that a distance stands for, larger is more alike: here its negative."""
        return -distance

    @abstractmethod
    def _matrix(self, x: Tensor, y: Tensor | None) -> Tensor: ...

    @abstractmethod
    def _rows(self, x: Tensor, y: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Euclidean(Distance):
    """The Euclidean distance, `|x - y|`; its gradient at distance zero is zero.

    >>> x = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    >>> Euclidean().pairwise(x)
    tensor([[0., 5.],
            [5., 0.]])
    """

    name: ClassVar[str] = "euclidean"

    def _matrix(self, x: Tensor, y: Tensor | None) -> Tensor:
        return _gram(x, y, root=True)

    def _rows(self, x: Tensor, y: Tensor) -> Tensor:
        distance: Tensor = torch.linalg.vector_norm(x - y, dim=1)
        return distance


@dataclass(frozen=True)
class SquaredEuclidean(Distance):
    """The squared Euclidean distance, `|x - y|^2`.

    >>> x = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    >>> SquaredEuclidean().paired(x, x.flip(0))
    tensor([25., 25.])
    """

    name: ClassVar[str] = "squared_euclidean"

    def _matrix(self, x: Tensor, y: Tensor | None) -> Tensor:
        return _gram(x, y, root=False)

    def _rows(self, x: Tensor, y: Tensor) -> Tensor:
        return (x - y).square().sum(1)


@dataclass(frozen=True)
class Cosine(Distance):
    """The cosine distance, `1 - x.y / (|x| |y|)`, between 0 and 2; its score is the cosine.

    A zero vector (norm up to 1e-12) has no direction: it is at distance 1 from every other vector, at 0 from
    another zero vector, and its gradient is zero. Near-duplicates keep their digits, since the distance is
    taken as `|x/|x| - y/|y||^2 / 2`.

    >>> x = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])
    >>> Cosine().pairwise(x[:1], x)
    tensor([[0., 1., 2.]])
    >>> Cosine().score(torch.tensor([0.0, 1.0, 2.0]))
    tensor([ 1.,  0., -1.])
    """

    name: ClassVar[str] = "cosine"

    def score(self, distance: Tensor) -> Tensor:
        """Return the cosine, `1 - distance`."""
        return 1 - distance

    def _matrix(self, x: Tensor, y: Tensor | None) -> Tensor:
        other = x if y is None else y
        sides = _directions(x.double()), None if y is None else _directions(y.double())
        return _gram(*sides, root=False, dtype=_result_dtype(x, other))

    def _rows(self, x: Tensor, y: Tensor) -> Tensor:
        return (_directions(x) - _directions(y)).square().sum(1)


@dataclass(frozen=True)
class Manhattan(Distance):
    """The Manhattan distance, the sum over the dimensions of `|x - y|`; no product helps, so it is slower.

    >>> Manhattan().pairwise(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, -4.0]]))
    tensor([[7.]])
    """

    name: ClassVar[str] = "manhattan"

    def _matrix(self, x: Tensor, y: Tensor | None) -> Tensor:
        other = x if y is None else y
        dtype = _result_dtype(x, other)
        return torch.cdist(x.to(dtype), other.to(dtype), p=1.0)

    def _rows(self, x: Tensor, y: Tensor) -> Tensor:
        return (x - y).abs().sum(1)


class _Gram(torch.autograd.Function):
    """The Euclidean distance matrix, squared or not, of double-precision vectors by matrix products."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor | None, root: bool, dtype: torch.dtype) -> Tensor:
        out = _itself(x, root=root, dtype=dtype) if y is None else _across(x, y, root=root, dtype=dtype)
        ctx.save_for_backward(x, y, out if root else None)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        # Gradients are only recorded here when the caller wants to differentiate them again.
        if torch.is_grad_enabled():
            raise RuntimeError(
                "A distance matrix can be differentiated once: use paired distances for a second derivative."
            )
        x, y, out = ctx.saved_tensors
        if y is None:
            return _gradient_itself(x, grad, out), None, None, None
        grad_x = _gradient(x, y, grad, out) if ctx.needs_input_grad[0] else None
        grad_y = _gradient(y, x, grad.mT, None if out is None else out.mT) if ctx.needs_input_grad[1] else None
        return grad_x, grad_y, None, None


def _gram(x: Tensor, y: Tensor | None, *, root: bool, dtype: torch.dtype | None = None) -> Tensor:
    dtype = dtype or _result_dtype(x, x if y is None else y)
    wide = None if y is None else y.double()
    out: Tensor = _Gram.apply(x.double(), wide, root, dtype)  # type: ignore[no-untyped-call]
    return out


def _across(x: Tensor, y: Tensor, *, root: bool, dtype: torch.dtype) -> Tensor:
    squares_x, squares_y = x.square().sum(1), y.square().sum(1)
    out = x.new_empty(len(x), len(y), dtype=dtype)
    for rows in _blocks(len(x), len(y)):
        out[rows] = _block(x[rows], y, squares_x[rows], squares_y, root=root)
    return out


def _itself(x: Tensor, *, root: bool, dtype: torch.dtype) -> Tensor:
    squares = x.square().sum(1)
    out = x.new_empty(len(x), len(x), dtype=dtype)
    for rows, columns in _upper_tiles(x):
        tile = _block(x[rows], x[columns], squares[rows], squares[columns], root=root)
        if rows == columns:
            upper = tile.triu_(1)
            tile = upper + upper.mT
        out[rows, columns] = tile
        # Mirrored, not computed again: half the work, and symmetric to the last bit.
        out[columns, rows] = tile.mT
    return out


def _block(x: Tensor, y: Tensor, squares_x: Tensor, squares_y: Tensor, *, root: bool) -> Tensor:
    scale = squares_x[:, None] + squares_y
    squared = torch.addmm(scale, x, y.mT, alpha=-2)
    # Written so that NaN stays NaN.
    squared.masked_fill_(squared <= scale.mul_(_ROUNDING), 0)
    return squared.sqrt_() if root else squared


def _gradient(x: Tensor, y: Tensor, grad: Tensor, out: Tensor | None) -> Tensor:
    """Return the gradient for `x`: row i is the sum over j of w_ij (x_i - y_j), w = grad / out, or 2 grad."""
    total = torch.empty_like(x)
    for rows in _blocks(len(x), len(y)):
        total[rows] = _pull(x[rows], y, _weight(grad[rows], None if out is None else out[rows]))
    return total


def _gradient_itself(x: Tensor, grad: Tensor, out: Tensor | None) -> Tensor:
    """Return the same for distances of `x` to itself: a tile and its mirror image have one weight."""
    total = torch.zeros_like(x)
    for rows, columns in _upper_tiles(x):
        both = grad[rows, columns] + grad[columns, rows].mT
        weight = _weight(both, None if out is None else out[rows, columns])
        total[rows] += _pull(x[rows], x[columns], weight)
        if rows != columns:
            total[columns] += _pull(x[columns], x[rows], weight.mT)
    return total


def _weight(grad: Tensor, out: Tensor | None) -> Tensor:
    wide = grad.double()
    return wide * 2 if out is None else (wide / out).masked_fill_(out == 0, 0)


def _pull(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    return torch.addmm(weight.sum(1, keepdim=True) * x, weight, y, alpha=-1)


def _upper_tiles(x: Tensor) -> Iterator[tuple[slice, slice]]:
    """Yield the square tiles of the matrix of `x` with itself that are on its diagonal and above."""
    side = _TILE if x.device.type == "cpu" else _GPU_TILE
    tiles = [slice(start, start + side) for start in range(0, len(x), side)]
    return combinations_with_replacement(tiles, 2)


def _blocks(rows: int, columns: int) -> list[slice]:
    step = max(1, _BLOCK // max(1, columns))
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def _directions(x: Tensor) -> Tensor:
    """Return vectors (n, d + 1) whose squared distance is the cosine distance; the last marks zeros."""
    norm = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    lost = norm <= _NO_DIRECTION
    unit = (x / norm.masked_fill(lost, 1)).masked_fill(lost, 0)
    directions: Tensor = torch.cat([unit, lost.to(x.dtype)], dim=1) * 0.5**0.5
    return directions


def _result_dtype(x: Tensor, y: Tensor) -> torch.dtype:
    return torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)


def _check(x: Tensor, y: Tensor) -> None:
    for side in (x, y):
        if side.ndim != 2 or not side.is_floating_point():
            raise ValueError(
                f"Distances need floating-point embeddings of shape (n, d), got {side.dtype} of shape "
                f"{tuple(side.shape)}: give one row per sample."
            )
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"Embeddings of widths {x.shape[1]} and {y.shape[1]} have no distance: use one encoder.")
    if x.device != y.device:
        raise ValueError(f"Embeddings are on {x.device} and {y.device}: move both to one device.")


DISTANCES: dict[str, type[Distance]] = {
    "euclidean": Euclidean,
    "squared_euclidean": SquaredEuclidean,
    "cosine": Cosine,
    "manhattan": Manhattan,
}


def build(name: str) -> Distance:
    """Return the distance of a name in `DISTANCES`.

    >>> build("cosine")
    Cosine()

    Raises:
        ValueError: if the name is unknown, with the known ones, nearest first.
    """
    return choose("distance", name, DISTANCES)()

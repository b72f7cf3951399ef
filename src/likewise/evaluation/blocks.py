"""Scores between two sets of embeddings, a block of the matrix at a time, by one matrix product each.

`likewise.distances` takes several passes over its result, in double precision, to be safe to differentiate. A score
needs none: vectors are lifted once so that the product of two of them is the negative distance. Products are taken
in double precision and rounded to single, so pairs that are equally far apart tie, whatever block they come in.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from likewise import distances

Singles = NDArray[np.float32]
Indices = NDArray[np.intp]
Sides = tuple[Tensor, Tensor]

# Below this norm a vector has no direction, as in `likewise.distances`.
NO_DIRECTION = 1e-12
# Squared distances below this share of |x|^2 + |y|^2 are what rounding leaves of nought.
ROUNDING = 16 * torch.finfo(torch.float64).eps


@dataclass(frozen=True)
class Scores:
    """The scores of every row of one matrix against every row of another, larger is more alike.

    Attributes:
        sides: (rows, dimensions) and (columns, dimensions) embeddings in double precision, moved to their middle.
        distance: its name.
        squares: (rows,) and (columns,) squared lengths of the sides.
        lifted: both sides lifted so that their product is the distance, negative; None where no product is.
    """

    sides: Sides
    distance: str
    squares: Sides
    lifted: Sides | None

    @classmethod
    def build(cls, left: Tensor, right: Tensor, distance: str) -> "Scores":
        """Return the scores of a distance by name.

        Raises:
            ValueError: for an unknown distance, or embeddings whose distances no single-precision number can hold.
        """
        distances.build(distance)
        sides = left.double(), right.double()
        largest = max(float(side.abs().max()) for side in sides) * left.shape[1] ** 0.5
        if 4 * largest**2 > torch.finfo(torch.float32).max:
            raise ValueError(f"embeddings as long as {largest:.2g} are too large to compare; normalise them")
        if distance != "cosine":
            # Distances stay as they are and products become small; a median is no sum, so no order of rows tells.
            centre = sides[1].median(dim=0).values
            sides = sides[0] - centre, sides[1] - centre
        squares = sides[0].square().sum(dim=1), sides[1].square().sum(dim=1)
        lift = LIFTS.get(distance)
        return cls(sides, distance, squares, None if lift is None else (lift(sides[0])[0], lift(sides[1])[1]))

    def block(self, rows: slice | Indices, columns: slice) -> Singles:
        """Return the scores of some rows against some columns, as a matrix."""
        if self.lifted is None:
            measure = distances.build(self.distance)
            score = measure.score(measure.pairwise(self.sides[0][rows], self.sides[1][columns]))
            return np.asarray(score.float())
        product = torch.mm(self.lifted[0][rows], self.lifted[1][columns].T)
        return self._finished(product, self.squares[0][rows, None], self.squares[1][columns])

    def pairs(self, rows: Indices, columns: Indices) -> Singles:
        """Return the scores of rows and columns one by one."""
        if self.lifted is None:
            measure = distances.build(self.distance)
            score = measure.score(measure.paired(self.sides[0][rows], self.sides[1][columns]))
            return np.asarray(score.float())
        left, right = np.asarray(self.lifted[0])[rows], np.asarray(self.lifted[1])[columns]
        product = torch.from_numpy(np.einsum("ij,ij->i", left, right))
        return self._finished(product, self.squares[0][rows], self.squares[1][columns])

    def stacks(self, count: int) -> Singles:
        """Return (count, rows / count, columns / count) scores: each stretch of rows against its own of columns."""
        left, right = (side.view(count, -1, side.shape[1]) for side in self.lifted or self.sides)
        if self.lifted is None:
            measure = distances.build(self.distance)
            each = [measure.score(measure.pairwise(*stretch)) for stretch in zip(left, right, strict=True)]
            return np.asarray(torch.stack(each).float())
        product = torch.from_numpy(np.matmul(np.asarray(left), np.asarray(right).transpose(0, 2, 1)))
        squares = [side.view(count, -1) for side in self.squares]
        return self._finished(product, squares[0][:, :, None], squares[1][:, None])

    def _finished(self, product: Tensor, left: Tensor, right: Tensor) -> Singles:
        """Return the scores of negative distances, rounded as a distance first, as everywhere else.

        What is only rounding of a squared distance of nought becomes nought.
        """
        singles: Singles = np.asarray(product.float())
        if self.distance == "cosine":
            return np.add(singles, 1, out=singles)
        near = np.nonzero(singles >= -ROUNDING * float(left.max() + right.max()))
        if near[0].size:
            scale = sum(np.broadcast_to(np.asarray(side), singles.shape)[near] for side in (left, right))
            singles[near] = np.where(singles[near] >= -ROUNDING * scale, 0, singles[near])
        if self.distance == "euclidean":
            np.sqrt(np.negative(singles, out=singles), out=singles)
            np.negative(singles, out=singles)
        return singles


def _directions(x: Tensor) -> Sides:
    """Lift so that the product is the cosine less 1; a vector of nought is alike to its own kind alone."""
    norm = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    lost = norm <= NO_DIRECTION
    unit, one = (x / norm.masked_fill(lost, 1)).masked_fill(lost, 0), torch.ones_like(norm)
    lifted = torch.cat([unit, lost.to(x.dtype)], dim=1)
    return torch.cat([lifted, -one], dim=1), torch.cat([lifted, one], dim=1)


def _squares(x: Tensor) -> Sides:
    """Lift x and y so that their product is 2 x.y - |x|^2 - |y|^2, the negative squared distance."""
    square, one = x.square().sum(dim=1, keepdim=True), torch.ones_like(x[:, :1])
    return torch.cat([2 * x, -square, -one], dim=1), torch.cat([x, one, square], dim=1)


LIFTS: dict[str, Callable[[Tensor], Sides]] = {
    "cosine": _directions,
    "euclidean": _squares,
    "squared_euclidean": _squares,
}

"""What every evaluation asks of its input, each refusal in one line."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.generic] | Tensor
Values = NDArray[np.generic] | Tensor | Sequence[float]
Labels = NDArray[np.generic] | Tensor | Sequence[int] | Sequence[str]


class TooFewError(ValueError):
    """The data are sound, but there are too few of them to show what was asked for."""


def as_vector(values: Values, *, name: str) -> NDArray[np.float64]:
    """Return the values as a finite vector in double precision; errors call them `name`."""
    vector = _as_numpy(values).astype(np.float64)
    if vector.ndim != 1:
        raise ValueError(f"{name} must be a vector, not an array of shape {vector.shape}")
    broken = int(np.count_nonzero(~np.isfinite(vector)))
    if broken:
        raise ValueError(f"{broken} of the {vector.size} {name} are NaN or infinite; all must be finite")
    return vector


def as_trials(scores: Values, same: Values) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Scores and 0/1 answers of one length, with a genuine and an impostor trial among them."""
    score = as_vector(scores, name="scores")
    answer = _as_numpy(same)
    if answer.shape != score.shape:
        raise ValueError(f"{score.size} scores came with `same` of shape {answer.shape}; give one for each")
    if not np.isin(answer, (0, 1)).all():
        raise ValueError("`same` must hold only 1 (genuine) and 0 (impostor)")
    genuine = answer.astype(bool)
    if genuine.all() or not genuine.any():
        missing = "impostor (same = 0)" if genuine.any() else "genuine (same = 1)"
        raise TooFewError(f"none of the {score.size} trials is {missing}; error rates need both kinds")
    return score, genuine


def as_embeddings(embeddings: Array) -> Tensor:
    """Return (samples, dimensions) finite embeddings on the CPU, single precision unless given in double."""
    given = torch.as_tensor(embeddings).detach().cpu()
    matrix = given if given.dtype == torch.float64 else given.to(torch.float32)
    if matrix.ndim != 2 or not matrix.numel():
        raise ValueError(f"embeddings must be (samples, dimensions), not of shape {tuple(matrix.shape)}")
    broken = int((~torch.isfinite(matrix)).any(dim=1).sum())
    if broken:
        raise ValueError(f"{broken} of the {len(matrix)} embeddings hold NaN or infinity: a diverged encoder?")
    return matrix


def as_codes(labels: Labels, *, samples: int) -> NDArray[np.int64]:
    """Return (samples,) class labels as whole numbers from 0, in the order of the sorted classes."""
    # Here and not above: a model that compares has no labels, and starts half a second sooner.
    import pandas as pd

    names = _as_numpy(labels)
    if names.shape != (samples,):
        raise ValueError(f"{samples} embeddings came with labels of shape {names.shape}; give one for each")
    if pd.isna(names).any():
        raise ValueError(f"{int(pd.isna(names).sum())} of the {samples} labels are missing: leave such samples out")
    codes: NDArray[np.int64] = np.unique(names, return_inverse=True)[1].astype(np.int64)
    return codes


class OfDistance:
    """A stored choice that belongs to the scores of one distance: the base of dataclasses.

    Attributes:
        distance: the name of that distance.
        called: what errors call it.
    """

    distance: str
    called: ClassVar[str]

    def check(self, distance: str) -> None:
        """Raise ValueError when the scores to use it on come from another distance."""
        if self.distance != distance:
            raise ValueError(
                f"this {self.called} belongs to {self.distance} scores and means nothing for {distance}; choose it anew"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold; `from_dict` reads it back."""
        return asdict(cast("Any", self))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return what `to_dict` wrote; what has a default may be missing.

        Raises:
            ValueError: when a value is missing or unknown.
        """
        every = fields(cast("Any", cls))
        known = {field.name for field in every}
        needed = {field.name for field in every if field.default is MISSING}
        if not needed <= set(values) <= known:
            missing, unknown = sorted(needed - set(values)), sorted(set(values) - known)
            raise ValueError(f"not a stored {cls.__name__}: missing {missing}, unknown {unknown}")
        return cls(**values)


def _as_numpy(values: Values | Labels) -> NDArray[np.generic]:
    if isinstance(values, Tensor):
        tensor = values.detach().cpu()
        return np.asarray(tensor.double() if tensor.is_floating_point() else tensor)
    return np.asarray(values)

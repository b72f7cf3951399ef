"""Batches of media: an index gather from one array."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from likewise.data.rows import Rows, every_row, one_row

RESIDENT_BYTES = 4 << 30
"""Arrays up to this size are copied to the device once; larger ones stay memory-mapped."""


class Media:
    """The media of all samples, from which batches are gathered onto a device.

    A sample is one row of the array, or several where `offsets` say so, such as the windows of a long sound.

    Args:
        array: the rows of all samples, memory-mapped or not, first axis the row.
        offsets: sample `i` is the rows from `offsets[i]` to `offsets[i + 1]`; none: a row a sample.
        device: where batches are wanted.
        resident_bytes: up to this size the whole array is copied to the device at once.

    Attributes:
        shape: of one row.
        single: whether every sample is one row, so that samples and rows have the same numbers.

    Example:
        >>> array = np.arange(6, dtype=np.uint8).reshape(3, 2)
        >>> Media(array, device=torch.device("cpu")).gather(np.array([2, 0]))
        tensor([[4, 5],
                [0, 1]], dtype=torch.uint8)
        >>> Media(array, np.array([0, 1, 3]), device=torch.device("cpu")).rows(np.array([1]))
        (array([1, 2]), array([2]))
    """

    def __init__(
        self,
        array: np.ndarray[Any, Any],
        offsets: np.ndarray[Any, Any] | None = None,
        *,
        device: torch.device,
        resident_bytes: int = RESIDENT_BYTES,
    ) -> None:
        self.device = device
        self.shape: tuple[int, ...] = tuple(array.shape[1:])
        self._array = array
        self._offsets: Rows = np.arange(len(array) + 1) if offsets is None else offsets
        self.single = len(self._offsets) == len(array) + 1
        self._resident = torch.from_numpy(np.array(array)).to(device) if array.nbytes <= resident_bytes else None

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self._offsets) - 1

    def rows(self, samples: np.ndarray[Any, Any]) -> tuple[Rows, Rows]:
        """Return all rows of samples (n,), one after the other, and how many each has (n,)."""
        return (samples, np.ones_like(samples)) if self.single else every_row(samples, self._offsets)

    def one_each(self, samples: np.ndarray[Any, Any], *, seed: int) -> Rows:
        """Return one row of each of the samples (n,), drawn uniformly from its own by the seed."""
        return samples if self.single else one_row(samples, self._offsets, seed=seed)

    def gather(self, rows: np.ndarray[Any, Any]) -> Tensor:
        """Return `rows` of the array (int64, n) as one tensor (n, *shape) on the device."""
        if self._resident is not None:
            return self._resident[torch.tensor(rows, device=self.device)]
        batch = torch.from_numpy(np.asarray(self._array[rows]))
        if self.device.type == "cuda":
            return batch.pin_memory().to(self.device, non_blocking=True)
        return batch


def channel_statistics(
    array: np.ndarray[Any, Any], rows: np.ndarray[Any, Any], *, block: int = 4096
) -> tuple[list[float], list[float]]:
    """Return the mean and the standard deviation of each channel over `rows` of an array, in raw units.

    Args:
        array: (rows, channels, ...), memory-mapped or not; read a block at a time.
        rows: which of them (n,).
        block: rows read at a time.

    A channel that never changes has the standard deviation 1, so that dividing by it is safe.

    Raises:
        ValueError: when there are no rows.

    Example:
        >>> channel_statistics(np.array([[[0, 2]], [[4, 6]]], dtype=np.uint8), np.array([0, 1]))
        ([3.0], [2.236...])
    """
    if len(rows) == 0:
        raise ValueError("there are no samples to take the mean of")
    # Taken off every value: a constant channel then sums to exactly zero, and a large mean costs no digits.
    first = np.asarray(array[rows[:1]], dtype=np.float64).reshape(array.shape[1], -1)[:, 0]
    shift = first.reshape(1, -1, *[1] * (array.ndim - 2))
    sums = np.zeros((2, array.shape[1]))
    count = len(rows) * int(np.prod(array.shape[2:]))
    for start in range(0, len(rows), block):
        values = np.asarray(array[rows[start : start + block]], dtype=np.float64) - shift
        axes = (0, *range(2, values.ndim))
        sums += np.stack([values.sum(axes), np.square(values).sum(axes)])
    mean, square = sums / count
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    return (first + mean).tolist(), np.where(deviation > 0, deviation, 1.0).tolist()

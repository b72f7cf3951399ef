"""Batches of media: an index gather from one array."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

RESIDENT_BYTES = 4 << 30
"""Arrays up to this size are copied to the device once; larger ones stay memory-mapped."""


class Media:
    """The media of all samples, from which batches are gathered onto a device.

    Args:
        array: the array of all samples, memory-mapped or not, first axis the sample.
        device: where batches are wanted.
        resident_bytes: up to this size the whole array is copied to the device at once.

    Example:
        >>> media = Media(np.arange(6, dtype=np.uint8).reshape(3, 2), device=torch.device("cpu"))
        >>> media.gather(np.array([2, 0]))
        tensor([[4, 5],
                [0, 1]], dtype=torch.uint8)
    """

    def __init__(
        self, array: np.ndarray[Any, Any], *, device: torch.device, resident_bytes: int = RESIDENT_BYTES
    ) -> None:
        self.device = device
        self.shape: tuple[int, ...] = tuple(array.shape[1:])
        self._array = array
        self._resident = torch.from_numpy(np.array(array)).to(device) if array.nbytes <= resident_bytes else None

    def __len__(self) -> int:
        return len(self._array)

    def gather(self, rows: np.ndarray[Any, Any]) -> Tensor:
        """Return the samples of `rows` (int64, n) as one tensor (n, *shape) on the device."""
        if self._resident is not None:
            return self._resident[torch.tensor(rows, device=self.device)]
        batch = torch.from_numpy(np.asarray(self._array[rows]))
        if self.device.type == "cuda":
            return batch.pin_memory().to(self.device, non_blocking=True)
        return batch


def channel_statistics(
    array: np.ndarray[Any, Any], rows: np.ndarray[Any, Any], *, block: int = 4096
) -> tuple[list[float], list[float]]:
    """Return the mean and the standard deviation of each channel over the samples `rows`, in raw units.

    Args:
        array: (samples, channels, ...), memory-mapped or not; read a block at a time.
        rows: which samples (n,).
        block: samples read at a time.

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

"""Media as a few numbers a row, with nothing trained: their principal components."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = np.ndarray[Any, Any]
Singles = npt.NDArray[np.float32]

COMPONENTS = 64
FIT_BYTES = 256 << 20
"""The components are fitted on so much of the media in single precision: 85,000 images of 28 x 28."""
BLOCK_BYTES = 16 << 20


def principal_components(
    media: Array, rows: Array, *, components: int = COMPONENTS, fit_bytes: int = FIT_BYTES
) -> Singles:
    """Return the first principal components of some rows, (rows, components), float32, in raw units.

    Each row is flattened. The components are fitted on the rows alone: on all of them where they fit into
    `fit_bytes`, else on as many, evenly spaced in the order given. There are fewer where a row has fewer numbers or
    fewer rows were fitted; distances are then those of the flattened rows, but for rounding. Memory is a few
    times `fit_bytes` whatever the number of rows. Same input, same result, on any number of threads of one machine.

    Args:
        media: the rows of all samples (n, ...), memory-mapped or not, first axis the row.
        rows: which of them, at least two.
        components: at most so many.
        fit_bytes: the size of what the components are fitted on.

    Example:
        >>> found = principal_components(np.array([[[0, 2]], [[0, 6]], [[0, 4]]], dtype=np.uint8), np.arange(3))
        >>> found.shape, bool(np.isclose(abs(found[0] - found[1])[0], 4))
        ((3, 2), True)

    Raises:
        ValueError: when there are fewer than two rows, or no component is asked for.
    """
    if len(rows) < 2 or components < 1:
        raise ValueError(
            f"{components} principal components of {len(rows)} samples: ask for 1 or more, of two samples or more"
        )
    from sklearn.decomposition import PCA
    from threadpoolctl import threadpool_limits

    width = int(np.prod(media.shape[1:]))
    fitted = _spaced(rows, max(2, fit_bytes // (4 * width)))
    values = _flat(media, fitted)
    middle = values.mean(axis=0, dtype=np.float64).astype(np.float32)
    values -= middle
    found = PCA(min(components, *values.shape), random_state=0)
    # Samples that are all alike have no variance to take shares of.
    with threadpool_limits(1, "blas"), np.errstate(invalid="ignore"):
        found.fit(values)
        block = max(1, BLOCK_BYTES // (4 * width))
        starts = range(0, len(rows), block)
        return np.concatenate(
            [(_flat(media, rows[start : start + block]) - middle) @ found.components_.T for start in starts]
        )


def _spaced(rows: Array, most: int) -> Array:
    """Return at most so many of the rows, evenly spaced."""
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).round().astype(np.int64)]


def _flat(media: Array, rows: Array) -> Singles:
    return media[rows].reshape(len(rows), -1).astype(np.float32)

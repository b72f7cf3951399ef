"""The media of all samples as one .npy file: written as rows come, put in order at the end."""

import io
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

BLOCK_BYTES = 64 << 20


class MediaWriter:
    """Appends rows of one shape and type, then keeps the rows that are wanted.

    The file appears at its place complete or not at all: a block that ends with an error, or without `keep`, leaves
    nothing behind. It writes plainly and not through a memory map, where a full disk would be a crash and not an error.

    Args:
        path: Where the .npy file shall be; `np.load` memory-maps it.
        shape: The shape of one row, such as (C, H, W).
        dtype: Their type, by NumPy's name.
    """

    def __init__(self, path: Path, shape: Sequence[int], dtype: str = "uint8") -> None:
        self._path = path
        self._shape, self._dtype = tuple(shape), np.dtype(dtype)
        self._rows = 0
        self._arrived = path.with_name(f"{path.name}.arrived")
        self._ordered = path.with_name(f"{path.name}.ordered")

    def __enter__(self) -> Self:
        self._file = io.FileIO(self._arrived, "w")
        _write(self._file, self._header(0))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._arrived.unlink(missing_ok=True)
        self._ordered.unlink(missing_ok=True)

    def extend(self, rows: NDArray[Any]) -> int:
        """Write rows (n, *shape), and return the number that the first of them has for now.

        Raises:
            ValueError: Another shape or type.
            OSError: The disk is full, with the file's name.
        """
        if rows.shape[1:] != self._shape or rows.dtype != self._dtype:
            raise ValueError(f"rows are {rows.dtype} {rows.shape[1:]}: expected {self._dtype} {self._shape}")
        _write(self._file, np.ascontiguousarray(rows).data.cast("B") if rows.size else b"")
        self._rows += len(rows)
        return self._rows - len(rows)

    def keep(self, rows: ArrayLike) -> None:
        """Make these rows (n,), in this order, the file; it is in its place when this returns."""
        rows = np.asarray(rows, dtype=np.int64)
        if np.array_equal(rows, np.arange(self._rows)):
            self._file.seek(0)
            _write(self._file, self._header(self._rows))
            self._file.close()
            self._arrived.replace(self._path)
            return
        with io.FileIO(self._ordered, "w") as ordered:
            _write(ordered, self._header(len(rows)))
            self._copy(rows, ordered)
        self._ordered.replace(self._path)

    def _copy(self, rows: NDArray[np.int64], ordered: io.FileIO) -> None:
        start = len(self._header(0))
        arrived = np.memmap(self._arrived, self._dtype, mode="r", offset=start, shape=(self._rows, *self._shape))
        block = max(1, BLOCK_BYTES // max(1, int(np.prod(self._shape)) * self._dtype.itemsize))
        for first in range(0, len(rows), block):
            _write(ordered, arrived[rows[first : first + block]].tobytes())

    def _header(self, rows: int) -> bytes:
        """Return NumPy's header, whose length does not depend on the number of rows: it leaves room for it to grow."""
        header = io.BytesIO()
        described = {"descr": self._dtype.str, "fortran_order": False, "shape": (rows, *self._shape)}
        np.lib.format.write_array_header_1_0(header, described)
        return header.getvalue()


def _write(file: io.FileIO, content: bytes | memoryview) -> None:
    left = memoryview(content)
    try:
        while left:
            left = left[file.write(left) :]
    except OSError as error:
        raise OSError(error.errno, f"cannot write the media: {error.strerror}", str(file.name)) from error

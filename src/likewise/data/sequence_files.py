"""The columns of numbers in a CSV, NPY or Parquet file, or in an array."""

import csv
import io
import math
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from likewise.data.raw import Unreadable

MAX_TEXT = 1 << 26
"""CSV files above 64 MiB are refused."""

MAX_LINE = 1 << 16
"""Lines of a CSV file with more characters are refused."""

DELIMITERS = ",;\t"
NUMBERS = "biuf"
"""NumPy's kinds of numbers that are taken: truth values, whole numbers, floats."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Numbers:
    """Columns of numbers, which are read when they are asked for.

    Attributes:
        rows: How many there are; in a CSV at most so many.
        width: Columns.
        names: The columns' names, or none where the file has no header.
        read: Returns the columns at these places, counted from 0: float64 (rows, places); it raises `Unreadable`.
    """

    rows: int
    width: int
    names: tuple[str, ...]
    read: Callable[[Sequence[int]], Values]

    def label(self, place: int) -> str:
        """Return what a column is called in a message: its name, or its number, counted from 1."""
        return f"column {self.names[place]!r}" if self.names else f"column {place + 1}"


def numbers_in(content: bytes | NDArray[Any]) -> Numbers:
    r"""Return the columns of a file, whose format its first bytes tell, or of an array (rows, columns) or (rows,).

    NPY and Parquet are what begins like them, all else is CSV: UTF-8, with a byte-order mark or without; commas,
    semicolons or tabs part its cells, whichever part the first line most, and white space where there is none of them.
    The first line is a header where none of its cells is a number, or where it begins with #. Empty lines are passed
    over. Decimals have a point.

    Raises:
        Unreadable: neither of these, damaged, truncated, too large, or not numbers.

    Example:
        >>> numbers = numbers_in(b"x;y\n1;2\n3;4\n")
        >>> numbers.names, numbers.read([1]).tolist()
        (('x', 'y'), [[2.0], [4.0]])
    """
    if isinstance(content, np.ndarray):
        return _from_array(content)
    for magic, opened in FORMATS.items():
        if content.startswith(magic):
            return opened(content)
    return _from_text(content)


def _from_array(values: NDArray[Any]) -> Numbers:
    _check_array(values.dtype, values.shape)
    columns = values.reshape(len(values), -1)
    return Numbers(
        len(columns), columns.shape[1], (), lambda places: np.asarray(columns[:, list(places)], dtype=np.float64)
    )


def _check_array(dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    if dtype.kind not in NUMBERS:
        raise Unreadable(f"holds {dtype}, not numbers")
    if len(shape) not in (1, 2) or 0 in shape:
        raise Unreadable(f"an array must be (points, columns), given {shape}")


def _from_npy(content: bytes) -> Numbers:
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        shape, by_column, dtype = NPY_HEADERS[version](stream)
    # NumPy reads the header as Python, which fails in as many ways as Python.
    except Exception as error:
        raise Unreadable("damaged NPY: its header cannot be read") from error
    _check_array(dtype, shape)
    count = math.prod(shape)
    held, promised = len(content) - stream.tell(), count * dtype.itemsize
    if held < promised:
        raise Unreadable(f"truncated: {held} bytes of numbers, and its header says {promised}")
    values = np.frombuffer(content, dtype, count, offset=stream.tell())
    return _from_array(values.reshape(shape, order="F" if by_column else "C"))


def _from_parquet(content: bytes) -> Numbers:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _readable_parquet(pa):
        file = pq.ParquetFile(pa.BufferReader(content))
        names = tuple(file.schema_arrow.names)

    def read(places: Sequence[int]) -> Values:
        wanted = [names[place] for place in places]
        for name in wanted:
            _check_column(file.schema_arrow, name, pa)
        with _readable_parquet(pa):
            table = file.read(columns=wanted, use_threads=False)
            columns = [table[name].cast(pa.float64(), safe=False).to_numpy() for name in wanted]
        return np.stack(columns, axis=1)

    return Numbers(file.metadata.num_rows, len(names), names, read)


@contextmanager
def _readable_parquet(arrow: Any) -> Iterator[None]:
    """Turn what Arrow raises on a damaged file into `Unreadable`."""
    try:
        yield
    except (arrow.ArrowException, OSError) as error:
        raise Unreadable(f"damaged Parquet: {' '.join(str(error).split())}"[:200]) from error


def _check_column(schema: Any, name: str, arrow: Any) -> None:
    if schema.names.count(name) > 1:
        raise Unreadable(f"several columns are named {name!r}")
    kind, types = schema.field(name).type, arrow.types
    if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind)):
        raise Unreadable(f"column {name!r} holds {kind}, not numbers")


def _from_text(content: bytes) -> Numbers:
    lines = _lines(content)
    marked = lines[0].startswith("#")
    first = lines[0].lstrip("# ")
    delimiter = max(DELIMITERS, key=first.count)
    if delimiter not in first:
        delimiter = ""
    cells = next(_split([first], delimiter), [])
    names = () if any(map(_is_number, cells)) and not marked else tuple(cell.strip() for cell in cells)
    body = lines[1:] if names else lines
    numbers = Numbers(len(body), len(cells), names, lambda places: _parsed(body, delimiter, numbers, places))
    return numbers


def _lines(content: bytes) -> list[str]:
    if len(content) > MAX_TEXT:
        raise Unreadable(f"{len(content)} bytes of text, more than {MAX_TEXT}")
    try:
        text = content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise Unreadable(f"neither NPY nor Parquet nor UTF-8 text: byte {error.start}") from None
    lines = [line for line in io.StringIO(text, newline=None) if not line.isspace()]
    if not lines:
        raise Unreadable("empty file")
    longest = max(map(len, lines))
    if longest > MAX_LINE:
        raise Unreadable(f"a line of {longest} characters, more than {MAX_LINE}")
    return lines


def _split(lines: Sequence[str], delimiter: str) -> Iterator[list[str]]:
    """Yield the cells of each line, parted by the delimiter, or by white space where it is empty."""
    if not delimiter:
        yield from map(str.split, lines)
        return
    try:
        yield from csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    except csv.Error as error:
        raise Unreadable(f"not a table: {error}") from None


def _parsed(lines: Sequence[str], delimiter: str, numbers: Numbers, places: Sequence[int]) -> Values:
    values = array("d")
    for count, row in enumerate(_split(lines, delimiter), start=1):
        if len(row) != numbers.width:
            origin = "the header" if numbers.names else "row 1"
            raise Unreadable(f"row {count} has {len(row)} columns, and {origin} {numbers.width}")
        try:
            values.extend([float(row[place]) for place in places])
        except ValueError:
            place = next(place for place in places if not _is_number(row[place]))
            raise Unreadable(f"row {count}, {numbers.label(place)}: {row[place][:40]!r} is not a number") from None
    return np.array(values, dtype=np.float64).reshape(-1, len(places))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


NPY_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
FORMATS: dict[bytes, Callable[[bytes], Numbers]] = {b"\x93NUMPY": _from_npy, b"PAR1": _from_parquet}
"""What reads a file, by its first bytes; all others are CSV."""

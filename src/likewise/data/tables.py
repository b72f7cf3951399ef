"""Tables that name the samples: CSV with any usual delimiter, and Parquet."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from likewise.choices import nearest_first
from likewise.data.folders import refuse_link

if TYPE_CHECKING:
    import pyarrow as pa

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")
DELIMITERS = ",;\t|"
BLOCK_ROWS = 1 << 16
MAX_HEADER = 1 << 20
"""The longest first line of a CSV, in characters."""

FREE_ROWS, ROWS_A_BYTE = 1_000_000, 100
"""A table of files may have a million rows, or so many a byte; paths that count up, packed hardest, reach 11."""

FLAGS = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}
"""What a cell of yes or no may hold; whole numbers in a column with gaps are often written as 1.0."""


@dataclass(frozen=True)
class Columns:
    """Which column of a table is what; those that are none of these are carried along.

    Attributes:
        path: The path of the file (manifest).
        left: The path of one file of a pair (pairs).
        right: The path of the other.
        same: Whether they are of the same thing (1) or not (0).
        image: The encoded image itself (parquet).
        label: The class.
        group: What must stay together, such as a writer or a session; a table need not have it.
        forged: Whether a sample is a forgery, which imitates the class of its row (1) or not (0); a table need not
            have it.
    """

    path: str = "path"
    left: str = "path_a"
    right: str = "path_b"
    same: str = "same"
    image: str = "image"
    label: str = "label"
    group: str = "group"
    forged: str = "forged"


DEFAULT_COLUMNS = Columns()


def find_table(root: Path, name: str | None) -> Path:
    """Return the table `name` of a folder, or its only one.

    Raises:
        ValueError: the folder is none, or has no such table, or none or several to choose from.
    """
    if not root.exists():
        raise ValueError(f"{root} does not exist: put the data there, or give the path of the data")
    if not root.is_dir():
        raise ValueError(
            f"{root} is a file: give its folder as ingest.path and {root.name} as ingest.table, so that a change of "
            "the files that it names is seen too"
        )
    found = sorted(entry.name for entry in root.iterdir() if _is_table(entry))
    if name is None and len(found) != 1:
        state = f"has {len(found)} tables ({', '.join(found[:5])})" if found else "has no table (.csv, .tsv, .parquet)"
        raise ValueError(f"{root} {state}: name one in ingest.table")
    chosen = Path(found[0] if name is None else name)
    if ".." in chosen.parts or chosen.is_absolute() or not (root / chosen).is_file():
        known = nearest_first(str(name), found) or "none"
        raise ValueError(f"{root} has no table {name!r} (ingest.table, a path in that folder); known: {known}")
    refuse_link(root / chosen, root)
    return root / chosen


@dataclass(frozen=True)
class Opened:
    """A table that was found in a folder.

    Attributes:
        rows: what it holds.
        where: what it is called in a message.
        folder: what its paths are relative to, below the folder.
    """

    rows: pa.Table
    where: str
    folder: Path


def open_table(root: Path, name: str | None) -> Opened:
    """Return the table at `name` in the folder `root`, or the only one that lies there.

    Raises:
        ValueError: no such folder or table, or one that cannot be read.
    """
    file = find_table(root, name)
    return Opened(read_table(file), f"the table {file.name}", file.parent.relative_to(root))


def refuse_swollen(file: Path, rows: int, *, most: int) -> None:
    """Refuse a table that says it has more rows than so many bytes can: each would take memory here.

    Raises:
        ValueError: more than a million rows, and more than `most` a byte.
    """
    size = file.stat().st_size
    if rows > FREE_ROWS and rows > most * size:
        raise ValueError(f"{file} says it has {rows} rows, in {size} bytes: a decompression bomb is not read")


def read_table(file: Path) -> pa.Table:
    """Return all columns of a CSV or Parquet file; cells of a CSV are text as they stand, empty ones null.

    A CSV is UTF-8, with a byte-order mark or without; commas, semicolons, tabs or bars part its cells, whichever part
    the header most. Empty lines are passed over. A CSV has no types, so none are guessed: 007 stays 007.

    Raises:
        ValueError: not UTF-8, not a table, a row that does not fit the header, or columns without a name of their own.
    """
    if not file.name.lower().endswith(TABLE_SUFFIXES):
        raise ValueError(f"{file} is no table: {', '.join(TABLE_SUFFIXES)} are read")
    return _read_parquet(file) if file.name.lower().endswith(".parquet") else _read_csv(file)


def texts(table: pa.Table, name: str, *, key: str, where: str) -> list[str | None]:
    """Return a column as text: stripped, None where it is empty, each different text once in memory.

    Args:
        table: The table.
        name: The column: text or whole numbers.
        key: The parameter that named it, for the message.
        where: What the table is called in the message.

    Raises:
        ValueError: there is no such column (names those there are, the nearest first), or it holds something else.
    """
    import pyarrow as pa

    if name not in table.column_names:
        raise ValueError(f"{where} has no column {name!r} ({key}); its columns: {listed(name, table.column_names)}")
    column = table[name]
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_integer(column.type) or pa.types.is_null(column.type):
        column = column.cast(pa.string())
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise ValueError(f"{where}: the column {name!r} ({key}) holds {column.type}: write it as text or whole numbers")
    return _stripped(column)


def groups(table: pa.Table, name: str, *, where: str) -> list[str | None]:
    """Return the column of groups as text; all None where there is none of the default name.

    Raises:
        ValueError: another name was asked for, and there is no such column.
    """
    if name not in table.column_names and name == DEFAULT_COLUMNS.group:
        return [None] * table.num_rows
    return texts(table, name, key="ingest.columns.group", where=where)


Flag = tuple[bool | None, str | None]
"""What a cell says, yes or no, and what is wrong with it; both None for an empty one."""


def flags(table: pa.Table, name: str, *, key: str, where: str) -> list[Flag]:
    """Return what each cell of a column says: yes (1, true) or no (0, false), in any case, as text or of their types.

    Raises:
        ValueError: there is no such column, or it holds something else altogether.
    """
    import pyarrow as pa

    if name in table.column_names and (pa.types.is_boolean(table[name].type) or pa.types.is_floating(table[name].type)):
        place = table.column_names.index(name)
        table = table.set_column(place, name, table[name].cast(pa.string()))
    cells = texts(table, name, key=key, where=where)
    known = {cell: _flag(name, cell) for cell in set(cells)}
    return [known[cell] for cell in cells]


def forgeries(table: pa.Table, name: str, *, where: str) -> list[Flag]:
    """Return for each row whether it is a forgery, as `flags`; all no where there is no column of the default name.

    Raises:
        ValueError: another name was asked for, and there is no such column, or it holds something else altogether.
    """
    if name not in table.column_names and name == DEFAULT_COLUMNS.forged:
        return [(False, None)] * table.num_rows
    return flags(table, name, key="ingest.columns.forged", where=where)


def _flag(name: str, cell: str | None) -> Flag:
    said = FLAGS.get((cell or "").lower())
    return said, None if cell is None or said is not None else f"{name} is {cell!r}, neither 0 nor 1"


def listed(name: str, columns: Sequence[str]) -> str:
    r"""Return the columns' names as a list in words, the nearest to `name` first, and what does not print escaped.

    >>> listed("label", ["path", "la\nbel"])
    'la\\nbel, path'
    """
    return nearest_first(name, [repr(column)[1:-1] for column in columns]) or "none"


def without(table: pa.Table, names: Iterable[str]) -> pa.Table:
    """Return the table without these columns, as far as it has them."""
    return table.drop_columns([name for name in dict.fromkeys(names) if name in table.column_names])


def _is_table(entry: Path) -> bool:
    return not entry.name.startswith(".") and entry.name.lower().endswith(TABLE_SUFFIXES) and entry.is_file()


def _stripped(column: pa.ChunkedArray) -> list[str | None]:
    known: dict[str, str | None] = {}
    cells: list[str | None] = []
    for chunk in column.chunks:
        for text in chunk.to_pylist():
            if text is not None and text not in known:
                known[text] = text.strip() or None
            cells.append(None if text is None else known[text])
    return cells


def _check_names(names: Sequence[str], file: Path) -> None:
    nameless = [place for place, name in enumerate(names, start=1) if not name]
    if nameless:
        raise ValueError(f"{file}: column {nameless[0]} has no name: name it, or write the table without its index")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{file}: several columns are named {twice[0]!r}: give each a name of its own")


def _read_parquet(file: Path) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(file)
        refuse_swollen(file, table.metadata.num_rows, most=ROWS_A_BYTE)
        rows = table.read().replace_schema_metadata(None)
        rows.validate(full=True)
        _check_names(rows.column_names, file)
        return rows
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise ValueError(f"{file} is not a readable Parquet file: {' '.join(str(error).split())}") from None


def _read_csv(file: Path) -> pa.Table:
    import pyarrow as pa

    rows = None
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.reader(stream, delimiter=_delimiter(stream), skipinitialspace=True, strict=True)
            header = [name.strip() for name in next(rows, [])]
            _check_names(header, file)
            schema = pa.schema([(name, pa.string()) for name in header])
            return pa.Table.from_batches(_batches(rows, schema, file), schema)
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: byte {error.start} is not UTF-8: save the table as UTF-8") from None
    except csv.Error as error:
        raise ValueError(f"{file} is not a CSV table: line {rows.line_num if rows else 1}: {error}") from None
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from None


def _delimiter(stream: TextIO) -> str:
    """Return what parts the first line into the most cells, and rewind."""
    first = stream.readline(MAX_HEADER)
    if len(first) == MAX_HEADER:
        raise csv.Error(f"more than {MAX_HEADER} characters")
    stream.seek(0)
    return max(DELIMITERS, key=lambda mark: len(next(csv.reader([first], delimiter=mark), [])))


def _batches(rows: Iterator[list[str]], schema: pa.Schema, file: Path) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    filled = _fitting(rows, len(schema), file)
    while block := list(islice(filled, BLOCK_ROWS)):
        columns = [pa.array([cell or None for cell in cells], pa.string()) for cells in zip(*block, strict=True)]
        yield pa.record_batch(columns, schema)


def _fitting(rows: Iterator[list[str]], width: int, file: Path) -> Iterator[list[str]]:
    number = 0
    for row in rows:
        if not row:
            continue
        number += 1
        if len(row) != width:
            raise ValueError(f"{file}: row {number} has {len(row)} cells and the header {width}")
        yield row

from __future__ import annotations

import io
import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from likewise.data.sequence_files import MAX_LINE, MAX_TEXT, numbers_in
from likewise.data.sequences import Unreadable

NUMBERS = np.array([[1.5, -2.0, 3.0], [4.0, 5e-3, 60.0]])


def npy(values: NDArray[Any], **options: Any) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, values, **options)
    return stream.getvalue()


def parquet(columns: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    return stream.getvalue()


def read(content: bytes | NDArray[Any]) -> NDArray[np.float64]:
    numbers = numbers_in(content)
    values = numbers.read(range(numbers.width))
    assert values.dtype == np.float64
    assert values.shape == (numbers.rows, numbers.width)
    return values


def reason(content: bytes | NDArray[Any]) -> str:
    with pytest.raises(Unreadable) as caught:
        read(content)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) <= 200
    return message


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("1.5,-2,3\n4,0.005,60\n", ()),
        ("1.5,-2,3\n4,0.005,60", ()),
        ("1.5, -2, 3\r\n4, 5e-3, 6e1\r\n", ()),
        ("1.5,-2,3\r4,0.005,60\r", ()),
        ("\ufeffx,y,z\n1.5,-2,3\n4,0.005,60\n", ("x", "y", "z")),
        ("x;y, mm;z\n1.5;-2;3\n4;.005;60\n", ("x", "y, mm", "z")),
        ("x\ty\tz\n1.5\t-2\t3\n4\t0.005\t60\n", ("x", "y", "z")),
        ("x  y z\n 1.5  -2   3\n4   5E-3 +60\n", ("x", "y", "z")),
        ("# x y z\n1.5 -2 3\n4 0.005 60\n", ("x", "y", "z")),
        ("# 1,2,3\n1.5,-2,3\n4,0.005,60\n", ("1", "2", "3")),
        ('"x","y","z"\n"1.5","-2","3"\n4,0.005,60\n', ("x", "y", "z")),
        ("\n\nx,y,z\n\n1.5,-2,3\n   \n4,0.005,60\n\n", ("x", "y", "z")),
        (" x , y , z \n1.5,-2,3\n4,0.005,60\n", ("x", "y", "z")),
        (",y,z\n1.5,-2,3\n4,0.005,60\n", ("", "y", "z")),
    ],
)
def test_text_with_any_usual_delimiter_and_header(text: str, names: tuple[str, ...]) -> None:
    content = text.encode()
    np.testing.assert_array_equal(read(content), NUMBERS)
    assert numbers_in(content).names == names


def test_one_column_needs_no_delimiter() -> None:
    np.testing.assert_array_equal(read(b"y\n1\n2\n3\n"), [[1], [2], [3]])


@given(
    arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.floats(allow_nan=False)),
    st.sampled_from([",", ";", "\t", " "]),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read_in_every_format(values: NDArray[np.float64], delimiter: str, named: bool) -> None:
    names = [f"c{index}" for index in range(values.shape[1])]
    lines = ([delimiter.join(names)] if named else []) + [delimiter.join(map(repr, row)) for row in values.tolist()]
    for content in ("\n".join(lines).encode(), npy(values), npy(np.asfortranarray(values)), values):
        np.testing.assert_array_equal(read(content), values)
    np.testing.assert_array_equal(read(parquet(dict(zip(names, values.T, strict=True)))), values)


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f8", "<i1", ">i2", "<u8", "|b1"])
@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_every_kind_of_number_in_an_npy(dtype: str, version: tuple[int, int]) -> None:
    values = np.array([[1, 0], [0, 1], [1, 1]]).astype(dtype)
    np.testing.assert_array_equal(read(npy(values, version=version)), values.astype(float))


def test_a_single_axis_is_one_column() -> None:
    np.testing.assert_array_equal(read(np.array([1, 2, 3])), [[1], [2], [3]])
    np.testing.assert_array_equal(read(npy(np.array([1.0, 2.0]))), [[1], [2]])


def test_parquet_takes_numbers_of_every_type_and_reads_only_what_is_asked_for() -> None:
    content = parquet(
        {
            "whole": pa.array([1, 2], pa.int64()),
            "note": ["a", "b"],
            "down": [True, False],
            "a.b": pa.array([0.5, None], pa.float32()),
        }
    )
    numbers = numbers_in(content)
    assert numbers.names == ("whole", "note", "down", "a.b")
    np.testing.assert_array_equal(numbers.read([3, 0, 2]), [[0.5, 1, 1], [np.nan, 2, 0]])
    assert reason(content) == "column 'note' holds string, not numbers"


def test_a_column_of_words_beside_the_numbers_does_not_matter() -> None:
    numbers = numbers_in(b"x,note,y\n1,one,2\n3,three,4\n")
    np.testing.assert_array_equal(numbers.read([2, 0]), [[2, 1], [4, 3]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty file"),
        (b"\xef\xbb\xbf\n \n", "empty file"),
        (b"x,y\n1,2\n3,abc\n", "row 2, column 'y': 'abc' is not a number"),
        (b"1,2\n3,\n", "row 2, column 2: '' is not a number"),
        (b"1,2\n3,1.2.3\n", "row 2, column 2: '1.2.3' is not a number"),
        (b"1,two\n3,4\n", "row 1, column 2: 'two' is not a number"),
        (b"1;2\n3,5;4\n", "row 2, column 1: '3,5' is not a number"),
        (b"1,2\n3,4,5\n", "row 2 has 3 columns, and row 1 2"),
        (b"x,y\n1,2\n3\n", "row 2 has 1 columns, and the header 2"),
        (b"x y\n1 2 3\n", "row 1 has 3 columns, and the header 2"),
        (b'1,"2\n3,4\n', "not a table: unexpected end of data"),
        (b"\x89PNG\r\n", "neither NPY nor Parquet nor UTF-8 text: byte 0"),
        ("x,é\n".encode("latin-1"), "neither NPY nor Parquet nor UTF-8 text: byte 2"),
        (b"1," * MAX_LINE, f"a line of {2 * MAX_LINE} characters, more than {MAX_LINE}"),
        (npy(np.array([["a"]])), "holds <U1, not numbers"),
        (npy(np.array([1j])), "holds complex128, not numbers"),
        (npy(np.zeros((2, 3, 4))), "an array must be (points, columns), given (2, 3, 4)"),
        (npy(np.zeros((0, 3))), "an array must be (points, columns), given (0, 3)"),
        (npy(np.array(1.0)), "an array must be (points, columns), given ()"),
        (npy(np.zeros((3, 2)))[:-1], "truncated: 47 bytes of numbers, and its header says 48"),
        (npy(np.zeros((3, 2)))[:20], "damaged NPY: its header cannot be read"),
        (b"\x93NUMPY\x09\x00", "damaged NPY: its header cannot be read"),
    ],
)
def test_what_is_no_table_of_numbers_is_refused(content: bytes, message: str) -> None:
    assert reason(content) == message


def test_objects_are_never_unpickled() -> None:
    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert reason(stream.getvalue()) == "holds object, not numbers"


def test_a_header_that_asks_for_all_memory_is_refused() -> None:
    for shape in ((1 << 40, 2), (1 << 62, 1 << 62)):
        stream = io.BytesIO()
        np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": shape})
        assert reason(stream.getvalue() + bytes(64)).startswith("truncated: 64 bytes of numbers, and its header says ")


def test_a_text_that_is_too_large_is_refused() -> None:
    assert reason(b"1\n" * (MAX_TEXT // 2) + b"1\n") == f"{MAX_TEXT + 2} bytes of text, more than {MAX_TEXT}"


def test_broken_parquet_is_refused() -> None:
    content = parquet({"x": [1.0, 2.0]})
    assert reason(content[:-10]).startswith("damaged Parquet: ")
    twice = io.BytesIO()
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"]), twice)
    assert reason(twice.getvalue()) == "several columns are named 'x'"


@given(st.integers(0, 127), st.integers(0, 255))
@settings(deadline=None)
def test_a_damaged_header_is_one_reason_or_other_numbers(place: int, byte: int) -> None:
    content = bytearray(npy(NUMBERS))
    content[place] = byte
    try:
        values = read(bytes(content))
    except Unreadable:
        return
    assert values.size <= len(content)


def test_csv_and_npy_import_neither_pandas_nor_arrow_nor_torch() -> None:
    program = (
        "import sys; from likewise.data.sequences import *; "
        "decode(b'1,2\\n3,4\\n', SequenceSpec(8, 2)); "
        "sys.exit(' '.join({'pandas', 'pyarrow', 'torch', 'scipy', 'sklearn'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.data import tables
from likewise.data.tables import FREE_ROWS, find_table, flags, forgeries, groups, read_table, texts, without
from tests.data.pictures import put

ROWS = {"path": ["a.png", "b;1,2|.png"], "label": ["007", "x y"], "note": ['say "ja"\nor no', None]}


def written(folder: Path, text: str, *, encoding: str = "utf-8", name: str = "m.csv") -> Path:
    return put(folder / name, text.encode(encoding))


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_csv_is_read_whatever_parts_it(tmp_path: Path, mark: str, encoding: str, end: str) -> None:
    lines = [["path", "label", "note"], ['"a.png"', "007", '"say ""ja""\nor no"'], ['"b;1,2|.png"', " x y", ""]]
    file = written(tmp_path, end.join(mark.join(line) for line in lines) + end, encoding=encoding)
    assert read_table(file).to_pydict() == ROWS


def test_cells_are_text_and_empty_lines_are_none(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "path,age\n\na,1.50\n\nb,\n"))
    assert table.schema == pa.schema([("path", pa.string()), ("age", pa.string())])
    assert table.to_pydict() == {"path": ["a", "b"], "age": ["1.50", None]}


cell = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4).map(str.strip)


@given(st.lists(st.tuples(cell, cell), max_size=9), st.integers(1, 4), st.sampled_from(",;\t|"))
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], block: int, mark: str
) -> None:
    quoted = [mark.join('"' + text.replace('"', '""') + '"' for text in row) for row in rows]
    file = written(tmp_path_factory.mktemp("csv"), "\n".join([f"path{mark}label", *quoted]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "BLOCK_ROWS", block)
        table = read_table(file)
    assert list(zip(*table.to_pydict().values(), strict=True)) == [(a or None, b or None) for a, b in rows]


BAD = {
    "too many cells": ("path,label\na,b\n\nc,d,e\n", r"m\.csv: row 2 has 3 cells and the header 2"),
    "too few cells": ("path,label\na\n", r"m\.csv: row 1 has 1 cells and the header 2"),
    "no name": (",path\n0,a\n", r"m\.csv: column 1 has no name: name it, or write the table without its index"),
    "a name twice": ("path,a,a\n", r"m\.csv: several columns are named 'a'"),
    "an open quote": ('path,label\na,"b\n', r"m\.csv is not a CSV table: line 2: unexpected end of data"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_csv_that_is_none_is_refused_with_its_row(tmp_path: Path, name: str) -> None:
    content, words = BAD[name]
    with pytest.raises(ValueError, match=words) as caught:
        read_table(written(tmp_path, content))
    assert len(str(caught.value).splitlines()) == 1


def test_only_utf8_is_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"byte 12 is not UTF-8: save the table as UTF-8"):
        read_table(written(tmp_path, "path,label\na\u00e9,b\n", encoding="latin-1"))
    with pytest.raises(ValueError, match=r"byte 0 is not UTF-8"):
        read_table(written(tmp_path, "path,label\na,b\n", encoding="utf-16"))


def test_a_parquet_keeps_its_types(tmp_path: Path) -> None:
    table = pa.table(
        {
            "path": ["a", "b"],
            "age": pa.array([1, None], pa.int16()),
            "seen": pa.array([0, 1], pa.timestamp("us")),
            "boxes": [[1.5], None],
        }
    )
    pq.write_table(table, tmp_path / "split=train.parquet")
    assert read_table(tmp_path / "split=train.parquet").equals(table)
    with pytest.raises(ValueError, match=r"bad\.parquet is not a readable Parquet file: "):
        read_table(put(tmp_path / "bad.parquet", b"PAR1"))
    pq.write_table(pa.table({"path": ["over", "there"]}), tmp_path / "m.parquet", compression="none")
    content = (tmp_path / "m.parquet").read_bytes()
    put(tmp_path / "m.parquet", content.replace(b"there", b"the\xff\xfe"))
    with pytest.raises(ValueError, match=r"m\.parquet is not a readable Parquet file: .*UTF8"):
        read_table(tmp_path / "m.parquet")
    with pytest.raises(ValueError, match=r"m\.xlsx is no table: \.csv, \.tsv, \.parquet are read"):
        read_table(put(tmp_path / "m.xlsx", b""))


def test_the_only_table_is_found(tmp_path: Path) -> None:
    for aside in (".hidden.csv", "a.png", "m.csv.dvc"):
        put(tmp_path / aside, b"")
    with pytest.raises(ValueError, match=r"has no table \(\.csv, \.tsv, \.parquet\): name one in ingest\.table"):
        find_table(tmp_path, None)
    put(tmp_path / "M.CSV", b"")
    assert find_table(tmp_path, None) == tmp_path / "M.CSV"
    put(tmp_path / "lists" / "b.tsv", b"")
    assert find_table(tmp_path, "lists/b.tsv") == tmp_path / "lists" / "b.tsv"
    put(tmp_path / "n.parquet", b"")
    with pytest.raises(ValueError, match=r"has 2 tables \(M\.CSV, n\.parquet\): name one in ingest\.table"):
        find_table(tmp_path, None)


@pytest.mark.parametrize("name", ["n.csv", "../m.csv", "lists"])
def test_a_table_that_is_not_in_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    put(tmp_path / "raw" / "m.csv", b"")
    put(tmp_path / "m.csv", b"")
    (tmp_path / "raw" / "lists").mkdir()
    with pytest.raises(
        ValueError, match=rf"has no table '{name}' \(ingest\.table, a path in that folder\); known: m\.csv"
    ):
        find_table(tmp_path / "raw", name)


def test_a_table_that_is_a_link_elsewhere_is_not_read(tmp_path: Path) -> None:
    put(tmp_path / "secret" / "users.csv", b"user,password\n")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "m.csv").symlink_to(tmp_path / "secret" / "users.csv")
    (tmp_path / "raw" / "lists").symlink_to(tmp_path / "secret")
    for name in (None, "m.csv", "lists/users.csv"):
        with pytest.raises(ValueError, match=r"\.csv is a link that leads outside the folder$"):
            find_table(tmp_path / "raw", name)


def test_a_table_of_more_rows_than_its_bytes_can_hold_is_refused(tmp_path: Path) -> None:
    names = pa.DictionaryArray.from_arrays(pa.array(np.zeros(FREE_ROWS + 1, np.int8)), pa.array(["a.png"]))
    table = pa.table({"path": names, "label": names})
    pq.write_table(table[:FREE_ROWS], tmp_path / "m.parquet")
    assert read_table(tmp_path / "m.parquet").num_rows == FREE_ROWS
    pq.write_table(table, tmp_path / "m.parquet")
    with pytest.raises(ValueError, match=r"m\.parquet says it has 1000001 rows, in \d+ bytes: a decompression bomb is"):
        read_table(tmp_path / "m.parquet")


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_an_empty_file_is_no_table(name: str, tmp_path: Path) -> None:
    file = put(tmp_path / name, b"")
    if name == "m.csv":
        assert read_table(file).column_names == []
        return
    with pytest.raises(ValueError, match=r"m\.parquet is not a readable Parquet file: "):
        read_table(file)


def test_a_first_line_without_end_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_HEADER", 100)
    with pytest.raises(ValueError, match=r"m\.csv is not a CSV table: line 1: more than 100 characters$"):
        read_table(put(tmp_path / "m.csv", b"path,label" * 20))
    assert read_table(put(tmp_path / "m.csv", b"path,label\n" + b"a,b\n" * 90)).num_rows == 90


def test_a_path_that_is_no_folder_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is a file: give its folder as ingest\.path and m\.csv as ingest\.table"):
        find_table(put(tmp_path / "m.csv", b""), None)
    with pytest.raises(ValueError, match=r"nowhere does not exist: put the data there"):
        find_table(tmp_path / "nowhere", None)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([" a ", None, "", "7"]),
        pa.array([" a ", None, "", "7"], pa.large_string()),
        pa.array(["a", None, " ", "7"]).dictionary_encode(),
        pa.chunked_array([["a"], [None, ""], ["7"]]),
    ],
)
def test_text_is_stripped_and_empty_text_is_none(column: pa.Array) -> None:
    assert texts(pa.table({"label": column}), "label", key="k", where="m") == ["a", None, None, "7"]


def test_whole_numbers_are_text() -> None:
    table = pa.table({"label": pa.array([7, None, -1], pa.int8()), "none": pa.nulls(3)})
    assert texts(table, "label", key="k", where="m") == ["7", None, "-1"]
    assert texts(table, "none", key="k", where="m") == [None] * 3


def test_a_column_that_is_missing_or_no_text_is_refused() -> None:
    table = pa.table({"file": ["a"], "speaker": ["b"], "lable": [1.5]})
    with pytest.raises(
        ValueError, match=r"^m has no column 'label' \(ingest\.columns\.label\); its columns: lable, file, speaker$"
    ):
        texts(table, "label", key="ingest.columns.label", where="m")
    with pytest.raises(
        ValueError, match=r"m: the column 'lable' \(k\) holds double: write it as text or whole numbers"
    ):
        texts(table, "lable", key="k", where="m")
    with pytest.raises(ValueError, match=r"its columns: none"):
        texts(pa.table({}), "label", key="k", where="m")


def test_groups_are_none_unless_there_or_asked_for() -> None:
    table = pa.table({"group": ["g"], "writer": ["w"]})
    assert groups(table, "group", where="m") == ["g"]
    assert groups(table, "writer", where="m") == ["w"]
    assert groups(without(table, ["group"]), "group", where="m") == [None]
    with pytest.raises(ValueError, match=r"m has no column 'writter' \(ingest\.columns\.group\); its columns: writer"):
        groups(table, "writter", where="m")


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["0", "TRUE", "", "1.0", " false "]),
        pa.array([0, 1, None, 1, 0], pa.int8()),
        pa.array([False, True, None, True, False]),
        pa.array([0.0, 1.0, None, 1.0, 0.0]),
    ],
)
def test_yes_and_no_are_read_of_whatever_type(column: pa.Array) -> None:
    table = pa.table({"same": column})
    assert [said for said, _ in flags(table, "same", key="k", where="m")] == [False, True, None, True, False]
    assert {wrong for _, wrong in flags(table, "same", key="k", where="m")} == {None}


def test_what_is_neither_yes_nor_no_is_said() -> None:
    table = pa.table({"forged": ["1", "maybe", "2", None], "w": pa.array([0.5, 1, 0, float("nan")])})
    assert forgeries(table, "forged", where="m") == [
        (True, None),
        (None, "forged is 'maybe', neither 0 nor 1"),
        (None, "forged is '2', neither 0 nor 1"),
        (None, None),
    ]
    assert [wrong for _, wrong in flags(table, "w", key="k", where="m")] == [
        "w is '0.5', neither 0 nor 1",
        None,
        None,
        "w is 'nan', neither 0 nor 1",
    ]
    with pytest.raises(ValueError, match=r"the column 'x' \(k\) holds list"):
        flags(pa.table({"x": [[1]]}), "x", key="k", where="m")


def test_nothing_is_forged_unless_a_column_says_so() -> None:
    table = pa.table({"fake": [1]})
    assert forgeries(table, "forged", where="m") == [(False, None)]
    assert forgeries(table, "fake", where="m") == [(True, None)]
    with pytest.raises(ValueError, match=r"m has no column 'forget' \(ingest\.columns\.forged\); its columns: fake"):
        forgeries(table, "forget", where="m")


def test_what_is_without_a_column_lacks_only_it() -> None:
    table = pa.table({"a": [1], "b": [2]})
    assert without(table, ["a", "a", "c"]).column_names == ["b"]


def test_text_stands_as_it_was_written(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "\u00e9")
    table = read_table(written(tmp_path, f"path\n{decomposed}\n"))
    assert texts(table, "path", key="k", where="m") == [decomposed]

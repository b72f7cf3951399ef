from __future__ import annotations

import unicodedata
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise.data.pair_tables import first_said, joined, open_pairs, settled, stated_groups
from likewise.data.raw import PairRows, Source
from likewise.data.sources import open_source
from likewise.data.tables import Columns
from tests.data.pictures import encoded, noise, put

PNG = encoded(noise(1))


def listed(root: Path, *rows: str, header: str = "path_a,path_b,same") -> Source:
    put(root / "pairs.csv", "\n".join([header, *rows]).encode())
    return open_pairs(root)


def given_rows(*rows: tuple[str | None, str | None, bool | None], groups: tuple[str | None, ...] = ()) -> PairRows:
    left, right, same = zip(*rows, strict=True)
    return PairRows(
        left, right, same, (None,) * len(rows), groups or (None,) * len(rows), pa.table({"n": range(len(rows))})
    )


def test_samples_are_the_distinct_files_and_rows_the_pairs(tmp_path: Path) -> None:
    for name in ("b.png", "a/1.png", "c.png"):
        put(tmp_path / name, PNG + name.encode())
    source = listed(
        tmp_path,
        "b.png,a/1.png,1,g,7",
        "./c.png,b.png,False,,",
        "gone.png,../out.png,0,h,8",
        ",c.png,1,,",
        "c.png,,1,,",
        "c.png,c.png,0,,",
        "c.png,a/1.png,2,,",
        "c.png,a/1.png,,,",
        header="path_a,path_b,same,group,camera",
    )
    assert [(raw.id, raw.label, raw.group, raw.refused) for raw in source] == [
        ("../out.png", None, None, "its path leads outside the folder"),
        ("a/1.png", None, None, None),
        ("b.png", None, None, None),
        ("c.png", None, None, None),
        ("gone.png", None, None, "no such file"),
    ]
    pairs = source.pairs
    assert pairs is not None
    assert list(zip(pairs.left, pairs.right, pairs.same, pairs.wrong, strict=True)) == [
        ("b.png", "a/1.png", True, None),
        ("c.png", "b.png", False, None),
        ("gone.png", "../out.png", False, None),
        (None, "c.png", True, "path_a is empty"),
        ("c.png", None, True, "path_b is empty"),
        ("c.png", "c.png", False, "both sides are one file: c.png"),
        ("c.png", "a/1.png", None, "same is '2', neither 0 nor 1"),
        ("c.png", "a/1.png", None, "same is empty"),
    ]
    assert pairs.groups == ("g", None, "h", *(None,) * 5)
    assert pairs.carried.to_pydict() == {"camera": ["7", None, "8", *(None,) * 5]}
    assert source.read(source.raws[2]) == PNG + b"b.png"
    assert source.carried is None


def test_columns_have_other_names_and_types_and_ids_are_composed(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "\u00e9.png")
    put(tmp_path / "lists" / "one.png", PNG)
    put(tmp_path / "lists" / decomposed, PNG)
    table = pa.table({"de": ["one.png"], "en": [decomposed], "match": [True], "n": pa.array([3], pa.int8())})
    pq.write_table(table, put(tmp_path / "lists/t.parquet", b""))
    columns = Columns(left="de", right="en", same="match")
    source = open_source("pairs", tmp_path, table="lists/t.parquet", columns=columns)
    assert [raw.id for raw in source] == ["lists/one.png", "lists/\u00e9.png"]
    assert source.pairs is not None
    assert source.pairs.same == (True,)
    assert source.pairs.carried.schema.field("n").type == pa.int8()
    assert source.read(source.raws[1]) == PNG


def test_a_table_without_the_columns_says_which_it_has(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"has no column 'path_b' \(ingest\.columns\.right\); its columns: path_a, sane"
    ):
        listed(tmp_path, "a,1", header="path_a,sane")
    with pytest.raises(ValueError, match=r"has no column 'same' \(ingest\.columns\.same\); its columns: sane"):
        listed(tmp_path, "a,b,1", header="path_a,path_b,sane")
    with pytest.raises(ValueError, match=r"^the source 'pairs' at .* is empty: nothing in it is a sample"):
        listed(tmp_path)
        open_source("pairs", tmp_path)


def test_unusable_rows_still_join_and_genuine_ones_alone_do_where_asked() -> None:
    rows = given_rows(("d", "c", True), ("c", "b", False), ("x", "y", None), (None, "y", True))
    assert joined(rows) == {"d": "b", "c": "b", "b": "b", "x": "x", "y": "x"}
    assert joined(rows, genuine=True) == {"d": "c", "c": "c"}


def test_a_group_is_said_or_inherited_from_what_pairs_join() -> None:
    pairs = (
        ("a", "b", True),
        ("b", "c", False),
        ("e", "f", True),
        ("f", "g", True),
        ("g", "h", True),
        ("k", "l", False),
    )
    rows = given_rows(*pairs, groups=("G", None, "G", None, "H", None))
    assert stated_groups(rows) == {"a": "G", "b": "G", "c": "G", "e": "G", "f": "G", "g": "H", "h": "H"}
    with pytest.raises(ValueError, match=r"^b is of two groups, G \(row 1\) and H \(row 2\): give each file one group"):
        stated_groups(given_rows(("a", "b", True), ("b", "c", True), groups=("G", "H")))


def test_the_first_row_that_says_anything_counts() -> None:
    rows = given_rows(("a", "b", True), ("b", "c", True), ("c", "a", True))
    assert first_said(rows, [None, "test", "train"]) == {"b": ("test", 1), "c": ("test", 1), "a": ("train", 2)}


def frame(splits: dict[str, str], groups: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame(
        {"id": [*splits], "split": [*splits.values()], "group": [groups.get(name, name) for name in splits]}
    )


def test_every_reason_has_its_words() -> None:
    rows = given_rows(
        ("a", "b", True),
        ("b", "a", True),
        ("c", "d", True),
        ("d", "c", False),
        ("a", "lost", False),
        ("c", "copy", True),
        ("a", "t", False),
        ("a", "d", True),
        ("b", "d", False),
        ("d", "b", False),
        ("t", "u", False),
    ).resolved({"copy": "c"})
    samples = frame(dict.fromkeys("abcd", "train") | {"t": "test", "u": "test"}, {"a": "g", "b": "g"})
    stated = ["train", *(None,) * 7, "train", None, "test"]
    found = settled(rows, samples, {"lost": "empty file"}, stated)
    assert found.kept.values.tolist() == [["a", "b", 1, 0], ["b", "d", 0, 8], ["t", "u", 0, 10]]
    assert list(found.kept.columns) == ["left", "right", "same", "carried.n"]
    assert dict(zip(found.rejected["row"], found.rejected["reason"], strict=True)) == {
        2: "repeats row 1",
        3: "contradicts row 4",
        4: "contradicts row 3",
        5: "a file cannot be used: lost (empty file)",
        6: "both sides have one content: c",
        7: "its files are in two splits: a (train), t (test)",
        8: "a genuine pair between two groups: a (g), d (d)",
        10: "repeats row 9",
    }
    other = settled(rows, samples, {"lost": "empty file"}, [*stated[:6], "test", *stated[7:]])
    reasons = dict(zip(other.rejected["row"], other.rejected["reason"], strict=True))
    assert reasons[7] == "a file is named in two splits: a is in train by row 1, here in test"


NAMES = st.sampled_from("abcdef")
SPLITS = {"a": "train", "b": "train", "c": "train", "d": "test", "e": "test"}


@given(st.lists(st.tuples(NAMES, NAMES, st.booleans()), min_size=1, max_size=16))
@settings(max_examples=80, deadline=None)
def test_what_is_kept_is_what_a_slow_look_keeps_and_totals_add_up(pairs: list[tuple[str, str, bool]]) -> None:
    """f cannot be used, c is an exact copy of b; a row is kept where no earlier or contrary row says it."""
    rows = given_rows(*pairs).resolved({"c": "b"})
    found = settled(rows, frame(SPLITS, dict.fromkeys(SPLITS, "g")), {"f": "gone"})
    assert len(found.kept) + len(found.rejected) == len(pairs)
    assert sorted([*found.rejected["row"] - 1, *found.kept["carried.n"]]) == list(range(len(pairs)))
    plain = [("b" if a == "c" else a, "b" if b == "c" else b, same) for a, b, same in pairs]
    expected = []
    for row, (a, b, same) in enumerate(plain):
        usable = "f" not in (a, b) and a != b and SPLITS[a] == SPLITS[b]
        others = [(i, s) for i, (x, y, s) in enumerate(plain) if {x, y} == {a, b}]
        if usable and all(s == same for _, s in others) and others[0][0] == row:
            expected.append([a, b, int(same), row])
    assert found.kept.values.tolist() == expected

from __future__ import annotations

import os
import shutil
import unicodedata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from likewise.data.folders import open_folder
from likewise.data.manifest import open_manifest
from likewise.data.raw import Source
from likewise.data.tables import Columns
from tests.data.pictures import class_folders, encoded, noise, put
from tests.real import real

PNG = encoded(noise(1))


def listed(root: Path, *rows: str, header: str = "path,label", table: str = "m.csv") -> Source:
    put(root / table, "\n".join([header, *rows]).encode())
    return open_manifest(root, table=table)


def refused(source: Source) -> dict[str, str | None]:
    return {raw.id: raw.refused for raw in source}


def test_rows_are_samples_with_class_group_and_all_that_is_carried(tmp_path: Path) -> None:
    for name in ("img/b.png", "img/a.png", "c.png"):
        put(tmp_path / name, PNG + name.encode())
    put(tmp_path / "notes.txt", b"no table")
    source = listed(
        tmp_path,
        "img/b.png,Ann,s1,train,007",
        "img/a.png,Bob,,test,",
        "./c.png,Ann,s2,train,1",
        header="path,label,group,split,camera",
    )
    assert [(raw.id, raw.label, raw.group, raw.path) for raw in source] == [
        ("c.png", "Ann", "s2", "c.png"),
        ("img/a.png", "Bob", None, "img/a.png"),
        ("img/b.png", "Ann", "s1", "img/b.png"),
    ]
    assert refused(source) == dict.fromkeys(["c.png", "img/a.png", "img/b.png"])
    assert source.carried is not None
    assert source.carried.to_pydict() == {"split": ["train", "test", "train"], "camera": ["1", None, "007"]}
    assert source.read(source.raws[2]) == PNG + b"img/b.png"
    assert source.reader.reach == "anywhere"


def test_a_parquet_carries_its_types_and_columns_may_have_other_names(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        put(tmp_path / name, PNG)
    table = pa.table(
        {
            "file": ["b.png", "a.png"],
            "speaker": pa.array([4, 12], pa.int64()),
            "session": pa.array([1, None], pa.int8()),
            "age": pa.array([None, 9], pa.int16()),
            "when": pa.array([0, 1], pa.timestamp("us", "UTC")),
        }
    )
    pq.write_table(table, tmp_path / "m.parquet")
    source = open_manifest(tmp_path, columns=Columns(path="file", label="speaker", group="session"))
    assert [(raw.id, raw.label, raw.group) for raw in source] == [("a.png", "12", None), ("b.png", "4", "1")]
    assert source.carried is not None
    assert source.carried.equals(table.select(["age", "when"]).take([1, 0]))


def test_paths_are_relative_to_the_table_and_stay_in_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    put(root / "img" / "a.png", PNG)
    put(root / "lists" / "b.png", PNG)
    put(tmp_path / "secret.png", PNG)
    put(tmp_path / "root2" / "c.png", PNG)
    source = listed(
        root,
        "../img/a.png,x",
        "b.png,x",
        f"{root}/img/../lists/b.png,x",
        "../../secret.png,x",
        "/etc/passwd,x",
        "../../root2/c.png,x",
        "..,x",
        "../img,x",
        "..\\img\\a.png,x",
        table="lists/m.csv",
    )
    outside = "its path leads outside the folder"
    assert refused(source) == {
        "img/a.png": None,
        "lists/b.png": None,
        "lists/b.png (row 3)": "duplicate of lists/b.png",
        "../../secret.png": f"{outside} (row 4)",
        "/etc/passwd": f"{outside} (row 5)",
        "../../root2/c.png": f"{outside} (row 6)",
        "..": f"{outside} (row 7)",
        "img": "not a regular file (row 8)",
        "img/a.png (row 9)": "duplicate of img/a.png",
    }


def test_links_are_followed_inside_the_root_only(tmp_path: Path) -> None:
    root = tmp_path / "root"
    put(root / "a.png", PNG)
    put(tmp_path / "outside" / "b.png", PNG)
    (root / "in.png").symlink_to("a.png")
    (root / "out.png").symlink_to(tmp_path / "outside" / "b.png")
    (root / "broken.png").symlink_to("nothing")
    (root / "folder").symlink_to(tmp_path / "outside")
    (root / "again").symlink_to(root)
    os.mkfifo(root / "pipe")
    names = ["in.png", "out.png", "broken.png", "folder/b.png", "again/a.png", "pipe"]
    outside = "a link that leads outside the folder"
    assert refused(listed(root, *(f"{name},x" for name in names))) == {
        "in.png": None,
        "out.png": f"{outside} (row 2)",
        "broken.png": "a broken link (row 3)",
        "folder/b.png": f"{outside} (row 4)",
        "again/a.png": None,
        "pipe": "not a regular file (row 6)",
    }
    (tmp_path / "link").symlink_to(root)
    assert refused(open_manifest(tmp_path / "link", table="m.csv"))["in.png"] is None


def test_rows_that_cannot_be_samples_are_refused_with_their_number(tmp_path: Path) -> None:
    put(tmp_path / "a.png", PNG)
    source = listed(
        tmp_path, "gone.png,x", ",x", "a.png, ", "a.png/b.png,x", f"{'n' * 300}.png,x", '"a\0.png",x', '"",""'
    )
    assert refused(source) == {
        "gone.png": "no such file (row 1)",
        "row 2": "no path (row 2)",
        "a.png": "no label (row 3)",
        "a.png/b.png": "no such file (row 4)",
        f"{'n' * 300}.png": "cannot be read: File name too long (row 5)",
        "a\0.png": "no such file (row 6)",
        "row 7": "no path (row 7)",
    }


def test_a_file_named_again_is_a_duplicate_and_under_two_classes_a_conflict(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        put(tmp_path / name, PNG)
    source = listed(
        tmp_path, "a.png,x", "./a.png,x", "b.png,x", "b.png,y", "b.png,x", "b.png,", "c.png,", "c.png,x", "a.png,x"
    )
    assert refused(source) == {
        "a.png": None,
        "a.png (row 2)": "duplicate of a.png",
        "a.png (row 9)": "duplicate of a.png",
        "b.png": "label conflict with row 4 (class y) (row 3)",
        "b.png (row 4)": "label conflict with row 3 (class x) (row 4)",
        "b.png (row 5)": "label conflict with row 4 (class y) (row 5)",
        "b.png (row 6)": "no label (row 6)",
        "c.png": None,
        "c.png (row 7)": "no label (row 7)",
    }
    assert {raw.id: raw.label for raw in source}["c.png"] == "x"


def test_a_forgery_imitates_its_label_and_has_no_class(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png", "d.png", "e.png"):
        put(tmp_path / name, PNG)
    source = listed(
        tmp_path,
        "a.png,Ann,north,0",
        "b.png,Ann,,1",
        "c.png,Ann,,",
        "d.png,Ann,,yes",
        "e.png,,,1",
        "c.png,Ann,,true",
        "b.png,Ann,south,True",
        header="path,label,group,forged",
    )
    assert [(raw.id, raw.label, raw.forges, raw.group) for raw in source] == [
        ("a.png", "Ann", None, "north"),
        ("b.png", None, "Ann", None),
        ("b.png (row 7)", None, "Ann", "south"),
        ("c.png", "Ann", None, None),
        ("c.png (row 6)", None, "Ann", None),
        ("d.png", "Ann", None, None),
        ("e.png", None, None, None),
    ]
    assert refused(source) == {
        "a.png": None,
        "b.png": None,
        "b.png (row 7)": "duplicate of b.png",
        "c.png": "label conflict with row 6 (a forgery of class Ann) (row 3)",
        "c.png (row 6)": "label conflict with row 3 (class Ann) (row 6)",
        "d.png": "forged is 'yes', neither 0 nor 1 (row 4)",
        "e.png": "no label (row 5)",
    }
    assert source.carried is not None
    assert source.carried.column_names == []


def test_ids_and_classes_are_in_unicodes_composed_form(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "\u00e9")
    put(tmp_path / f"{decomposed}.png", PNG)
    source = listed(tmp_path, f"{decomposed}.png,{decomposed}")
    assert (source.raws[0].id, source.raws[0].label) == ("\u00e9.png", "\u00e9")
    assert source.read(source.raws[0]) == PNG


def test_a_table_without_the_columns_says_which_it_has(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError,
        match=r"^the table m\.csv has no column 'path' \(ingest\.columns\.path\); its columns: paths, labels$",
    ):
        listed(tmp_path, "a.png,x", header="paths,labels")


def test_the_order_of_rows_does_not_matter(tmp_path: Path) -> None:
    class_folders(tmp_path)
    names = [f"{name}/{number:03d}.png" for name in "abc" for number in range(3)]
    rows = [f"{name},{name[0]},{number}" for number, name in enumerate(names)]
    one, two = (listed(tmp_path, *order, header="path,label,n") for order in (rows, rows[::-1]))
    assert one.raws == two.raws
    assert one.carried is not None
    assert one.carried.equals(two.carried)


def test_real_faces_are_the_same_as_their_folder(tmp_path: Path) -> None:
    folder = open_folder(real("orl-faces"))
    shutil.copytree(real("orl-faces"), tmp_path / "faces")
    source = listed(tmp_path, *(f"faces/{raw.path};{raw.label}" for raw in folder), header="path;label")
    assert len(source) == 400
    assert [(raw.id, raw.label, raw.refused) for raw in source] == [(f"faces/{r.id}", r.label, None) for r in folder]

from __future__ import annotations

import os
import re
import tarfile
import unicodedata
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from likewise.data.folders import open_tree
from likewise.data.raw import Source
from likewise.data.spelled import spelled
from likewise.data.tables import Columns
from tests.data.pictures import put

SPELLING = r"(?P<who>[^_/]+)_(?P<take>\d+)\.txt"


def described(match: re.Match[str]) -> dict[str, object]:
    return {"who": match["who"], "take": int(match["take"])}


def opened(path: Path) -> Source:
    columns = Columns(label="who", group="take")
    return spelled(open_tree(path), SPELLING, described, path=path, example="ann_3.txt", columns=columns)


def test_what_is_spelled_otherwise_is_none_of_it(tmp_path: Path) -> None:
    for name in ("ann_2.txt", "deep/er/ann_10.txt", "bob_1.txt", "bob.txt", ".hidden_1.txt", "__MACOSX/eve_1.txt"):
        put(tmp_path / name, name.encode())
    source = opened(tmp_path)
    assert [(raw.id, raw.label, raw.group, raw.path) for raw in source] == [
        ("ann_10.txt", "ann", "10", "deep/er/ann_10.txt"),
        ("ann_2.txt", "ann", "2", "ann_2.txt"),
        ("bob_1.txt", "bob", "1", "bob_1.txt"),
    ]
    assert source.carried is not None
    assert source.carried.num_columns == 0
    assert source.read(source.raws[0]) == b"deep/er/ann_10.txt"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_two_of_one_name_the_last_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for name, content in (("x/ann_1.txt", "first"), ("x/ann_1.txt", "second"), ("x/bob_1.txt", "")):
            file.writestr(name, content)
    source = opened(tmp_path / "a.zip")
    replaced = "replaced by a later file with its name"
    assert {raw.id: raw.refused for raw in source} == {"ann_1.txt": None, "ann_1.txt (2)": replaced, "bob_1.txt": None}
    assert source.read(source.raws[0]) == b"second"


def test_names_that_lead_outside_or_are_not_utf8_are_refused(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as file:
        for name in ("../ann_1.txt", "/etc/ann_2.txt", "ann_3.txt"):
            file.addfile(tarfile.TarInfo(name), BytesIO(b""))
        link = tarfile.TarInfo("ann_4.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(link)
    outside = "its name leads outside the archive"
    assert {raw.id: raw.refused for raw in opened(archive)} == {
        "ann_1.txt": outside,
        "ann_2.txt": outside,
        "ann_3.txt": None,
        "ann_4.txt": "a link, which is not followed in an archive",
    }
    root = put(tmp_path / "folder" / "ann_1.txt", b"").parent
    Path(os.fsdecode(os.fsencode(root) + b"/b\xffb_1.txt")).write_bytes(b"")
    (root / "eve_1.txt").symlink_to(archive)
    source = opened(root)
    assert {raw.id: raw.refused for raw in source} == {
        "ann_1.txt": None,
        "b\\xffb_1.txt": "its name is not UTF-8",
        "eve_1.txt": "a link that leads outside the folder",
    }
    assert source.raws[1].label == "b\\xffb"


def test_ids_are_in_unicodes_composed_form(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "é_1.txt")
    (raw,) = opened(put(tmp_path / "x" / decomposed, b"").parent)
    assert (raw.id, raw.path) == ("é_1.txt", decomposed)


def test_no_such_file_is_refused_with_an_example(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no file such as ann_3\.txt: give the folder or the archive"):
        opened(tmp_path)

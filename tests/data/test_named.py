from __future__ import annotations

import gzip
import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from likewise.data import named
from likewise.data.downloads import CACHE, CHECKSUM, MIRROR, Download, checksum_of
from likewise.data.named import FILES, GARMENTS, open_fashion_mnist
from likewise.data.sources import SOURCES, open_source
from likewise.data.tables import Columns
from tests.data.pictures import class_folders, encoded, noise, put, zipped
from tests.data.test_arrays import mnist
from tests.data.web import Web, cache, web
from tests.real import real

__all__ = ["cache", "web"]


@pytest.fixture
def faces(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> bytes:
    """Two people in an archive on the mirror, with the checksum that they have."""
    folder = class_folders(tmp_path / "made", classes=["s1", "s2"])
    for file in folder.rglob("*.png"):
        file.rename(file.with_name(f"{int(file.stem) + 1}.png"))
    content = zipped(folder, tmp_path / "att_faces.zip").read_bytes()
    web.files["orl-faces/att_faces.zip"] = content
    checksum = f"md5:{hashlib.md5(content).hexdigest()}"
    monkeypatch.setitem(FILES, "orl-faces", (Download("http://nowhere.invalid/att_faces.zip", len(content), checksum),))
    monkeypatch.setenv(MIRROR, web.address)
    return content


def empty(tmp_path: Path) -> Path:
    put(tmp_path / "raw" / "README.md", b"Your raw input goes here")
    put(tmp_path / "raw" / ".gitignore", b"*")
    put(tmp_path / "raw" / "faces.dvc", b"outs:")
    put(tmp_path / "raw" / "splits.csv", b"id,split")
    return tmp_path / "raw"


def test_every_name_is_a_source_with_published_files() -> None:
    assert set(FILES) <= set(SOURCES)
    for files in FILES.values():
        names = [file.name for file in files]
        assert len(set(names)) == len(names) > 0
        for file in files:
            assert CHECKSUM.fullmatch(file.checksum)
            assert re.match(r"https?://[\w.-]+/", file.url)
            assert file.size is None or file.size > 4000


def test_fetched_from_the_mirror_once_and_then_from_the_cache(
    web: Web, faces: bytes, tmp_path: Path, cache: Path
) -> None:
    source = open_source("orl-faces", empty(tmp_path))
    assert [raw.id for raw in source] == ["s1/1.png", "s1/2.png", "s1/3.png", "s2/1.png", "s2/2.png", "s2/3.png"]
    assert [raw.label for raw in source] == ["s1"] * 3 + ["s2"] * 3
    assert source.carried is not None
    assert source.carried["take"].to_pylist() == [1, 2, 3, 1, 2, 3]
    assert source.read(source.raws[4]) == encoded(noise(1001))
    assert web.asked == ["orl-faces/att_faces.zip"]
    web.files.clear()
    assert open_source("orl-faces", empty(tmp_path)).raws == source.raws
    assert web.asked == ["orl-faces/att_faces.zip"]
    assert [file.relative_to(cache).as_posix() for file in cache.rglob("*.zip")] == ["orl-faces/att_faces.zip"]


def test_a_copy_is_used_and_nothing_asked(web: Web, faces: bytes, tmp_path: Path) -> None:
    zip_file = put(tmp_path / "raw" / "faces.zip", faces)
    folder = tmp_path / "made"
    raws = [open_source("orl-faces", path).raws for path in (zip_file, zip_file.parent, folder)]
    assert [raw.id for raw in raws[0]] == [raw.id for raw in raws[1]] == [raw.id for raw in raws[2]]
    assert web.asked == []


def test_what_cannot_be_fetched_is_one_line_that_says_all(web: Web, faces: bytes, tmp_path: Path, cache: Path) -> None:
    raw = empty(tmp_path)
    web.files["orl-faces/att_faces.zip"] = b"x" * len(faces)
    expected = f"md5:{hashlib.md5(faces).hexdigest()}"
    for content, words in (
        (b"x" * len(faces), rf"is another file than is meant: its checksum is md5:\w+, and not {expected}"),
        (faces + b"x", f"is another file than is meant: longer than {len(faces)} bytes"),
        (None, "cannot be fetched: 404 Not Found"),
    ):
        web.files = {"orl-faces/att_faces.zip": content} if content else {}
        with pytest.raises(
            ValueError, match=rf"^orl-faces: {web.address}/orl-faces/att_faces\.zip {words}; "
        ) as caught:
            open_source("orl-faces", raw)
        assert str(caught.value).endswith(
            f"; put att_faces.zip into {raw} by hand, or set LIKEWISE_MIRROR to an http(s) address that has "
            f"orl-faces/att_faces.zip (fetched files are kept in {cache}/orl-faces; LIKEWISE_DOWNLOADS moves that)"
        )
        assert not list(cache.rglob("*.zip"))


def test_without_a_mirror_the_published_address_is_asked(
    faces: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(MIRROR)
    with pytest.raises(ValueError, match=r"^orl-faces: http://nowhere\.invalid/att_faces\.zip cannot be fetched: no"):
        open_source("orl-faces", empty(tmp_path))


def test_a_checksum_of_ones_own_stands_in_for_the_published(web: Web, faces: bytes, tmp_path: Path) -> None:
    other = zipped(class_folders(tmp_path / "other", classes=["s9"], each=2), tmp_path / "b.zip")
    for file in (tmp_path / "other").rglob("*.png"):
        file.rename(file.with_name(f"{int(file.stem) + 1}.png"))
    other = zipped(tmp_path / "other", tmp_path / "b.zip")
    web.files["orl-faces/att_faces.zip"] = other.read_bytes() + bytes(0)
    raw = empty(tmp_path)
    source = open_source("orl-faces", raw, checksums={"att_faces.zip": checksum_of(other)})
    assert {sample.label for sample in source} == {"s9"}
    with pytest.raises(ValueError, match=r"unknown file of ingest\.checksums 'faces\.zip'; known: att_faces\.zip"):
        open_source("orl-faces", raw, checksums={"faces.zip": checksum_of(other)})
    copy = put(raw / "b.zip", other.read_bytes())
    with pytest.raises(ValueError, match=r"^ingest\.checksums: .*b\.zip has sha256:\w+, and not sha256:0+$"):
        open_source("orl-faces", raw, checksums={"b.zip": f"sha256:{'0' * 64}"})
    assert len(open_source("orl-faces", copy, checksums={"b.zip": checksum_of(other)})) == 2


def test_a_path_that_is_not_there_is_no_download(web: Web, faces: bytes, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere does not exist: put the data there, or give an empty folder to h"):
        open_source("mnist", tmp_path / "nowhere")


@pytest.mark.parametrize("name", FILES)
def test_something_else_in_the_folder_is_refused_and_not_passed_over(
    name: str, web: Web, faces: bytes, tmp_path: Path
) -> None:
    put(tmp_path / "raw" / "notes" / "todo.txt", b"text")
    with pytest.raises(ValueError, match=r"raw (has no train-images-idx3|holds no file such as )") as caught:
        open_source(name, tmp_path / "raw")
    assert len(str(caught.value).splitlines()) == 1
    assert web.asked == []


def test_several_files_lie_in_one_folder(
    web: Web, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = mnist(tmp_path / "idx")
    files = []
    for file in sorted(made.iterdir()):
        content = gzip.compress(file.read_bytes())
        web.files[f"fashion-mnist/{file.name}.gz"] = content
        checksum = f"sha256:{hashlib.sha256(content).hexdigest()}"
        files.append(Download(f"http://nowhere.invalid/{file.name}.gz", len(content), checksum))
    monkeypatch.setitem(FILES, "fashion-mnist", tuple(files))
    monkeypatch.setenv(MIRROR, f"{web.address}/")
    source = open_source("fashion-mnist", empty(tmp_path))
    assert len(web.asked) == 4
    plain = open_source("idx", made)
    assert [raw.id for raw in source] == [raw.id for raw in plain]
    assert [raw.label for raw in source] == [GARMENTS[int(raw.label or "")] for raw in plain]
    assert source.carried == plain.carried
    np.testing.assert_array_equal(source.read(source.raws[0]), plain.read(plain.raws[0]))


def test_labels_that_are_no_garments_are_refused(tmp_path: Path) -> None:
    made = mnist(tmp_path / "idx")
    labels = made / "t10k-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1] + b"\x0a")
    with pytest.raises(ValueError, match=r"has the label 10, and Fashion-MNIST only 0 to 9"):
        open_fashion_mnist(made)


# What others publish of the contents of MNIST's files, which packing anew does not change: MD5, as in torchvision's
# earlier releases and many others.
CONTENTS = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


@pytest.mark.parametrize("name", CONTENTS)
def test_real_mnist_has_the_published_contents(name: str) -> None:
    content = gzip.decompress((real("mnist") / f"{name}.gz").read_bytes())
    assert hashlib.md5(content).hexdigest() == CONTENTS[name]


def test_real_omniglot_is_fetched_from_a_mirror_by_its_published_checksum(
    web: Web, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = real("omniglot") / "images_background_small1.zip"
    web.files["omniglot-small1/images_background_small1.zip"] = file.read_bytes()
    monkeypatch.setenv(MIRROR, web.address)
    source = open_source("omniglot-small1", empty(tmp_path))
    folder = open_source("folder", file)
    assert [(raw.id, raw.label, raw.group) for raw in source] == [(raw.id, raw.label, raw.group) for raw in folder]
    assert source.read(source.raws[7]) == folder.read(folder.raws[7])
    assert source.carried is not None
    assert set(source.carried["split"].to_pylist()) == {"train"}
    assert set(source.carried["drawer"].to_pylist()) == set(range(1, 21))


def test_real_mnist_is_fetched_from_a_mirror_by_checksums_of_ones_own(
    web: Web, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = sorted(real("mnist").glob("*.gz"))
    web.files = {f"mnist/{file.name}": file.read_bytes() for file in files}
    monkeypatch.setenv(MIRROR, web.address)
    raw = empty(tmp_path)
    with pytest.raises(ValueError, match=r"^mnist: .*train-images-idx3-ubyte\.gz is another file than is meant: "):
        open_source("mnist", raw)
    checksums = {file.name: checksum_of(file) for file in files}
    source = open_source("mnist", raw, checksums=checksums)
    assert len(source) == 70_000
    assert source.carried is not None
    assert source.carried["split"].to_pylist().count("test") == 10_000


def test_real_faces_and_recordings_are_used_where_they_lie(cache: Path) -> None:
    faces = open_source("orl-faces", real("orl-faces"))
    folder = open_source("folder", real("orl-faces"))
    assert [(raw.id, raw.label, raw.refused) for raw in faces] == [(raw.id, raw.label, raw.refused) for raw in folder]
    recordings = open_source("fsdd", real("fsdd"), columns=Columns(label="digit"))
    assert len(recordings) == 3000


def test_the_page_says_where_each_file_comes_from() -> None:
    text = (Path(named.__file__).parents[3] / "docs/formats.md").read_text(encoding="utf-8")
    for name, files in FILES.items():
        assert f"`{name}`" in text
        for file in files:
            assert file.url.rpartition("/")[2] in text
    assert all(f"`{variable}`" in text for variable in (MIRROR, CACHE))

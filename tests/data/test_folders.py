import gzip
import inspect
import io
import os
import sys
import tarfile
import tracemalloc
import unicodedata
import zipfile
from pathlib import Path

import pytest

from likewise.data.folders import open_folder
from likewise.data.raw import MAX_BYTES, Raw, Source, Unreadable
from tests.data.pictures import class_folders, encoded, noise, put, tarred, zipped
from tests.real import real

PNG = encoded(noise(1))


def seen(source: Source) -> dict[str, str | None]:
    return {raw.id: raw.refused for raw in source}


def contents(source: Source) -> list[tuple[str, str | None, str | None, object]]:
    return [(raw.id, raw.label, raw.group, source.read(raw)) for raw in source]


def test_a_folder_is_a_class_and_the_folder_above_its_group(tmp_path: Path) -> None:
    put(tmp_path / "Balinese" / "character01" / "0108_01.png", PNG)
    put(tmp_path / "plain" / "1.png", PNG)
    put(tmp_path / "x" / "y" / "z" / "1.png", PNG)
    assert list(open_folder(tmp_path)) == [
        Raw("Balinese/character01/0108_01.png", "Balinese/character01", "Balinese/character01/0108_01.png", "Balinese"),
        Raw("plain/1.png", "plain", "plain/1.png"),
        Raw("x/y/z/1.png", "x/y/z", "x/y/z/1.png", "x/y"),
    ]


def test_what_is_no_data_is_ignored_and_loose_files_have_no_class(tmp_path: Path) -> None:
    class_folders(tmp_path, classes=["a"], each=1)
    for junk in (".DS_Store", ".git/config", "a/.hidden.png", "a/Thumbs.db", "__MACOSX/a/1.png", "desktop.ini"):
        put(tmp_path / junk, PNG)
    for aside in ("README.md", "README", "README.txt", "a.dvc", ".gitignore"):
        put(tmp_path / aside, b"text")
    put(tmp_path / "a" / "README.md", b"counted here, as any other file")
    put(tmp_path / "loose.png", PNG)
    assert seen(open_folder(tmp_path)) == {"a/000.png": None, "a/README.md": None, "loose.png": "no class folder"}
    assert "loose.png" not in seen(open_folder(tmp_path, skip=["loose.png"]))


@pytest.mark.parametrize("below", ["", "top/", "./", "./top/"])
@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_an_archive_is_the_same_as_its_folder(tmp_path: Path, kind: str, below: str) -> None:
    folder = class_folders(tmp_path / "folder", classes=["a", "nested/b", "nested/c"])
    put(folder / "README.md", b"text")
    archive = tmp_path / f"data.{kind}"
    if kind == "zip":
        zipped(folder, archive, below=below)
    else:
        tarred(folder, archive, mode=f"w:{kind.partition('.')[2]}", below=below)
    source = open_folder(archive)
    assert contents(source) == contents(open_folder(folder))
    assert source.raws[0].path == below.removeprefix("./" if kind == "zip" else "") + "a/000.png"
    assert source.reader.reach == ("forward" if kind.startswith("tar.") else "anywhere")


def test_one_class_folder_alone_is_no_top_folder(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "folder", classes=["only"])
    assert contents(open_folder(zipped(folder, tmp_path / "a.zip"))) == contents(open_folder(folder))
    below = open_folder(zipped(folder, tmp_path / "b.zip", below="top/"))
    assert {raw.label for raw in below} == {"only"}


def test_two_top_folders_stay(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "folder", classes=["one/a", "two/b"])
    assert {raw.label for raw in open_folder(zipped(folder, tmp_path / "a.zip"))} == {"one/a", "two/b"}


def test_files_beside_the_top_folder_do_not_hide_it(tmp_path: Path) -> None:
    archive = zipped(class_folders(tmp_path / "folder", each=1), tmp_path / "a.zip", below="top/")
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("__MACOSX/._top", "junk")
        file.writestr("LICENSE", "text")
        file.writestr("top/notes.txt", "text")
        file.writestr("top/README.md", "text")
    assert seen(open_folder(archive)) == {
        "LICENSE": "no class folder",
        "a/000.png": None,
        "b/000.png": None,
        "c/000.png": None,
        "notes.txt": "no class folder",
    }


def test_a_folder_with_one_archive_is_that_archive(tmp_path: Path) -> None:
    archive = zipped(class_folders(tmp_path / "folder"), put(tmp_path / "raw" / "data.zip", b""))
    put(tmp_path / "raw" / ".gitignore", b"/data.zip")
    put(tmp_path / "raw" / "data.zip.dvc", b"outs:")
    assert contents(open_folder(tmp_path / "raw")) == contents(open_folder(archive))
    put(tmp_path / "raw" / "other.zip", b"")
    assert seen(open_folder(tmp_path / "raw")) == {"data.zip": "no class folder", "other.zip": "no class folder"}


@pytest.mark.parametrize("content", [b"", b"not an archive", PNG])
def test_a_file_that_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ValueError, match=r"data\.zip is neither a folder nor a zip or tar archive"):
        open_folder(put(tmp_path / "data.zip", content))


def test_a_damaged_archive_is_refused_by_name(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "folder")
    whole = tarred(folder, tmp_path / "a.tar").read_bytes()
    cut = put(tmp_path / "cut.tar", whole[:3000])
    with pytest.raises(ValueError, match=r"the archive .*cut\.tar is damaged: "):
        open_folder(cut)
    packed = tarred(folder, tmp_path / "a.tgz", mode="w:gz").read_bytes()
    with pytest.raises(ValueError, match=r"cut\.tgz is damaged: "):
        open_folder(put(tmp_path / "cut.tgz", packed[:-400]))
    zip_bytes = bytearray(zipped(folder, tmp_path / "a.zip").read_bytes())
    zip_bytes[zip_bytes.index(b"PK\x01\x02")] = 0
    with pytest.raises(ValueError, match=r"bad\.zip is damaged: "):
        open_folder(put(tmp_path / "bad.zip", bytes(zip_bytes)))


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_tar_cut_short_anywhere_is_refused_and_never_shorter(tmp_path: Path, format: int) -> None:
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w", format=format) as file:
        for name in ("a/1.png", f"a/{'long' * 30}.png", "b/é.png"):
            info = tarfile.TarInfo(name)
            info.size = 700
            file.addfile(info, io.BytesIO(bytes(700)))
        end = file.offset
    whole = archive.read_bytes()
    assert len(open_folder(archive)) == 3
    for length in range(0, end + 512, 256):
        with pytest.raises(ValueError, match=r"a\.tar is (damaged: |neither a folder nor a zip or tar archive, or )"):
            open_folder(put(archive, whole[:length]))
    assert len(open_folder(put(archive, whole[: end + 512]))) == 3


def test_a_damaged_header_is_no_end_of_a_tar(tmp_path: Path) -> None:
    archive = tarred(class_folders(tmp_path / "folder"), tmp_path / "a.tar")
    content = bytearray(archive.read_bytes())
    place = content.index(b"b/001.png")
    content[place : place + 3] = b"\xff\xff\xff"
    with pytest.raises(ValueError, match=r"a\.tar is damaged: bad checksum, and no end mark"):
        open_folder(put(archive, bytes(content)))


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_a_compressed_tar_cut_short_is_refused(tmp_path: Path, kind: str, share: float) -> None:
    archive = tarred(class_folders(tmp_path / "folder", each=30), tmp_path / f"a.tar.{kind}", mode=f"w:{kind}")
    content = archive.read_bytes()
    with pytest.raises(ValueError, match=r"a\.tar\.\w+ is (damaged: |neither a folder nor a zip or tar archive, or )"):
        open_folder(put(archive, content[: int(share * len(content))]))


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_an_extension_of_a_header_cannot_fill_the_memory(tmp_path: Path, kind: bytes) -> None:
    archive = tmp_path / "a.tar.gz"
    with gzip.open(archive, "wb", compresslevel=1) as file:
        file.write(header("a/1.png", 0) + header("x", 1 << 26, kind) + bytes(1 << 26))
    tracemalloc.start()
    with pytest.raises(ValueError, match=rf"a\.tar\.gz is damaged: a header says {1 << 26} bytes$"):
        open_folder(archive)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 23


def test_a_tar_that_unpacks_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.tar.gz", "wb", compresslevel=1) as file:
        file.write(header("a/1.png", 8 << 40) + bytes(1 << 20))
    with pytest.raises(ValueError, match=r"a\.tar\.gz is damaged: it unpacks to more than 200 times its \d+ bytes"):
        open_folder(tmp_path / "a.tar.gz")


@pytest.mark.parametrize("size", [-1024, -512, -1])
def test_a_tar_that_leads_back_is_no_endless_list(tmp_path: Path, size: int) -> None:
    with pytest.raises(ValueError, match=rf"a\.tar is damaged: a header says {size} bytes$"):
        open_folder(put(tmp_path / "a.tar", header("a/1.png", 0) + header("a/2.png", size) + bytes(10240)))
    with tarfile.open(tmp_path / "b.tar", "w", format=tarfile.PAX_FORMAT) as file:
        for name in ("a/1.png", "a/2.png"):
            info = tarfile.TarInfo(name)
            info.pax_headers = {"comment": "x" * 10}
            file.addfile(info)
    record = f"size={size}".ljust(18, "\n").encode()
    content = (tmp_path / "b.tar").read_bytes().replace(b"comment=xxxxxxxxxx", record)
    with pytest.raises(ValueError, match=r"b\.tar is damaged: "):
        open_folder(put(tmp_path / "b.tar", content))


def test_places_outside_a_zip_are_refused(tmp_path: Path) -> None:
    archive = zipped(class_folders(tmp_path / "folder", classes=["a"], each=3), tmp_path / "a.zip")
    content = bytearray(archive.read_bytes())
    entries = [place for place in range(len(content)) if content[place : place + 4] == b"PK\x01\x02"]
    content[entries[0] + 42 : entries[0] + 46] = (1 << 30).to_bytes(4, "little")
    content[entries[1] + 20 : entries[1] + 24] = (1 << 31).to_bytes(4, "little")
    outside = "damaged in the archive: it lies outside"
    assert seen(open_folder(put(archive, bytes(content)))) == {
        "a/000.png": outside,
        "a/001.png": outside,
        "a/002.png": None,
    }


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_an_archive_that_vanishes_is_said(tmp_path: Path, kind: str) -> None:
    archive = tmp_path / f"a.{kind}"
    folder = class_folders(tmp_path / "folder")
    zipped(folder, archive) if kind == "zip" else tarred(folder, archive, mode=f"w:{kind.partition('.')[2]}")
    source = open_folder(archive)
    archive.unlink()
    with pytest.raises(ValueError, match=rf"^the archive .*a\.{kind} vanished before it was read$"):
        source.read(source.raws[0])


def test_folders_in_folders_without_end_are_listed(tmp_path: Path) -> None:
    depth = 150
    put(tmp_path.joinpath("root", *["d"] * depth, "1.png"), PNG)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 100)
    try:
        source = open_folder(tmp_path / "root")
    finally:
        sys.setrecursionlimit(limit)
    assert [raw.label for raw in source] == ["/".join(["d"] * depth)]


@pytest.mark.parametrize("name", ["../evil/1.png", "a/../../evil.png", "/etc/1.png", "C:/a/1.png", "..\\a\\1.png"])
def test_names_that_lead_outside_are_refused(tmp_path: Path, name: str) -> None:
    reason = "its name leads outside the archive"
    folder = class_folders(tmp_path / "folder", each=1)
    with zipfile.ZipFile(zipped(folder, tmp_path / "a.zip"), "a") as file:
        info = zipfile.ZipInfo("x")
        info.filename = name
        info.create_system = 0
        file.writestr(info, PNG)
    refused = {raw.id: raw.refused for raw in open_folder(tmp_path / "a.zip") if raw.refused}
    assert refused == {name.replace("\\", "/"): reason}
    if "\\" in name:
        return
    with tarfile.open(tarred(folder, tmp_path / "a.tar"), "a") as tar:
        info_ = tarfile.TarInfo(name)
        tar.addfile(info_)
    assert {raw.id: raw.refused for raw in open_folder(tmp_path / "a.tar") if raw.refused} == {name: reason}


def test_backslashes_of_windows_are_folders(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for name in ("a\\1.png", "b\\1.png"):
            info = zipfile.ZipInfo("x")
            info.filename, info.create_system = name, 0
            file.writestr(info, PNG)
    assert {raw.label for raw in open_folder(tmp_path / "a.zip")} == {"a", "b"}


def test_links_of_a_folder(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "root", classes=["a"], each=1)
    outside = put(tmp_path / "outside" / "1.png", PNG)
    (root / "a" / "inside.png").symlink_to("000.png")
    (root / "a" / "outside.png").symlink_to(outside)
    (root / "a" / "broken.png").symlink_to("nothing.png")
    (root / "b").symlink_to("a")
    (root / "c").symlink_to(outside.parent)
    (root / "loop").symlink_to(root)
    os.mkfifo(root / "a" / "pipe.png")
    expected = {
        "a/000.png": None,
        "a/broken.png": "a broken link",
        "a/inside.png": None,
        "a/outside.png": "a link that leads outside the folder",
        "a/pipe.png": "not a regular file",
        "b": "a link to a folder",
        "c": "a link that leads outside the folder",
        "loop": "a link to a folder",
    }
    assert seen(open_folder(root)) == expected
    followed = open_folder(root, follow_links=True)
    assert seen(followed) == expected | {"a/outside.png": None, "c": "a link to a folder"}
    assert followed.read(next(raw for raw in followed if raw.id == "a/outside.png")) == PNG


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "root")
    (tmp_path / "link").symlink_to(root)
    assert contents(open_folder(tmp_path / "link")) == contents(open_folder(root))


def test_links_of_an_archive(tmp_path: Path) -> None:
    link = "a link, which is not followed in an archive"
    folder = class_folders(tmp_path / "folder", classes=["a"], each=1)
    (folder / "a" / "link.png").symlink_to("000.png")
    os.link(folder / "a" / "000.png", folder / "a" / "aaa.png")
    tar = tmp_path / "a.tar"
    with tarfile.open(tar, "w") as file:
        for name in ("000.png", "aaa.png", "link.png"):
            file.add(folder / "a" / name, f"a/{name}")
        for name, kind in (("broken.png", tarfile.LNKTYPE), ("pipe.png", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(f"a/{name}")
            info.type, info.linkname = kind, "a/nothing.png"
            file.addfile(info)
    source = open_folder(tar)
    assert seen(source) == {
        "a/000.png": None,
        "a/aaa.png": None,
        "a/broken.png": "a broken link",
        "a/link.png": link,
        "a/pipe.png": "not a regular file",
    }
    assert source.read(source.raws[0]) == source.read(source.raws[1])
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        info_ = zipfile.ZipInfo("a/link.png")
        info_.external_attr = 0o120777 << 16
        packed.writestr(info_, "../../etc/passwd")
        pipe = zipfile.ZipInfo("a/pipe.png")
        pipe.external_attr = 0o010666 << 16
        packed.writestr(pipe, "")
    assert seen(open_folder(tmp_path / "a.zip")) == {"a/link.png": link, "a/pipe.png": "not a regular file"}


def test_names_that_are_not_utf8_are_refused_readably(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "root", classes=["a"], each=1)
    bad = b"bad\xff.png"
    Path(os.fsdecode(os.fsencode(root / "a") + b"/" + bad)).write_bytes(PNG)
    put(root / "a" / "bad\\xff.png", PNG)
    expected = {"a/000.png": None, "a/bad\\xff.png": None, "a/bad\\xff.png (2)": "its name is not UTF-8"}
    assert seen(open_folder(root)) == expected
    assert seen(open_folder(tarred(root, tmp_path / "a.tar"))) == expected
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name in ("a/000.png", "a/bad?.png"):
            file.writestr(name, PNG)
    archive.write_bytes(archive.read_bytes().replace(b"bad?", b"bad\xff"))
    assert seen(open_folder(archive)) == {"a/000.png": None, "a/bad\\xff.png": "its name is not UTF-8"}


def test_names_in_a_zip_are_utf8_whether_it_says_so_or_not(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("Größe/é.png", PNG)
        file.writestr("Gr??~??e/??.png", PNG)
    unflagged = archive.read_bytes().replace(b"Gr??~??e/??", "Größ~e/é".encode())
    source = open_folder(put(archive, unflagged))
    assert seen(source) == {"Größe/é.png": None, "Größ~e/é.png": None}
    assert source.read(source.raws[0]) == PNG


def test_ids_are_in_unicodes_composed_form(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "é")
    source = open_folder(put(tmp_path / "b" / decomposed / "1.png", PNG).parents[2])
    assert source.raws[0] == Raw("b/é/1.png", "b/é", f"b/{decomposed}/1.png", "b")
    assert source.read(source.raws[0]) == PNG


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_several_files_of_one_name_in_an_archive_the_last_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for content in (b"first", b"second", b"third"):
            file.writestr("a/1.png", content)
    source = open_folder(tmp_path / "a.zip")
    replaced = "replaced by a later file with its name"
    assert seen(source) == {"a/1.png": None, "a/1.png (2)": replaced, "a/1.png (3)": replaced}
    assert source.read(source.raws[0]) == b"third"


def test_a_zip_that_cannot_be_read_in_place_says_why(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("a/bz2.png", PNG, compress_type=zipfile.ZIP_BZIP2)
        file.writestr("a/good.png", PNG, compress_type=zipfile.ZIP_DEFLATED)
        file.writestr("a/locked.png", PNG)
        file.writestr("a/stored.png", PNG, compress_type=zipfile.ZIP_STORED)
        file.getinfo("a/locked.png").flag_bits |= 1
    source = open_folder(tmp_path / "a.zip")
    assert seen(source) == {
        "a/bz2.png": "packed by zip's method 12: only stored and deflated files are read",
        "a/good.png": None,
        "a/locked.png": "encrypted",
        "a/stored.png": None,
    }
    assert source.read(source.raws[1]) == source.read(source.raws[3]) == PNG


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damage_inside_a_zip_is_found_by_its_checksum(tmp_path: Path, packing: int) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", packing) as file:
        file.writestr("a/1.png", bytes(range(256)) * 8)
    content = bytearray(archive.read_bytes())
    content[40:44] = b"\xff\xff\xff\xff"
    source = open_folder(put(archive, bytes(content)))
    with pytest.raises(Unreadable, match=r"^(damaged|truncated) in the archive: "):
        source.read(source.raws[0])


def test_a_zip_that_unpacks_to_more_than_it_says_is_cut_short(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a/1.png", bytes(10_000_000))
    claimed = archive.read_bytes().replace((10_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    source = open_folder(put(archive, claimed))
    with pytest.raises(Unreadable, match=r"^damaged in the archive: its checksum differs$"):
        source.read(source.raws[0])


def test_files_that_shrink_vanish_or_are_too_large(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "root", classes=["a"], each=2)
    huge = root / "a" / "huge.png"
    with huge.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    source = open_folder(root)
    (root / "a" / "000.png").unlink()
    with pytest.raises(Unreadable, match=r"^vanished before it was read$"):
        source.read(source.raws[0])
    with pytest.raises(Unreadable, match=rf"^{MAX_BYTES + 1} bytes, more than {MAX_BYTES}$"):
        source.read(source.raws[2])
    (root / "a" / "001.png").unlink()
    (root / "a" / "001.png").mkdir()
    with pytest.raises(Unreadable, match=r"^cannot be read: Is a directory$"):
        source.read(source.raws[1])

    tar = tarred(class_folders(tmp_path / "other"), tmp_path / "a.tar")
    source = open_folder(tar)
    tar.write_bytes(tar.read_bytes()[:600])
    with pytest.raises(Unreadable, match=r"^truncated in the archive: "):
        source.read(source.raws[0])


def test_a_huge_file_in_an_archive_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "a.tar").open("wb") as raw, tarfile.open(fileobj=raw, mode="w") as tar:
        info = tarfile.TarInfo("a/huge.png")
        info.size = MAX_BYTES + 1
        raw.write(info.tobuf())
        raw.truncate(512 + MAX_BYTES + 512)
        raw.seek(0, os.SEEK_END)
        tar.offset = raw.tell()
    assert seen(open_folder(tmp_path / "a.tar")) == {"a/huge.png": f"{MAX_BYTES + 1} bytes, more than {MAX_BYTES}"}


def test_a_folder_that_cannot_be_listed_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = class_folders(tmp_path / "root", classes=["a", "b"], each=1)
    listed = os.scandir

    def refusing(path: Path) -> object:
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert seen(open_folder(root)) == {"a/000.png": None, "b": "folder cannot be read: Permission denied"}


def test_real_omniglot_is_read_as_the_zip_it_is() -> None:
    source = open_folder(real("omniglot"))
    assert len(source) == 2720
    assert len({raw.label for raw in source}) == 136
    assert source.raws[0].label == "Balinese/character01"
    assert {raw.group for raw in source} == {"Balinese", "Early_Aramaic", "Greek", "Korean", "Latin"}
    assert all(raw.refused is None for raw in source)

from __future__ import annotations

import errno
import importlib.util
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import pytest

from likewise.data import remote
from likewise.data.downloads import Advance, checksum_of
from likewise.data.remote import check_url, fetched, is_remote, local
from likewise.data.sources import open_source
from tests.data.pictures import class_folders, encoded, noise, zipped
from tests.data.web import Web, cache, web

__all__ = ["cache", "web"]

FACES = "memory://bucket/faces"


@pytest.fixture
def bucket(cache: Path) -> Iterator[Any]:
    """A store of three people's pictures that a test may change."""
    store = fsspec.filesystem("memory")
    store.store.clear()
    store.pseudo_dirs[:] = [""]
    for number, person in enumerate("abc"):
        for place in range(2):
            store.pipe_file(f"/bucket/faces/{person}/{place}.png", encoded(noise(10 * number + place)))
    yield store
    store.store.clear()


@pytest.fixture
def archive(tmp_path: Path, web: Web, cache: Path) -> Path:
    file = zipped(class_folders(tmp_path / "folder"), tmp_path / "a.zip")
    web.files["data/a.zip"] = file.read_bytes()
    return file


def gets(store: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note which files are fetched from the store."""
    names: list[str] = []
    plain = type(store).get_file

    def noted(self: object, rpath: str, lpath: str, **options: object) -> None:
        names.append(rpath)
        plain(self, rpath, lpath, **options)

    monkeypatch.setattr(type(store), "get_file", noted)
    return names


def test_an_archive_on_the_web_is_fetched_once_and_again_when_it_changes(
    web: Web, archive: Path, tmp_path: Path
) -> None:
    url = f"{web.address}/data/a.zip?token=secret"
    for _ in range(2):
        path = fetched(url, checksums={})
        assert path.name == "a.zip"
        assert path.read_bytes() == archive.read_bytes()
    # Each run asks for the ETag; only the first reads the content.
    assert len(web.asked) == 3
    source = open_source("folder", path)
    assert [raw.id for raw in source] == [raw.id for raw in open_source("folder", archive)]
    other = zipped(class_folders(tmp_path / "other", each=1), tmp_path / "b.zip").read_bytes()
    web.files["data/a.zip"] = other
    assert fetched(url, checksums={}).read_bytes() == other
    assert path.read_bytes() == archive.read_bytes()


def test_a_file_with_a_checksum_is_asked_for_once(web: Web, archive: Path) -> None:
    checksums = {"a.zip": checksum_of(archive)}
    web.etag = False
    for _ in range(2):
        assert fetched(f"{web.address}/data/a.zip", checksums=checksums).read_bytes() == archive.read_bytes()
    assert len(web.asked) == 1
    with pytest.raises(ValueError, match=r"a\.zip is another file than is meant: its checksum is md5:\w+, and not "):
        fetched(f"{web.address}/data/a.zip", checksums={"a.zip": f"md5:{'0' * 32}"})
    with pytest.raises(ValueError, match=r"unknown file of ingest\.checksums 'b\.zip'; known: a\.zip"):
        fetched(f"{web.address}/data/a.zip", checksums={"b.zip": checksum_of(archive)})


def test_a_server_that_never_says_when_a_file_changes_is_refused(web: Web, archive: Path) -> None:
    web.etag = False
    with pytest.raises(ValueError, match=r"/data/a\.zip: the server says neither ETag nor date, .*ingest\.checksums"):
        fetched(f"{web.address}/data/a.zip", checksums={})
    web.headers["last-modified"] = "Wed, 21 Oct 2015 07:28:00 GMT"
    assert fetched(f"{web.address}/data/a.zip", checksums={}).read_bytes() == archive.read_bytes()


def test_what_may_pass_is_asked_again(web: Web, archive: Path) -> None:
    web.statuses = [503]
    assert fetched(f"{web.address}/data/a.zip", checksums={}).read_bytes() == archive.read_bytes()
    assert len(web.asked) == 3


def test_what_is_not_on_the_web_is_said(web: Web, archive: Path, cache: Path) -> None:
    with pytest.raises(ValueError, match=rf"^{web.address}/data/b\.zip cannot be fetched: 404 Not Found$"):
        fetched(f"{web.address}/data/b.zip?token=secret", checksums={})
    with pytest.raises(ValueError, match=rf"^{web.address}/data/ names no file: give the address of an archive or"):
        fetched(f"{web.address}/data/", checksums={})
    web.cut = 1
    with pytest.raises(ValueError, match=rf"^{web.address}/data/a\.zip cannot be fetched: the connection was cut$"):
        fetched(f"{web.address}/data/a.zip", checksums={})
    assert not [file for file in cache.rglob("*") if file.is_file()]


def test_a_folder_in_a_bucket_is_read_from_the_cache(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    names = gets(bucket, monkeypatch)
    path = fetched(FACES, checksums={})
    source = open_source("folder", path)
    assert [raw.id for raw in source] == ["a/0.png", "a/1.png", "b/0.png", "b/1.png", "c/0.png", "c/1.png"]
    assert source.read(source.raws[3]) == encoded(noise(11))
    assert len(names) == 6
    assert fetched(f"{FACES}/", checksums={}) == path
    assert fetched(FACES, checksums={}) == path
    assert len(names) == 6


def test_of_a_changed_folder_only_what_changed_is_fetched(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fetched(FACES, checksums={})
    names = gets(bucket, monkeypatch)
    bucket.pipe_file("/bucket/faces/a/1.png", encoded(noise(77)))
    bucket.pipe_file("/bucket/faces/d/0.png", encoded(noise(78)))
    bucket.rm_file("/bucket/faces/b/0.png")
    after = fetched(FACES, checksums={})
    assert after != before
    assert sorted(names) == ["/bucket/faces/a/1.png", "/bucket/faces/d/0.png"]
    source = open_source("folder", after)
    assert [raw.id for raw in source] == ["a/0.png", "a/1.png", "b/1.png", "c/0.png", "c/1.png", "d/0.png"]
    assert source.read(source.raws[1]) == encoded(noise(77))
    assert (after / "c/0.png").samefile(before / "c/0.png")
    assert (before / "b/0.png").read_bytes() == encoded(noise(10))


def test_where_links_cannot_be_made_files_are_fetched(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched(FACES, checksums={})
    bucket.pipe_file("/bucket/faces/a/1.png", encoded(noise(77)))
    monkeypatch.setattr(os, "link", _refusing(PermissionError(errno.EPERM, "Operation not permitted")))
    names = gets(bucket, monkeypatch)
    fetched(FACES, checksums={})
    assert len(names) == 6


def _refusing(error: Exception) -> Callable[..., None]:
    def act(*_: object, **__: object) -> None:
        raise error

    return act


def test_one_file_of_a_bucket_is_a_file(bucket: Any) -> None:
    bucket.pipe_file("/bucket/tables/a.parquet", b"content")
    path = fetched("memory://bucket/tables/a.parquet", checksums={})
    assert path.name == "a.parquet"
    assert path.read_bytes() == b"content"


def test_every_file_of_many_is_there(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "TOGETHER", 4)
    told: list[object] = []

    @contextmanager
    def show(what: str, size: int | None) -> Iterator[Advance]:
        told.append((what, size))
        yield told.append

    path = fetched(FACES, checksums={}, show=show)
    assert len(list(path.rglob("*.png"))) == 6
    sizes = [file.stat().st_size for file in sorted(path.rglob("*.png"))]
    assert told == [("memory://bucket/faces (6 files)", sum(sizes)), sum(sizes[:4]), sum(sizes[4:])]


def test_a_bucket_that_changes_meanwhile_is_said_and_nothing_kept(
    bucket: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = type(bucket).get_file

    def meddling(self: object, rpath: str, lpath: str, **options: object) -> None:
        bucket.pipe_file("/bucket/faces/z/0.png", b"new")
        plain(self, rpath, lpath, **options)

    monkeypatch.setattr(type(bucket), "get_file", meddling)
    with pytest.raises(ValueError, match=r"^memory://bucket/faces changed while it was fetched: run again$"):
        fetched(FACES, checksums={})
    assert not [file for file in cache.rglob("*") if file.is_file()]


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("token\nexpired"), KeyError("x")]
)
def test_what_a_store_raises_is_one_line_and_nothing_is_kept(
    error: Exception, bucket: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(bucket), "get_file", _refusing(error))
    with pytest.raises(
        ValueError, match=r"^memory://bucket/faces cannot be fetched to .*\(LIKEWISE_DOWNLOADS "
    ) as caught:
        fetched(FACES, checksums={})
    assert len(str(caught.value).splitlines()) == 1
    assert not [file for file in cache.rglob("*") if file.is_file()]
    monkeypatch.undo()


def test_nothing_there_is_said(bucket: Any) -> None:
    with pytest.raises(ValueError, match=r"^memory://bucket/nowhere: nothing there$"):
        fetched("memory://bucket/nowhere", checksums={})


@pytest.mark.parametrize("name", ["../evil.png", "a/../../evil.png", "a//b.png", "./a.png"])
def test_names_in_a_bucket_that_lead_outside_are_refused(
    name: str, bucket: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = {f"/bucket/faces/{name}": {"type": "file", "size": 1, "created": "now"}}
    monkeypatch.setattr(type(bucket), "find", lambda *_, **__: listed)
    with pytest.raises(ValueError, match=r"its name leads outside /bucket/faces$"):
        fetched(FACES, checksums={})
    assert not [file for file in cache.rglob("*") if file.is_file()]


def test_a_store_that_tells_no_states_apart_is_refused(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = {"/bucket/faces/a.png": {"type": "file", "size": 1}}
    monkeypatch.setattr(type(bucket), "find", lambda *_, **__: listed)
    with pytest.raises(ValueError, match=r"^/bucket/faces/a\.png: the server says neither ETag nor date"):
        fetched(FACES, checksums={})


@pytest.mark.skipif(importlib.util.find_spec("s3fs") is not None, reason="s3fs is installed")
def test_a_package_that_is_missing_is_named() -> None:
    with pytest.raises(
        ValueError, match=r"^s3://bucket/faces: what reads s3:// is not installed: pip install 'dvc\[s3\]'$"
    ):
        check_url("s3://key:secret@bucket/faces")
    with pytest.raises(ValueError, match=r"^dropbox://faces: what reads dropbox:// is not installed: .*dropboxdrivefs"):
        check_url("dropbox://faces")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("htps://example.org/a.zip", r"unknown scheme htps://; known are https, s3"),
        ("file:///data/faces", "give one plain URL, or a path for what is on this machine"),
        ("zip://a::https://example.org/a.zip", "give one plain URL"),
    ],
)
def test_urls_that_cannot_be_read_are_refused(url: str, words: str, cache: Path) -> None:
    for check in (check_url, lambda given: fetched(given, checksums={})):
        with pytest.raises(ValueError, match=words):
            check(url)


def test_a_path_is_no_url(tmp_path: Path) -> None:
    assert [is_remote(path) for path in ("data/raw", "/data/raw", "C:/data", "https://example.org/a.zip")] == [
        False,
        False,
        False,
        True,
    ]
    assert local("data/raw", tmp_path, checksums={}) == tmp_path / "data/raw"
    assert local("/data/raw", tmp_path, checksums={}) == Path("/data/raw")


def test_the_index_names_no_place_of_this_machine(bucket: Any, cache: Path) -> None:
    fetched(FACES, checksums={})
    (index,) = cache.rglob("stamps.json")
    assert set(json.loads(index.read_text())) == {f"{person}/{place}.png" for person in "abc" for place in range(2)}

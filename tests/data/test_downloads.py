from __future__ import annotations

import hashlib
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flows.servers import free_port
from likewise.data import downloads
from likewise.data.downloads import (
    Advance,
    NotFetched,
    check_copies,
    check_names,
    checksum_of,
    downloads_folder,
    mirrored,
    retrieve,
    shown,
)
from tests.data.pictures import put
from tests.data.web import Web, cache, web

__all__ = ["cache", "web"]

CONTENT = bytes(range(256)) * 4000
SHA = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"


@pytest.fixture
def file(cache: Path, web: Web) -> Path:
    web.files["set/a.bin"] = CONTENT
    return cache / "set" / "a.bin"


@pytest.mark.parametrize("checksum", [SHA, MD5, None])
def test_a_file_is_fetched_once(web: Web, file: Path, checksum: str | None) -> None:
    for _ in range(2):
        assert retrieve(f"{web.address}/set/a.bin", file, checksum=checksum) == file
        assert file.read_bytes() == CONTENT
    assert web.asked == ["set/a.bin"]
    assert [entry.name for entry in file.parent.iterdir()] == ["a.bin"]


def test_a_file_in_the_cache_that_is_another_is_fetched_again(web: Web, file: Path) -> None:
    put(file, b"damaged")
    retrieve(f"{web.address}/set/a.bin", file, checksum=SHA)
    assert file.read_bytes() == CONTENT


def test_another_file_is_refused_and_not_kept(web: Web, file: Path) -> None:
    web.files["set/a.bin"] = b"another"
    found = hashlib.sha256(b"another").hexdigest()
    with pytest.raises(NotFetched) as caught:
        retrieve(f"{web.address}/set/a.bin", file, checksum=SHA)
    assert str(caught.value) == (
        f"{web.address}/set/a.bin is another file than is meant: its checksum is sha256:{found}, and not {SHA}"
    )
    assert list(file.parent.iterdir()) == []
    assert len(web.asked) == 1


def test_an_endless_file_is_not_read_to_its_end(web: Web, file: Path) -> None:
    with pytest.raises(NotFetched, match=r"a\.bin is another file than is meant: longer than 1000 bytes$"):
        retrieve(f"{web.address}/set/a.bin", file, checksum=SHA, size=1000)
    assert list(file.parent.iterdir()) == []


def test_a_cut_connection_is_tried_again_and_said(web: Web, file: Path) -> None:
    web.cut = 1
    with pytest.raises(NotFetched, match=rf"^{web.address}/set/a\.bin cannot be fetched: the connection was cut$"):
        retrieve(f"{web.address}/set/a.bin", file, checksum=SHA)
    assert len(web.asked) == 3
    assert list(file.parent.iterdir()) == []


def test_what_may_pass_is_tried_again(web: Web, file: Path) -> None:
    web.statuses = [503, 429]
    retrieve(f"{web.address}/set/a.bin", file, checksum=SHA)
    assert file.read_bytes() == CONTENT
    assert len(web.asked) == 3


@pytest.mark.parametrize(
    ("status", "words", "tries"), [(404, "404 Not Found", 1), (500, "500 Internal Server Error", 3)]
)
def test_a_refusal_is_said(web: Web, file: Path, status: int, words: str, tries: int) -> None:
    web.statuses = [status] * 3
    with pytest.raises(NotFetched, match=rf"/set/a\.bin cannot be fetched: {words}$"):
        retrieve(f"{web.address}/set/a.bin", file, checksum=SHA)
    assert len(web.asked) == tries


def test_a_dead_server_is_said(cache: Path) -> None:
    port = free_port()
    with pytest.raises(NotFetched, match=r"cannot be fetched: no connection \(Connection refused\)$"):
        retrieve(f"http://127.0.0.1:{port}/a.bin", cache / "a.bin")


def test_a_server_that_is_silent_is_given_up(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a.bin"
        with pytest.raises(NotFetched, match=r"cannot be fetched: no answer for 0\.05 s$"):
            retrieve(url, cache / "a.bin")


@pytest.mark.parametrize("url", ["nowhere/a.bin", "http:///a.bin"])
def test_an_address_that_is_none_is_said_at_once(url: str, cache: Path) -> None:
    with pytest.raises(NotFetched, match=r"^.*a\.bin cannot be fetched: ") as caught:
        retrieve(url, cache / "a.bin")
    assert len(str(caught.value).splitlines()) == 1


def test_a_full_disk_is_said_and_leaves_nothing(web: Web, file: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(NotFetched, match=rf"/a\.bin cannot be written to {file.parent}: File too large"):
            retrieve(f"{web.address}/set/a.bin", file, checksum=SHA)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(file.parent.iterdir()) == []


def test_a_cache_that_cannot_be_is_said(web: Web, cache: Path) -> None:
    web.files["a.bin"] = CONTENT
    put(cache / "set", b"a file where the folder should be")
    with pytest.raises(NotFetched, match=r"/a\.bin cannot be written to .*set: (File exists|Not a directory)$"):
        retrieve(f"{web.address}/a.bin", cache / "set" / "a.bin", checksum=SHA)


def test_progress_is_the_bytes(web: Web, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "CHUNK_BYTES", 300_000)
    told: list[object] = []

    @contextmanager
    def show(what: str, size: int | None) -> Iterator[Advance]:
        told.append((what, size))
        yield told.append

    retrieve(f"{web.address}/set/a.bin?key=secret", file, show=show)
    assert told == [(f"{web.address}/set/a.bin", len(CONTENT)), 300_000, 300_000, 300_000, 124_000]


def test_the_variables_move_the_cache_and_the_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LIKEWISE_DOWNLOADS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert downloads_folder() == tmp_path / "likewise" / "downloads"
    monkeypatch.setenv("LIKEWISE_DOWNLOADS", "~/elsewhere")
    assert downloads_folder() == Path.home() / "elsewhere"
    monkeypatch.delenv("LIKEWISE_MIRROR", raising=False)
    assert mirrored("https://example.org/x/a.zip", "set/a.zip") == "https://example.org/x/a.zip"
    monkeypatch.setenv("LIKEWISE_MIRROR", "http://mirror/data/")
    assert mirrored("https://example.org/x/a.zip", "set/a.zip") == "http://mirror/data/set/a.zip"


def test_copies_are_checked_by_name(tmp_path: Path) -> None:
    file = put(tmp_path / "a.bin", CONTENT)
    assert checksum_of(file) == SHA
    assert checksum_of(file, "md5") == MD5
    for path in (file, tmp_path):
        check_copies(path, {"a.bin": SHA})
        check_copies(path, {"a.bin": MD5})
        with pytest.raises(ValueError, match=rf"^ingest\.checksums: {file} has {SHA}, and not sha256:00$"):
            check_copies(path, {"a.bin": "sha256:00"})
        with pytest.raises(ValueError, match=r"^ingest\.checksums: .* holds no file 'b\.bin'$"):
            check_copies(path, {"b.bin": SHA})
    with pytest.raises(ValueError, match=r"unknown file of ingest\.checksums 'a\.bim'; known: a\.bin, other"):
        check_names({"a.bim": SHA}, ["other", "a.bin"])


def test_what_is_shown_has_no_secrets() -> None:
    assert shown("s3://key:secret@bucket/a b.zip?token=1#x") == "s3://bucket/a b.zip"


def test_importing_it_is_light() -> None:
    heavy = {"requests", "pooch", "fsspec", "pyarrow"}
    code = f"import sys, likewise.data.named, likewise.data.remote; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"

"""What somebody else's data may do to `ingest`: a reason or one line, and nothing half-written is left."""

from __future__ import annotations

import io
import os
import resource
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from likewise import artifacts
from likewise.data.raw import Source
from likewise.stages import ingest
from tests.data import recordings
from tests.data.pictures import class_folders, encoded, noise, put, tarred, zipped
from tests.data.test_arrays import mnist
from tests.small import make
from tests.stages.test_ingest_remote import SOUND, SPLIT, block

FILES = (
    artifacts.MEDIA,
    artifacts.OFFSETS,
    artifacts.SAMPLES,
    artifacts.QUARANTINE,
    artifacts.CLASSES,
    artifacts.SUMMARY,
)
SOURCES = ("folder", "zip", "tar", "tar.gz", "manifest", "parquet", "idx", "omniglot", "fsdd", "speech-commands")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make(tmp_path / "project", data=False)


def written(root: Path) -> list[str]:
    """The names of all files of the outputs, whole or not."""
    found = [path for name in ("ingest", "classes") for path in (root / "data" / name).rglob("*")]
    return sorted(path.name for path in found if path.is_file())


def given(root: Path, source: str) -> dict[str, Any]:
    """Write good data for a source, and return the params for it."""
    raw = root / "raw"
    if source == "idx":
        return {"source": "idx", "path": str(mnist(raw, train=40, test=6)), "split": SPLIT | {"by": "column"}}
    if source in ("fsdd", "speech-commands"):
        return _sounds(root, source)
    if source == "omniglot":
        for number in range(60):
            put(raw / f"Greek/character0{number % 3}/0001_{number:02}.png", encoded(noise(number)))
        return {"source": "omniglot", "path": "raw"}
    class_folders(raw, each=20)
    names = [f"{c}/{n:03}.png" for c in "abc" for n in range(20)]
    if source == "manifest":
        pd.DataFrame({"path": names, "label": [name[0] for name in names]}).to_csv(raw / "m.csv", index=False)
    if source == "parquet":
        rows = [{"image": (raw / name).read_bytes(), "label": name[0]} for name in names]
        pd.DataFrame(rows).to_parquet(root / "a.parquet", index=False, row_group_size=20)
        return {"source": "parquet", "path": "a.parquet"}
    if source in ("zip", "tar", "tar.gz"):
        archive = root / f"a.{source}"
        zipped(raw, archive) if source == "zip" else tarred(raw, archive, mode=f"w:{source.partition('.')[2]}")
        return {"path": archive.name}
    return {"source": source, "path": "raw"}


def _sounds(root: Path, source: str) -> dict[str, Any]:
    for number in range(60):
        word, take = number % 3, number // 3
        name = f"{word}_ann_{take}.wav" if source == "fsdd" else f"w{word}/{take:08}_nohash_0.wav"
        put(root / "raw" / name, recordings.encoded(recordings.hiss(number, seconds=0.2)))
    checks = block(root).checks.model_dump() | {"near_duplicates": "off"}
    columns = block(root).columns.model_dump() | ({"label": "digit"} if source == "fsdd" else {})
    changes = {"kind": "audio", "image": None, "audio": SOUND, "checks": checks, "columns": columns}
    return {"source": source, "path": "raw"} | changes


def run(root: Path, changes: dict[str, Any]) -> dict[str, Any]:
    ingest.run(block(root, **changes), root)
    summary: dict[str, Any] = artifacts.SUMMARY.read(root)
    assert summary["found"] == summary["kept"] + sum(summary["quarantined"].values())
    assert summary["found"] == summary["kept"] + len(artifacts.QUARANTINE.read(root))
    return summary


def refused(root: Path, changes: dict[str, Any]) -> str:
    with pytest.raises((ValueError, OSError)) as caught:
        ingest.run(block(root, **changes), root)
    assert len(str(caught.value).splitlines()) == 1
    assert written(root) == []
    return str(caught.value)


@pytest.mark.parametrize("source", SOURCES)
def test_good_data_is_good(source: str, root: Path) -> None:
    assert run(root, given(root, source))["found"] in (60, 46)
    assert written(root) == sorted(Path(file.path).name for file in FILES)


@pytest.mark.parametrize("source", SOURCES)
def test_all_that_vanishes_while_it_is_read_ends_in_one_line(
    source: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = given(root, source)
    plain = ingest.take_in

    def too_late(found: Source, *rest: Any) -> Any:
        path = root / changes["path"]
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        return plain(found, *rest)

    monkeypatch.setattr(ingest, "take_in", too_late)
    if source == "idx":
        # Read whole before.
        ingest.run(block(root, **changes), root)
        return
    assert "vanished before it was read" in refused(root, changes)


@pytest.mark.parametrize("source", ["folder", "manifest", "omniglot", "fsdd", "speech-commands"])
@pytest.mark.parametrize("harm", ["vanished", "empty", "truncated"])
def test_one_file_less_is_one_in_quarantine(
    source: str, harm: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = given(root, source)
    file = sorted(path for path in (root / "raw").rglob("*") if path.suffix in (".png", ".wav"))[1]
    plain = ingest.take_in

    def harmed(found: Source, *rest: Any) -> Any:
        content = file.read_bytes()
        file.unlink()
        if harm != "vanished":
            file.write_bytes(content[: {"empty": 0, "truncated": 40}[harm]])
        return plain(found, *rest)

    monkeypatch.setattr(ingest, "take_in", harmed)
    summary = run(root, changes)
    assert sum(summary["quarantined"].values()) == 1
    reason = artifacts.QUARANTINE.read(root)["reason"][0]
    assert {"vanished": "vanished before it was read", "empty": "empty file"}.get(harm, reason) == reason


@pytest.mark.parametrize("source", ["zip", "tar", "tar.gz", "parquet", "idx"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_what_is_packed_and_cut_short_ends_in_one_line(source: str, share: float, root: Path) -> None:
    changes = given(root, source)
    path = root / changes["path"]
    file = path if path.is_file() else sorted(path.iterdir())[0]
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    assert file.name in refused(root, changes)


@pytest.mark.parametrize("source", ["folder", "zip", "tar", "tar.gz", "parquet"])
def test_bombs_of_images_are_not_decoded(source: str, root: Path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    size = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + size + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    class_folders(root / "raw", each=20)
    put(root / "raw/a/bomb.png", bomb)
    changes: dict[str, Any] = {"path": f"a.{source}"}
    if source == "zip":
        zipped(root / "raw", root / "a.zip")
    elif source == "folder":
        changes = {"path": "raw"}
    elif source == "parquet":
        rows = [{"image": file.read_bytes(), "label": file.parent.name} for file in (root / "raw").rglob("*.png")]
        pd.DataFrame(rows).to_parquet(root / "a.parquet", index=False)
        changes["source"] = "parquet"
    else:
        tarred(root / "raw", root / f"a.{source}", mode=f"w:{source.partition('.')[2]}")
    summary = run(root, changes)
    assert summary["quarantined"] == {"more than N pixels": 1}


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_bomb_of_overlapping_files_costs_no_memory(root: Path) -> None:
    """Every entry points at one long run of zeros (after Fifield: A better zip bomb, 2019)."""
    run_of_zeros = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = run_of_zeros.compress(bytes(1 << 24)) + run_of_zeros.flush()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for number in range(400):
            file.writestr(f"{'ab'[number % 2]}/{number}.png", b"x" * len(packed) if number == 0 else b"")
    content = bytearray(buffer.getvalue())
    content[content.index(b"x" * 99) : content.index(b"x" * 99) + len(packed)] = packed
    sizes = struct.pack("<III", zlib.crc32(bytes(1 << 24)), len(packed), 1 << 24)
    place = content.index(b"PK\x01\x02")
    while (place := content.find(b"PK\x01\x02", place)) >= 0:
        content[place + 10 : place + 12] = (8).to_bytes(2, "little")
        content[place + 16 : place + 28] = sizes
        content[place + 42 : place + 46] = bytes(4)
        place += 46
    (root / "a.zip").write_bytes(content)
    assert "; a/10.png: damaged in the archive: it lies inside another file;" in refused(root, {"path": "a.zip"})


def test_names_cannot_break_a_line_nor_steer_the_terminal(root: Path) -> None:
    class_folders(root / "raw", each=20)
    put(root / "raw" / "evil\nclass\x1b[2J" / "1.png", encoded(noise(999)))
    text = (root / "params.yaml").read_text(encoding="utf-8")
    text = text.replace("source: digits", "source: folder").replace("path: data/raw", "path: raw", 1)
    (root / "params.yaml").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "likewise.stages.ingest"], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith(
        r"ingest: 1 of 4 classes have fewer than 2 usable samples: evil\nclass\x1b[2J (1 of 1);"
    )
    assert len(done.stderr.splitlines()) == 1


def test_lists_that_are_links_elsewhere_are_not_read(root: Path) -> None:
    class_folders(root / "raw", each=20)
    put(root / "secret.csv", b"user,password\n")
    (root / "raw" / "splits.csv").symlink_to(root / "secret.csv")
    split = SPLIT | {"by": "file", "file": "splits.csv"}
    message = refused(root, {"path": "raw", "split": split})
    assert message.endswith("splits.csv is a link that leads outside the folder")
    message = refused(root, {"path": "raw", "split": split | {"file": "../secret.csv"}})
    assert message.startswith("ingest.split.file: ")
    message = refused(root, {"path": "raw", "trials": "splits.csv"})
    assert message.startswith("ingest.trials: ")
    assert message.endswith("splits.csv is a link that leads outside the folder")


@contextmanager
def no_larger_file_than(size: int) -> Iterator[None]:
    """Let writing fail where a file would become larger, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_wherever_the_disk_is_full_nothing_is_left(root: Path) -> None:
    changes = given(root, "folder")
    run(root, changes)
    sizes = sorted({(root / file.path).stat().st_size for file in FILES})
    shutil.rmtree(root / "data/ingest")
    shutil.rmtree(root / "data/classes")
    for size in sizes:
        with no_larger_file_than(size - 1):
            refused(root, changes)
    with no_larger_file_than(sizes[-1]):
        run(root, changes)
    assert written(root) == sorted(Path(file.path).name for file in FILES)


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root can make a small disk")
    try:
        yield
    finally:
        # A memory map of the media may yet be open.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.skipif(not sys.platform.startswith("linux") or os.getuid() != 0, reason="only root can make a small disk")
def test_a_disk_that_is_really_full_is_said(root: Path) -> None:
    changes = given(root, "folder")
    with small_disk(root / "data", 16 << 10):
        message = refused(root, changes)
        assert "No space left on device" in message

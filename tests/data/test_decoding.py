import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from likewise.data.decoding import CHUNK_FILES, Decoded, available_cores, decode_all
from likewise.data.folders import open_folder
from likewise.data.images import ImageSpec, decode
from likewise.data.raw import Content, Extent, Pixels, Raw, Source, Unreadable
from tests.data.pictures import class_folders, encoded, noise, put, tarred, zipped

SPEC = ImageSpec(6, 5, 1)
DECODER = partial(decode, spec=SPEC)


def told(decoded: Iterator[Decoded]) -> list[tuple[int, str | None, bytes | None, str | None]]:
    return [(one.index, one.hash, one.rows.tobytes() if one.rows is not None else None, one.reason) for one in decoded]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = class_folders(tmp_path_factory.mktemp("data") / "folder", each=50)
    put(root / "a" / "007.png", b"damaged")
    put(root / "loose.png", b"")
    return root


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "tar.gz"])
def test_the_number_of_workers_changes_nothing(folder: Path, tmp_path: Path, kind: str) -> None:
    archive = tmp_path / f"data.{kind}"
    if kind == "zip":
        zipped(folder, archive)
    elif kind.startswith("tar"):
        tarred(folder, archive, mode=f"w:{kind.partition('.')[2]}")
    source = open_folder(archive if kind != "folder" else folder)
    alone, two, five = (told(decode_all(source, DECODER, sample_bytes=30, workers=n)) for n in (1, 2, 5))
    assert alone == two == five
    plain = told(decode_all(open_folder(folder), DECODER, sample_bytes=30, workers=1))
    assert sorted(alone) == plain
    assert [index for index, *_ in plain] == list(range(151))


def test_each_sample_has_its_hash_and_its_pixels_or_its_reason(folder: Path) -> None:
    source = open_folder(folder)
    decoded = {source.raws[one.index].id: one for one in decode_all(source, DECODER, sample_bytes=30)}
    good = decoded["a/000.png"]
    assert good.hash == hashlib.sha256(encoded(noise(0))).hexdigest()
    assert good.rows is not None
    np.testing.assert_array_equal(good.rows, decode(noise(0), SPEC))
    bad = decoded["a/007.png"]
    assert (bad.rows, bad.reason) == (None, "not an image that Pillow can read")
    assert bad.hash == hashlib.sha256(b"damaged").hexdigest()
    assert (decoded["loose.png"].hash, decoded["loose.png"].reason) == (None, "no class folder")


@dataclass
class Counting:
    """Reads made-up samples, and counts how many it has read."""

    reach: Literal["forward", "memory"]
    content: Pixels
    reads: list[str] = field(default_factory=list)

    @contextmanager
    def reading(self) -> Iterator[Callable[[Raw], Content]]:
        yield self._read

    def _read(self, raw: Raw) -> Content:
        self.reads.append(raw.id)
        return self.content


def made_up(reach: Literal["forward", "memory"], *, size: int = 0, many: int = 2000) -> tuple[Source, Counting]:
    reader = Counting(reach, noise(1, height=6, width=5))
    raws = tuple(Raw(f"{n:05d}", "a", f"{n}", place=Extent(many - n, size, size, "tar")) for n in range(many))
    return Source(raws, reader), reader


def test_an_array_is_hashed_by_its_values() -> None:
    source, reader = made_up("memory", many=1)
    (one,) = decode_all(source, DECODER, sample_bytes=30)
    assert one.hash == hashlib.sha256(reader.content.tobytes()).hexdigest()


@pytest.mark.parametrize(("size", "sample_bytes", "chunk"), [(0, 30, CHUNK_FILES), (3 << 20, 30, 2), (0, 9 << 20, 1)])
def test_what_is_in_flight_is_bounded_and_read_forward(size: int, sample_bytes: int, chunk: int) -> None:
    source, reader = made_up("forward", size=size)
    decoded = decode_all(source, DECODER, sample_bytes=sample_bytes, workers=2)
    first = next(decoded)
    assert first.index == 1999
    assert reader.reads == [f"{n:05d}" for n in range(1999, 1999 - 5 * chunk, -1)]
    decoded.close()  # type: ignore[attr-defined]


def test_at_least_one_worker_is_needed(folder: Path) -> None:
    with pytest.raises(ValueError, match="workers is 0: at least 1 is needed"):
        decode_all(open_folder(folder), DECODER, sample_bytes=30, workers=0)
    assert available_cores() == len(os.sched_getaffinity(0))


def dying(content: Content) -> Pixels:
    if content == encoded(noise(1049)):
        os.kill(os.getpid(), signal.SIGKILL)
    return decode(content, SPEC)


def test_a_worker_that_dies_is_an_error_that_names_the_files(folder: Path) -> None:
    decoded = decode_all(open_folder(folder), dying, sample_bytes=1 << 20, workers=2)
    with pytest.raises(
        RuntimeError, match=r"a process died while decoding, in or near '.*png' to '.*png': out of memory"
    ):
        list(decoded)


def broken(content: Content) -> Pixels:
    raise KeyError("a mistake in the decoder")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_mistake_is_no_rejection(folder: Path, workers: int) -> None:
    with pytest.raises(KeyError, match="a mistake in the decoder"):
        list(decode_all(open_folder(folder), broken, sample_bytes=30, workers=workers))


def refusing(content: Content) -> Pixels:
    raise Unreadable("never good enough")


def test_whatever_the_decoder_refuses_is_rejected(folder: Path) -> None:
    reasons = {one.reason for one in decode_all(open_folder(folder), refusing, sample_bytes=30, workers=2)}
    assert reasons == {"never good enough", "no class folder"}


SLOW = """
import sys, time
from likewise.data.decoding import decode_all
from likewise.data.folders import open_folder

def slow(content):
    time.sleep(0.2)

for one in decode_all(open_folder(__import__("pathlib").Path(sys.argv[1])), slow, sample_bytes=1 << 22, workers=2):
    print(one.index, flush=True)
"""


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks at processes through /proc")
def test_workers_end_when_their_parent_is_killed(folder: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", SLOW, str(folder)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    parent.stdout.readline()
    workers = children(parent.pid)
    assert len(workers) == 2
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while running(workers):
        assert time.monotonic() < deadline, f"workers {running(workers)} outlived their parent"
        time.sleep(0.02)


def running(pids: list[int]) -> list[int]:
    return [pid for pid in pids if state(pid) not in ("gone", "Z")]


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "gone"

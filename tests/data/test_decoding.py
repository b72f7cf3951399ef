import hashlib
import multiprocessing
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

from likewise.data import decoding
from likewise.data.decoded import DecodeCache
from likewise.data.decoding import CHUNK_FILES, Pace, available_cores, decode_all
from likewise.data.folders import open_folder
from likewise.data.images import ImageSpec, decode
from likewise.data.kinds import Preprocessing, build
from likewise.data.raw import Content, Extent, Pixels, Raw, Source, Unreadable
from tests.data.pictures import class_folders, encoded, noise, put, tarred, zipped
from tests.data.readings import told

SPEC = ImageSpec(6, 5, 1)


def made(decoder: Callable[[Content], Pixels]) -> Preprocessing:
    return Preprocessing("image", {}, SPEC.shape, "uint8", decoder, len)


def one_row(content: Content) -> Pixels:
    return decode(content, SPEC)[None]


IMAGE = made(one_row)


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
    alone, two, five = (told(decode_all(source, IMAGE, workers=n)) for n in (1, 2, 5))
    assert alone == two == five
    plain = told(decode_all(open_folder(folder), IMAGE, workers=1))
    assert sorted(alone) == plain
    assert [index for index, *_ in plain] == list(range(151))


@pytest.mark.parametrize("known", [False, True])
def test_processes_that_are_no_forks_change_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    source, image = open_folder(folder), build("image", height=6, width=5, channels=1)
    alone = told(decode_all(source, image, workers=1))
    monkeypatch.setattr(decoding, "_context", lambda: multiprocessing.get_context("spawn"))
    for _ in range(1 + known):
        with DecodeCache(tmp_path, "key", shape=image.shape, dtype=image.dtype, limit=1 << 30) as cache:
            batches = list(decode_all(source, image, workers=2, cache=cache))
    assert told(iter(batches)) == alone
    assert sum(batch.recalled.sum() for batch in batches) == (150 if known else 0)


def test_each_sample_has_its_hash_and_its_pixels_or_its_reason(folder: Path) -> None:
    source = open_folder(folder)
    decoded = {source.raws[index].id: rest for index, *rest in told(decode_all(source, IMAGE))}
    good = hashlib.sha256(encoded(noise(0))).hexdigest()
    assert decoded["a/000.png"] == [good, decode(noise(0), SPEC).tobytes(), None]
    bad = hashlib.sha256(b"damaged").hexdigest()
    assert decoded["a/007.png"] == [bad, None, "not an image that Pillow can read"]
    assert decoded["loose.png"] == [None, None, "no class folder"]


def windows(content: Content) -> Pixels:
    """As many rows as the first pixel says."""
    first = int(decode(content, SPEC)[0, 0, 0])
    return np.full((1 + first % 4, *SPEC.shape), first, dtype=np.uint8)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_sample_may_have_several_rows(folder: Path, workers: int) -> None:
    source = open_folder(folder)
    for index, _, rows, reason in told(decode_all(source, made(windows), workers=workers)):
        content = (folder / source.raws[index].path).read_bytes()
        assert rows == (windows(content).tobytes() if reason is None else None)


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
    ((_, digest, *_),) = told(decode_all(source, IMAGE))
    assert digest == hashlib.sha256(reader.content.tobytes()).hexdigest()


@pytest.mark.parametrize(("size", "chunk"), [(0, 64), (1 << 20, 2), (9 << 20, 1)])
def test_what_is_in_flight_is_bounded_and_read_forward(size: int, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "Pace", partial(Pace, files=64))
    source, reader = made_up("forward", size=size)
    batches = decode_all(source, IMAGE, workers=2)
    assert next(batches).indices.tolist() == list(range(1999, 1999 - chunk, -1))
    assert reader.reads == [f"{n:05d}" for n in range(1999, 1999 - 5 * chunk, -1)]
    batches.close()


def test_the_pace_doubles_until_time_or_memory_are_used_up() -> None:
    pace = Pace()
    handed = []
    for _ in range(12):
        handed.append(pace.files)
        pace.learn(pace.files, 0.0, 0)
    assert handed == [*(2**n for n in range(11)), CHUNK_FILES]
    pace.learn(1000, seconds=10.0, size=0)
    assert pace.files == round(decoding.CHUNK_SECONDS / 0.01)
    pace.learn(4, seconds=0.0, size=decoding.CHUNK_BYTES)
    assert pace.files == 4
    pace.learn(1, seconds=100.0, size=10 * decoding.CHUNK_BYTES)
    assert pace.files == 1


def test_rows_that_are_not_as_promised_are_a_mistake(folder: Path) -> None:
    with pytest.raises(TypeError, match=r"kind image gave float64 \(1, 6, 5\), and promised uint8 \(1, 6, 5\)"):
        list(decode_all(open_folder(folder), made(lambda content: one_row(content) / 2), workers=1))  # type: ignore[arg-type,return-value]


def test_at_least_one_worker_is_needed(folder: Path) -> None:
    with pytest.raises(ValueError, match="workers is 0: at least 1 is needed"):
        decode_all(open_folder(folder), IMAGE, workers=0)
    assert available_cores() == len(os.sched_getaffinity(0))


def dying(content: Content) -> Pixels:
    if content == encoded(noise(1049)):
        os.kill(os.getpid(), signal.SIGKILL)
    return one_row(content)


def test_a_worker_that_dies_is_an_error_that_names_the_files(folder: Path) -> None:
    decoded = decode_all(open_folder(folder), made(dying), workers=2)
    with pytest.raises(
        ChildProcessError, match=r"a process died while decoding, in or near '.*png' to '.*png': out of memory"
    ):
        list(decoded)


def broken(content: Content) -> Pixels:
    raise KeyError("a mistake in the decoder")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_mistake_is_no_rejection(folder: Path, workers: int) -> None:
    with pytest.raises(KeyError, match="a mistake in the decoder"):
        list(decode_all(open_folder(folder), made(broken), workers=workers))


def refusing(content: Content) -> Pixels:
    raise Unreadable("never good enough")


def test_whatever_the_decoder_refuses_is_rejected(folder: Path) -> None:
    decoded = told(decode_all(open_folder(folder), made(refusing), workers=2))
    reasons = {reason for *_, reason in decoded}
    assert reasons == {"never good enough", "no class folder"}


SLOW = """
import sys, time
from pathlib import Path
import numpy as np
from likewise.data.decoding import decode_all
from likewise.data.folders import open_folder
from likewise.data.kinds import Preprocessing, build

def slow(content):
    time.sleep(0.2)
    return np.zeros((1, 1), np.uint8)

preprocessing = Preprocessing("image", {}, (1,), "uint8", slow, len)
for batch in decode_all(open_folder(Path(sys.argv[1])), preprocessing, workers=2):
    print(len(batch.indices), flush=True)
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

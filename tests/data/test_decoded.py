import hashlib
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from likewise.data import decoded
from likewise.data.decoded import DecodeCache

SHAPE = (2, 3)
ROW_BYTES = 12
PLENTY = 1 << 30


def cache(folder: Path, *, key: str = "key", limit: int = PLENTY) -> DecodeCache:
    return DecodeCache(folder, key, shape=SHAPE, dtype="uint16", limit=limit)


def digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def rows(name: str, count: int = 1) -> NDArray[np.uint16]:
    return np.random.default_rng(list(name.encode())).integers(0, 9999, (count, *SHAPE), dtype=np.uint16)


def keep(into: DecodeCache, names: Sequence[str], *, count: int = 1, rejected: Sequence[str] = ()) -> None:
    """Keep samples of so many rows each, and some that were rejected, for a reason of their name."""
    made = [rows(name, count) for name in names]
    payloads = [*(one.tobytes() for one in made), *(name.encode() for name in rejected)]
    into.keep(
        digests=np.frombuffer(b"".join(map(digest, [*names, *rejected])), np.uint8).reshape(-1, 32),
        counts=np.array([count] * len(names) + [0] * len(rejected)),
        crcs=np.array([zlib.crc32(payload) for payload in payloads], dtype=np.uint32),
        rows=np.concatenate([np.empty((0, *SHAPE), np.uint16), *made]),
        reasons=rejected,
    )


def recalled(known: DecodeCache, name: str) -> NDArray[np.uint16] | str | None:
    found: NDArray[np.uint16] | str | None = known.recall(digest(name))
    return found


def volumes(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.decoded"))


def test_what_was_kept_is_recalled_the_next_time(tmp_path: Path) -> None:
    with cache(tmp_path / "new" / "folder") as first:
        keep(first, ["a", "b"])
        keep(first, ["long"], count=5, rejected=["not an image", "Größe"])
        keep(first, [])
        assert recalled(first, "a") is None
    with cache(tmp_path / "new" / "folder") as second:
        assert len(second) == 5
        np.testing.assert_array_equal(recalled(second, "a"), rows("a"))
        np.testing.assert_array_equal(recalled(second, "long"), rows("long", 5))
        assert recalled(second, "Größe") == "Größe"
        assert recalled(second, "other") is None
        keep(second, ["c"])
    with cache(tmp_path / "new" / "folder") as third, cache(tmp_path / "new" / "folder", key="other") as other:
        np.testing.assert_array_equal(recalled(third, "c"), rows("c"))
        np.testing.assert_array_equal(recalled(third, "b"), rows("b"))
        assert recalled(other, "a") is None
    assert first.notes == second.notes == third.notes == []
    assert len(volumes(tmp_path / "new" / "folder")) == 1


def test_only_its_owner_can_look_into_it(tmp_path: Path) -> None:
    with cache(tmp_path / "cache") as known:
        keep(known, ["a"])
    assert (tmp_path / "cache").stat().st_mode & 0o077 == 0


def test_a_copy_in_another_process_recalls_the_same(tmp_path: Path) -> None:
    with cache(tmp_path) as known:
        keep(known, ["a"])
    with cache(tmp_path) as known:
        recalled(known, "a")
        keep(known, ["b"])
        np.testing.assert_array_equal(recalled(pickle.loads(pickle.dumps(known)), "a"), rows("a"))


def test_broken_off_work_is_kept_too(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        break_off(tmp_path)
    with cache(tmp_path) as known:
        np.testing.assert_array_equal(recalled(known, "a"), rows("a"))


def break_off(folder: Path) -> None:
    with cache(folder) as known:
        keep(known, ["a"])
        raise KeyboardInterrupt


def test_whatever_byte_changes_nothing_wrong_is_recalled(tmp_path: Path) -> None:
    names = ["a", "b", "c"]
    with cache(tmp_path) as known:
        keep(known, names, rejected=["no"])
    (path,) = volumes(tmp_path)
    content = path.read_bytes()
    noticed = 0
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])
        with cache(tmp_path) as known:
            for name in names:
                found = recalled(known, name)
                assert found is None or np.array_equal(found, rows(name))
            assert recalled(known, "no") in (None, "no")
            known.drop(known.damaged)
        noticed += not path.exists()
        assert len(known.notes) == 1
        assert known.notes[0].startswith(f"{path} is damaged (")
        assert known.notes[0].endswith("): it is taken away, and what it held is decoded again")
    assert noticed == len(content)


def test_a_volume_that_became_shorter_while_it_is_used_is_noticed(tmp_path: Path) -> None:
    with cache(tmp_path) as known:
        keep(known, ["a"])
    with cache(tmp_path) as known:
        (path,) = volumes(tmp_path)
        os.truncate(path, path.stat().st_size - 1)
        assert recalled(known, "a") is None
        assert known.damaged == {path.name}


def test_a_volume_that_went_is_only_forgotten(tmp_path: Path) -> None:
    with cache(tmp_path) as known:
        keep(known, ["a"])
    with cache(tmp_path) as known:
        shutil.rmtree(tmp_path / "key")
        assert recalled(known, "a") is None
        known.drop(known.damaged)
    assert known.notes == []


def test_what_cannot_be_written_is_said_once_and_stops_nothing(tmp_path: Path) -> None:
    with cache(tmp_path / "cache") as known:
        shutil.rmtree(tmp_path / "cache" / "key")
        keep(known, ["a"])
        known._flush()
        keep(known, ["b"])
    assert known.notes == [f"{tmp_path}/cache/key cannot be written (No such file or directory): going on without"]
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError), cache(tmp_path / "file"):
        pass


def test_a_volume_damaged_meanwhile_is_replaced(tmp_path: Path) -> None:
    with cache(tmp_path) as known:
        keep(known, ["a"])
    with cache(tmp_path) as known:
        (path,) = volumes(tmp_path)
        path.write_bytes(bytes(1000))
        keep(known, ["b"])
    assert known.notes == [
        f"{path} is damaged (no header at byte 0): it is taken away, and what it held is decoded again"
    ]
    with cache(tmp_path) as known:
        np.testing.assert_array_equal(recalled(known, "b"), rows("b"))


def test_blocks_and_volumes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoded, "BLOCK_BYTES", 5 * ROW_BYTES)
    monkeypatch.setattr(decoded, "VOLUME_BYTES", 800)
    names = [f"sample {number}" for number in range(40)]
    with cache(tmp_path) as known:
        for name in names:
            keep(known, [name])
    sizes = [path.stat().st_size for path in volumes(tmp_path)]
    assert len(sizes) == 4
    assert max(sizes) <= 800
    with cache(tmp_path) as known:
        for name in names:
            np.testing.assert_array_equal(recalled(known, name), rows(name))


def old(folder: Path, key: str, *, used: float) -> Path:
    """Make a volume under a key, last used so many seconds ago."""
    with cache(folder, key=key) as known:
        keep(known, [f"{key} {number}" for number in range(20)])
    (path,) = (folder / key).iterdir()
    os.utime(path, (time.time() - used,) * 2)
    return path


def test_the_volumes_not_used_for_longest_make_room(tmp_path: Path) -> None:
    oldest, older, other = (old(tmp_path, key, used=used) for key, used in [("x", 3e6), ("y", 2e6), ("key", 1e6)])
    size = oldest.stat().st_size
    with cache(tmp_path, limit=round(3.5 * size)) as known:
        keep(known, [f"new {number}" for number in range(20)])
    assert (oldest.exists(), older.exists(), other.exists()) == (False, True, True)
    assert known.notes == []
    assert sum(path.stat().st_size for path in volumes(tmp_path)) <= 3.5 * size


def test_what_this_run_used_does_not_go(tmp_path: Path) -> None:
    used, unused = old(tmp_path, "key", used=9e6), old(tmp_path, "y", used=1e6)
    size = used.stat().st_size
    with cache(tmp_path, limit=round(2.5 * size)) as known:
        assert recalled(known, "key 3") is not None
        keep(known, [f"new {number}" for number in range(20)])
        known._flush()
        keep(known, [f"newer {number}" for number in range(40)])
    assert (used.exists(), unused.exists()) == (True, False)
    assert known.notes == [f"{tmp_path} is full at {round(2.5 * size) / 1e9:.3g} GB: not all is kept for next time"]
    with cache(tmp_path) as known:
        assert recalled(known, "key 3") is not None
        assert recalled(known, "new 3") is not None
        assert recalled(known, "newer 3") is None


def test_no_more_than_a_part_of_what_is_free_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil._ntuple_diskusage(10**9, 10**9 - 200, 200)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with cache(tmp_path) as known:
        keep(known, ["a"])
    assert known.notes == [f"{tmp_path} is full at 5e-08 GB: not all is kept for next time"]
    assert volumes(tmp_path) == []


def many(folder: Path, part: int) -> None:
    with cache(folder) as known:
        for number in range(100):
            keep(known, [f"{part} {number}"])
            known._flush()


def test_several_processes_keep_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=many, args=(tmp_path, part)) for part in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0, 0]
    with cache(tmp_path) as known:
        assert len(known) == 300
        for part in range(3):
            for number in range(100):
                np.testing.assert_array_equal(recalled(known, f"{part} {number}"), rows(f"{part} {number}"))
    assert known.notes == []


ENDLESS = """
import sys
from pathlib import Path
from tests.data.test_decoded import cache, keep

with cache(Path(sys.argv[1])) as known:
    for number in range(10**6):
        keep(known, [f"{number} {part}" for part in range(50)])
        known._flush()
        print(number, flush=True)
"""


def test_a_process_killed_while_it_writes_leaves_what_was_whole(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ENDLESS, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for _ in range(20):
            last = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
    with cache(tmp_path) as known:
        assert len(known) >= 50 * (last + 1)
        for number in range(last + 1):
            np.testing.assert_array_equal(recalled(known, f"{number} 7"), rows(f"{number} 7"))
        keep(known, ["more"])
    with cache(tmp_path) as known:
        assert recalled(known, "more") is not None
    assert known.notes == []

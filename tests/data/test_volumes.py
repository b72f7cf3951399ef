import resource
import zlib
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from likewise.data.volumes import CRC, ENTRY, HEADER, DamagedVolume, append, scan

BLOCKS = [[b"one", b"", b"three" * 9], [b"four"], [b"five", b"six"]]


def indexed(payloads: Sequence[bytes]) -> NDArray[np.void]:
    entries = np.zeros(len(payloads), ENTRY)
    entries["digest"] = [np.void(payload.ljust(32, b"\0")[:32]) for payload in payloads]
    entries["length"] = [len(payload) for payload in payloads]
    entries["crc"] = [zlib.crc32(payload) for payload in payloads]
    entries["rows"] = range(len(payloads))
    return entries


def written(path: Path, blocks: Sequence[Sequence[bytes]] = BLOCKS) -> list[int]:
    """Write the blocks, and return how long the file was after each."""
    sizes = []
    for payloads in blocks:
        append(path, indexed(payloads), payloads)
        sizes.append(path.stat().st_size)
    return sizes


def held(path: Path) -> list[bytes]:
    """Return the payload of each entry."""
    entries, offsets = scan(path)
    content = path.read_bytes()
    lengths = entries["length"].tolist()
    return [content[start : start + length] for start, length in zip(offsets.tolist(), lengths, strict=True)]


def test_what_was_appended_is_found_in_its_order(tmp_path: Path) -> None:
    written(tmp_path / "volume")
    assert held(tmp_path / "volume") == [*chain(*BLOCKS)]
    entries, _ = scan(tmp_path / "volume")
    assert entries.tobytes() == b"".join(indexed(payloads).tobytes() for payloads in BLOCKS)


def test_a_new_and_an_empty_volume_hold_nothing(tmp_path: Path) -> None:
    (tmp_path / "volume").touch()
    assert held(tmp_path / "volume") == []
    with pytest.raises(FileNotFoundError):
        scan(tmp_path / "other")


def test_cut_anywhere_the_whole_blocks_are_left_and_more_can_follow(tmp_path: Path) -> None:
    path = tmp_path / "volume"
    ends = [0, *written(path)]
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        whole = [*chain(*BLOCKS[: sum(end <= size for end in ends) - 1])]
        assert held(path) == whole
        append(path, indexed([b"more"]), [b"more"])
        assert held(path) == [*whole, b"more"]


def test_a_changed_byte_of_a_header_or_an_index_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "volume"
    written(path)
    content = path.read_bytes()
    about = HEADER.size + CRC.size + len(BLOCKS[0]) * ENTRY.itemsize
    for place in range(about):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(DamagedVolume, match=r"no header at byte 0|the checksum of the index at byte 28 differs"):
            scan(path)
    path.write_bytes(b"something else altogether, long enough")
    with pytest.raises(DamagedVolume, match="no header at byte 0"):
        append(path, indexed([b"more"]), [b"more"])


def test_a_full_disk_leaves_the_volume_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "volume"
    written(path)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 1000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            append(path, indexed([bytes(2000)]), [bytes(2000)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before

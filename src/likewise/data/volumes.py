"""Files that are only ever appended to, a whole block of entries at a time, and that notice when they are damaged.

A volume is a row of blocks. A block is a header, an index of its entries, and their payloads one after another.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from io import FileIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DIGEST_BYTES = 32

ENTRY = np.dtype([("digest", f"V{DIGEST_BYTES}"), ("length", "<u8"), ("rows", "<u4"), ("crc", "<u4")])
"""What an entry is of, the bytes of its payload, how many rows these are, and their CRC-32."""

MAGIC = b"LWDECOD1"
HEADER, CRC = struct.Struct("<8sIQI"), struct.Struct("<I")
"""Magic, entries, bytes of all payloads, CRC-32 of the index; then the CRC-32 of the header itself."""


class DamagedVolume(ValueError):  # noqa: N818 - it reads as what the file is
    """A volume that does not hold what was written; the message says what is wrong."""


class Block(NamedTuple):
    """Where the parts of a block are in the file, and what its header says."""

    index_at: int
    payloads_at: int
    end: int
    crc: int


def scan(path: Path) -> tuple[NDArray[np.void], NDArray[np.uint64]]:
    """Return all entries of a volume, and for each where its payload begins in the file. Payloads are not read.

    A block that is incomplete at the end, of a process that was killed, counts as not there.

    Raises:
        DamagedVolume: A header or an index is not what was written.
        OSError: The file cannot be read.
    """
    found, offsets = [np.empty(0, ENTRY)], [np.empty(0, np.uint64)]
    with FileIO(path) as file:
        for block in _blocks(file):
            index = os.pread(file.fileno(), block.payloads_at - block.index_at, block.index_at)
            if zlib.crc32(index) != block.crc:
                raise DamagedVolume(f"the checksum of the index at byte {block.index_at} differs")
            entries = np.frombuffer(index, ENTRY)
            ends = np.cumsum(entries["length"], dtype=np.uint64)
            found.append(entries)
            offsets.append(ends - entries["length"] + np.uint64(block.payloads_at))
    return np.concatenate(found), np.concatenate(offsets)


def append(path: Path, entries: NDArray[np.void], payloads: Sequence[bytes]) -> None:
    """Append a block of entries with what their payloads are together; an incomplete block at the end goes.

    No other process may append to it meanwhile.

    Raises:
        DamagedVolume: A header is not what was written.
        OSError: It cannot be written; the volume is then as before.
    """
    index = entries.tobytes()
    header = HEADER.pack(MAGIC, len(entries), sum(map(len, payloads)), zlib.crc32(index))
    with FileIO(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
        end = 0
        for block in _blocks(file):
            end = block.end
        if os.fstat(file.fileno()).st_size > end:
            file.truncate(end)
        file.seek(end)
        try:
            for part in (header, CRC.pack(zlib.crc32(header)), index, *payloads):
                _write(file, part)
        except BaseException:
            file.truncate(end)
            raise


def _blocks(file: FileIO) -> Iterator[Block]:
    """Yield the whole blocks of a volume, with their headers checked."""
    size, start = os.fstat(file.fileno()).st_size, 0
    while start + HEADER.size + CRC.size <= size:
        head = os.pread(file.fileno(), HEADER.size + CRC.size, start)
        magic, entries, payload, crc = HEADER.unpack_from(head)
        if magic != MAGIC or CRC.unpack_from(head, HEADER.size) != (zlib.crc32(head[: HEADER.size]),):
            raise DamagedVolume(f"no header at byte {start}")
        index = start + len(head)
        block = Block(index, index + entries * ENTRY.itemsize, index + entries * ENTRY.itemsize + payload, crc)
        if block.end > size:
            return
        yield block
        start = block.end


def _write(file: FileIO, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[file.write(left) :]

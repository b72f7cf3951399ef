"""A cache of decoded samples on disk, outside the pipeline: keyed by content, append-only, checked on every read.

A folder holds a folder for each key, which says what decodes (`decoder_key`), and in it a few large files, the volumes.
Their entries are the rows of a sample, or the reason why it was rejected, by the SHA-256 of its content. A volume goes
as a whole: when it is damaged, or when there is no room and it is the one that was not used for longest. Every read is
checked against a checksum, so that whatever happens to the files, what comes back is what was put there, or nothing.
"""

from __future__ import annotations

import os
import shutil
import struct
import uuid
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from likewise.data import volumes
from likewise.data.volumes import DIGEST_BYTES, ENTRY, DamagedVolume

BLOCK_BYTES, VOLUME_BYTES = 8 << 20, 256 << 20
"""A block is written when so much has come; a volume takes no block that makes it larger than this."""

FREE_PART = 4
"""One part in so many of what is free on the disk may be taken, for the data need room there too."""

PATIENCE = 60.0
"""Seconds to wait while another process writes a block."""

SUFFIX, LOCK = ".decoded", "lock"

PLACED, PLACE = np.dtype([("entry", ENTRY), ("offset", "<u8"), ("volume", "<u4")]), struct.Struct("<32sQIIQI")
"""An entry, where its payload begins in its volume, and the number of that volume; the same for the struct module."""


class DecodeCache:
    """What was decoded before, for one key. A context, inside which it recalls and keeps; processes may share it.

    Args:
        folder: Holds the volumes of all keys; made when it is missing.
        key: Says what decodes.
        shape: Of one row.
        dtype: Of the rows.
        limit: Bytes that the volumes of all keys may take together.

    Attributes:
        notes: What a person should know, a line each: a volume that was damaged, no room, no right to write.
        damaged: Names of the volumes in which `recall` met a damaged entry.
    """

    def __init__(self, folder: Path, key: str, *, shape: Sequence[int], dtype: str, limit: int) -> None:
        self.notes: list[str] = []
        self.damaged: set[str] = set()
        self._root, self._folder = folder, folder / key
        self._shape, self._dtype = tuple(shape), np.dtype(dtype)
        self._limit, self._began = limit, 0
        self._pending: list[tuple[NDArray[np.void], bytes]] = []
        self._waiting = 0
        self._full = False
        self._names: list[str] = []
        self._files: dict[int, int | None] = {}
        # Not NumPy's, whose way to a single number is so long that it takes a tenth of the time of decoding a digit.
        self._keys, self._places = array("Q"), b""

    def __enter__(self) -> Self:
        """Read the indexes.

        Raises:
            OSError: The folder cannot be made, or nothing can be written in it.
        """
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder.mkdir(exist_ok=True)
        with self._locked():
            lock = self._root / LOCK
            lock.touch()
            self._began = lock.stat().st_mtime_ns
            held = sum(size for _, size, _ in self._volumes())
            self._limit = min(self._limit, held + shutil.disk_usage(self._root).free // FREE_PART)
            scanned = [self._scanned(path) for path in sorted(self._folder.glob(f"*{SUFFIX}"))]
        if scanned:
            self._index(np.concatenate(scanned))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what is pending, also where the work was broken off."""
        self._flush()
        for file in self._files.values():
            if file is not None:
                os.close(file)
        self._files.clear()

    def __len__(self) -> int:
        """Return the number of entries that were there at the start."""
        return len(self._keys)

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs to recall; it opens files of its own."""
        return self.__dict__ | {"_files": {}, "_pending": [], "_waiting": 0}

    def recall(self, digest: bytes) -> NDArray[Any] | str | None:
        """Return the rows that a content gave, or the reason why it was rejected; None where it is not known."""
        index = bisect_left(self._keys, int.from_bytes(digest[:8], "big"))
        if index == len(self._keys):
            return None
        known, length, rows, crc, offset, volume = PLACE.unpack_from(self._places, index * PLACE.size)
        if known != digest:
            return None
        payload = self._read(volume, offset, length)
        if payload is None:
            return None
        if len(payload) != length or zlib.crc32(payload) != crc:
            self.damaged.add(self._names[volume])
            return None
        return np.frombuffer(payload, self._dtype).reshape(rows, *self._shape) if rows else payload.decode()

    def keep(
        self,
        digests: NDArray[np.uint8],
        counts: NDArray[np.int64],
        crcs: NDArray[np.uint32],
        rows: NDArray[Any],
        reasons: Sequence[str],
    ) -> None:
        """Take in new samples; those that were rejected come last.

        Args:
            digests: SHA-256 of their contents (n, 32).
            counts: How many rows each has (n,), 0 for those that were rejected.
            crcs: `zlib.crc32` of each one's rows, or of its reason in UTF-8 (n,).
            rows: All rows, one sample's after the other's.
            reasons: Why the last ones were rejected.
        """
        if self._full or not len(digests):
            return
        texts = [reason.encode() for reason in reasons]
        entries = np.empty(len(digests), ENTRY)
        entries["digest"] = np.ascontiguousarray(digests).view(ENTRY["digest"])[:, 0]
        entries["rows"], entries["crc"] = counts, crcs
        entries["length"] = counts * (prod(self._shape) * self._dtype.itemsize)
        entries["length"][len(entries) - len(texts) :] = [len(text) for text in texts]
        payload = b"".join([rows.tobytes(), *texts])
        self._pending.append((entries, payload))
        self._waiting += len(payload)
        if self._waiting >= BLOCK_BYTES:
            self._flush()

    def drop(self, names: Iterable[str]) -> None:
        """Take volumes away in which `recall` met a damaged entry."""
        for name in set(names):
            if (self._folder / name).exists():
                self._remove(self._folder / name, "the checksum of an entry differs")

    def _scanned(self, path: Path) -> NDArray[np.void]:
        try:
            entries, offsets = volumes.scan(path)
        except (DamagedVolume, OSError) as error:
            self._remove(path, str(error))
            return np.empty(0, PLACED)
        placed = np.empty(len(entries), PLACED)
        placed["entry"], placed["offset"], placed["volume"] = entries, offsets, len(self._names)
        self._names.append(path.name)
        return placed

    def _index(self, placed: NDArray[np.void]) -> None:
        """Take the entries in, in the order of the first eight bytes of their digests."""
        words = placed["entry"]["digest"].copy().view(">u8").reshape(len(placed), DIGEST_BYTES // 8)
        order = np.argsort(words[:, 0], kind="stable")
        self._keys.frombytes(words[order, 0].astype(np.uint64).tobytes())
        self._places = placed[order].tobytes()

    def _remove(self, path: Path, why: str) -> None:
        self.notes.append(f"{path} is damaged ({why}): it is taken away, and what it held is decoded again")
        path.unlink(missing_ok=True)

    def _read(self, volume: int, offset: int, length: int) -> bytes | None:
        """Return the bytes that are there, fewer where the file is shorter, or None where it has gone."""
        if volume not in self._files:
            self._files[volume] = self._open(self._folder / self._names[volume])
        file = self._files[volume]
        try:
            return os.pread(file, length, offset) if file is not None else None
        except OSError:
            return b""

    def _open(self, path: Path) -> int | None:
        try:
            file = os.open(path, os.O_RDONLY)
            # The time of the last use is that of the last change: reading is not always noted.
            os.utime(path)
        except OSError:
            return None
        return file

    def _flush(self) -> None:
        entries = np.concatenate([np.empty(0, ENTRY), *(part for part, _ in self._pending)])
        payloads = [payload for _, payload in self._pending]
        self._pending.clear()
        self._waiting = 0
        if not len(entries) or self._full:
            return
        size = entries.nbytes + sum(map(len, payloads))
        try:
            with self._locked():
                self._full = not self._make_room(size)
                if not self._full:
                    self._append(entries, payloads, size)
        except OSError as error:
            self._full = True
            self.notes.append(f"{self._folder} cannot be written ({error.strerror or error}): going on without")
        else:
            if self._full:
                self.notes.append(f"{self._root} is full at {self._limit / 1e9:.3g} GB: not all is kept for next time")

    def _append(self, entries: NDArray[np.void], payloads: Sequence[bytes], size: int) -> None:
        open_ones = (path for path in self._folder.glob(f"*{SUFFIX}") if path.stat().st_size + size <= VOLUME_BYTES)
        path = next(open_ones, self._folder / f"{uuid.uuid4().hex}{SUFFIX}")
        try:
            volumes.append(path, entries, payloads)
        except DamagedVolume as error:
            self._remove(path, str(error))
            volumes.append(path, entries, payloads)

    def _make_room(self, size: int) -> bool:
        """Take away the volumes not used for longest until so many bytes fit in; none that was used since we began."""
        found = sorted(self._volumes())
        held = sum(taken for _, taken, _ in found)
        for used, taken, path in found:
            if held + size <= self._limit:
                break
            if used < self._began:
                path.unlink(missing_ok=True)
                held -= taken
        return held + size <= self._limit

    def _volumes(self) -> Iterator[tuple[int, int, Path]]:
        """Yield when each volume of any key was last used, its size, and where it is."""
        for path in self._root.glob(f"*/*{SUFFIX}"):
            try:
                about = path.stat()
            except FileNotFoundError:
                continue
            yield about.st_mtime_ns, about.st_size, path

    def _locked(self) -> FileLock:
        return FileLock(self._root / LOCK, timeout=PATIENCE)

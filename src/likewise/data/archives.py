"""Zip and tar archives, listed once and then read in place, from any process, without unpacking."""

import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Literal, Self

from likewise.data.raw import MAX_BYTES, Content, Extent, Member, Raw, Reader, Unreadable

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")

ZIP_HEADER, ZIP_MAGIC = 30, b"PK\x03\x04"
OVERLAP = "damaged in the archive: it lies inside another file"
UTF8_NAME, ENCRYPTED = 0x800, 0x1

EXTENSIONS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
MAX_EXTENSION = 1 << 20
"""Headers of a tar that hold a long name or the like, and the bytes above which one is refused."""

FREE_BYTES, MOST_TIMES = 1 << 30, 200
"""A compressed tar may unpack to 1 GiB, or to so many times its size; images and sounds shrink far less."""

MAGIC: dict[bytes, Callable[[Path], io.BufferedIOBase]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
}
"""How to open a compressed tar, by its first bytes."""


def list_archive(path: Path) -> Iterator[Member]:
    """Yield the files of a zip or tar archive, in the archive's order.

    Raises:
        ValueError: the archive is damaged, cut short or a decompression bomb, or `path` is no archive.
    """
    try:
        if _is_tar(path):
            yield from _list_tar(path)
        elif zipfile.is_zipfile(path):
            yield from _list_zip(path)
        else:
            raise ValueError(f"{path} is neither a folder nor a zip or tar archive, or one that was cut short")
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError) as error:
        raise ValueError(f"the archive {path} is damaged: {error}") from error
    except (UnicodeDecodeError, NotImplementedError, RecursionError) as error:
        raise ValueError(f"the archive {path} cannot be listed: {error}") from error


def archive_reader(path: Path) -> Reader:
    """Return the reader that suits the archive: in place, or forward for a compressed tar."""
    return StreamReader(path) if _decompressor(path) else ArchiveReader(path)


@dataclass(frozen=True)
class ArchiveReader:
    """Reads the files of a zip or a plain tar where they lie."""

    path: Path
    reach: Literal["anywhere"] = "anywhere"

    @contextmanager
    def reading(self) -> Iterator[Callable[[Raw], Content]]:
        """Open the archive, and yield a function that reads any sample of it."""
        with _still_there(self.path).open("rb") as file:
            yield lambda raw: _extract(file.fileno(), _extent(raw))


@dataclass(frozen=True)
class StreamReader:
    """Reads the files of a compressed tar, fast only in the order in which they lie."""

    path: Path
    reach: Literal["forward"] = "forward"

    @contextmanager
    def reading(self) -> Iterator[Callable[[Raw], Content]]:
        """Open the stream, and yield a function that reads a sample from it."""
        opened = _decompressor(_still_there(self.path))
        if opened is None:
            raise ValueError(f"{self.path} is no compressed archive any more")
        with opened(self.path) as stream:

            def read(raw: Raw) -> bytes:
                extent = _extent(raw)
                try:
                    stream.seek(extent.offset)
                    content = stream.read(extent.size)
                except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
                    raise Unreadable(f"damaged in the archive: {error}") from error
                return _whole(content, extent.size)

            yield read


def _still_there(path: Path) -> Path:
    if not path.is_file():
        raise ValueError(f"the archive {path} vanished before it was read")
    return path


def _decompressor(path: Path) -> Callable[[Path], io.BufferedIOBase] | None:
    with path.open("rb") as file:
        start = file.read(8)
    return next((opener for magic, opener in MAGIC.items() if start.startswith(magic)), None)


def _extent(raw: Raw) -> Extent:
    if not isinstance(raw.place, Extent):
        raise ValueError(f"the sample {raw.id!r} is not of an archive")
    return raw.place


def _whole(content: bytes, size: int) -> bytes:
    if len(content) != size:
        raise Unreadable(f"truncated in the archive: {len(content)} of {size} bytes")
    return content


def _extract(file: int, extent: Extent) -> bytes:
    try:
        return _unpacked(file, extent)
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from error


def _unpacked(file: int, extent: Extent) -> bytes:
    if extent.packing == "tar":
        return _whole(os.pread(file, extent.size, extent.offset), extent.size)
    header = _whole(os.pread(file, ZIP_HEADER, extent.offset), ZIP_HEADER)
    if not header.startswith(ZIP_MAGIC):
        raise Unreadable("damaged in the archive: no file header where one should be")
    # The local name and extra field may differ in length from the directory's.
    skip = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    stored = os.pread(file, extent.stored, extent.offset + ZIP_HEADER + skip)
    content = _inflate(stored, extent.size) if extent.packing == "zip-deflated" else stored
    if zlib.crc32(_whole(content, extent.size)) != extent.crc:
        raise Unreadable("damaged in the archive: its checksum differs")
    return content


def _inflate(stored: bytes, size: int) -> bytes:
    """Inflate to at most `size` bytes, whatever the data claims to hold."""
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(stored, max(size, 1))
    except zlib.error as error:
        raise Unreadable(f"damaged in the archive: {error}") from error


class _Header(tarfile.TarInfo):
    """A header of a tar that tells where the archive is cut short or damaged, and takes no more memory than it needs.

    `tarfile` by itself takes any block that is no header, or none at all, for the end of the archive, so that the files
    after it would be lost unseen; and it reads a header's extension whole, whatever its size.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"{error}, and no end mark: cut short?") from None

    def _proc_member(self, archive: tarfile.TarFile) -> Self:
        if self.size < 0 or (self.type in EXTENSIONS and self.size > MAX_EXTENSION):
            raise tarfile.ReadError(f"a header says {self.size} bytes")
        return super()._proc_member(archive)  # type: ignore[misc, no-any-return]


def _open_tar(path: Path) -> tarfile.TarFile:
    return tarfile.open(path, encoding="utf-8", errors="surrogateescape", tarinfo=_Header)


def _is_tar(path: Path) -> bool:
    try:
        _open_tar(path).close()
    except tarfile.TarError:
        return False
    return True


def _list_tar(path: Path) -> Iterator[Member]:
    seen: dict[str, Extent] = {}
    packed = path.stat().st_size
    last = -1
    with _open_tar(path) as archive:
        while (info := archive.next()) is not None:
            # tarfile keeps every header it has met, a kilobyte each.
            archive.members.clear()  # type: ignore[attr-defined]
            _refuse_bombs(info, packed=packed, last=last)
            last = info.offset
            if info.isdir():
                continue
            extent = seen.get(info.linkname) if info.islnk() else None
            if info.isreg() and not info.issparse():
                extent = seen[info.name] = Extent(info.offset_data, info.size, info.size, "tar")
            yield Member(info.name, _tar_refusal(info, extent), extent)


def _refuse_bombs(info: tarfile.TarInfo, *, packed: int, last: int) -> None:
    """Refuse an archive in which a header leads back, or that unpacks to far more than images and sounds do."""
    if info.size < 0 or info.offset <= last:
        raise tarfile.ReadError(f"the header at byte {info.offset} leads back")
    end = info.offset_data + info.size
    if end > FREE_BYTES and end > MOST_TIMES * packed:
        raise tarfile.ReadError(f"it unpacks to more than {MOST_TIMES} times its {packed} bytes, as bombs do")


def _tar_refusal(info: tarfile.TarInfo, extent: Extent | None) -> str | None:
    if info.issym():
        return "a link, which is not followed in an archive"
    if info.islnk() and extent is None:
        return "a broken link"
    if extent is None:
        return "not a regular file"
    return _size_refusal(extent)


def _list_zip(path: Path) -> Iterator[Member]:
    whole = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        overlapping = _overlapping([info for info in archive.infolist() if _lies_inside(info, whole)])
        for info in archive.infolist():
            if info.is_dir():
                continue
            packing: Literal["zip-stored", "zip-deflated"] = (
                "zip-deflated" if info.compress_type == zipfile.ZIP_DEFLATED else "zip-stored"
            )
            extent = Extent(info.header_offset, info.compress_size, info.file_size, packing, info.CRC)
            refused = OVERLAP if info in overlapping else _zip_refusal(info, extent, whole)
            yield Member(_zip_name(info), refused, extent)


def _lies_inside(info: zipfile.ZipInfo, whole: int) -> bool:
    return info.header_offset >= 0 and info.header_offset + info.compress_size <= whole


def _overlapping(files: Sequence[zipfile.ZipInfo]) -> set[zipfile.ZipInfo]:
    """Return the files that begin inside another: a small zip can so unpack to any size (Fifield, 2019)."""
    ordered = sorted(files, key=lambda info: info.header_offset)
    ends = accumulate((info.header_offset + ZIP_HEADER + info.compress_size for info in ordered), max)
    return {info for info, end in zip(ordered[1:], ends, strict=False) if info.header_offset < end}


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Return the name; names that do not say they are UTF-8 usually are, and zipfile reads them as code page 437."""
    name = info.filename
    if not info.flag_bits & UTF8_NAME:
        name = name.encode("cp437").decode("utf-8", "surrogateescape")
    # Old .NET archivers on Windows wrote backslashes.
    return name.replace("\\", "/") if info.create_system == 0 and "/" not in name else name


def _zip_refusal(info: zipfile.ZipInfo, extent: Extent, whole: int) -> str | None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "a link, which is not followed in an archive"
    if kind not in (0, stat.S_IFREG):
        return "not a regular file"
    if info.flag_bits & ENCRYPTED:
        return "encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"packed by zip's method {info.compress_type}: only stored and deflated files are read"
    if not _lies_inside(info, whole):
        return "damaged in the archive: it lies outside"
    return _size_refusal(extent)


def _size_refusal(extent: Extent) -> str | None:
    return f"{extent.size} bytes, more than {MAX_BYTES}" if extent.size > MAX_BYTES else None

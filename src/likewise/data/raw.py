"""What every source hands over: raw samples in a fixed order, and a way to read each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

MAX_BYTES = 1 << 28
"""Files above 256 MiB are refused unread, so that one file cannot fill the memory."""

Pixels = NDArray[np.uint8]
Content = bytes | Pixels
"""An encoded file, or an already decoded uint8 array (H, W) or (H, W, C)."""


class Unreadable(ValueError):  # noqa: N818 - it reads as what the sample is
    """A sample that cannot be used; its message is the one reason, on one line."""


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a file lies inside an archive.

    Attributes:
        offset: Byte offset of the local header (zip) or of the content (tar).
        stored: Bytes that the file takes in the archive.
        size: Bytes of the file itself.
        packing: How it is stored: as it is in a tar, as it is or deflated in a zip.
        crc: CRC-32 of the file, for a zip.
    """

    offset: int
    stored: int
    size: int
    packing: Literal["tar", "zip-stored", "zip-deflated"]
    crc: int = 0


@dataclass(frozen=True, slots=True)
class Member:
    """A file of a folder or an archive: its name there, why it is not read, and where it lies in an archive."""

    name: str
    refused: str | None
    extent: Extent | None = None


@dataclass(frozen=True, slots=True)
class Raw:
    """A sample before it is read.

    Attributes:
        id: Unique in its source, and stable when data is added.
        label: The class, or None where there is none.
        group: What classes or samples share (an alphabet, a session), or None.
        path: Where the content is, relative to the source's root.
        refused: Why the source will not read it, or None.
        place: Its extent in an archive, or its row in an array or a table; None for a plain file.
        forges: For a forgery the class that it imitates; its own label is None.
    """

    id: str
    label: str | None
    path: str
    group: str | None = None
    refused: str | None = None
    place: Extent | int | None = None
    forges: str | None = None

    def __reduce__(self) -> tuple[object, ...]:
        # A third of the time of a slotted dataclass's own pickling; a million of these go to the decoding processes.
        return Raw, (self.id, self.label, self.path, self.group, self.refused, self.place, self.forges)


class Reader(Protocol):
    """Reads the content of raw samples.

    `reach` says who may read: "anywhere" is small to pickle and reads in any order and any process, "forward" must be
    read here and is fast only in the order of their places, "memory" holds decoded arrays.
    """

    @property
    def reach(self) -> Literal["anywhere", "forward", "memory"]:
        """Who may read, and in which order."""

    def reading(self) -> AbstractContextManager[Callable[[Raw], Content]]:
        """Open the source once, for as many reads as wanted; a read raises `Unreadable`."""


@dataclass(frozen=True)
class PairRows:
    """The rows of a table of pairs, as they stand there.

    Attributes:
        left: The id of one side of each, or None where it is empty.
        right: That of the other.
        same: Whether both are of the same thing, or None where that is not said.
        wrong: What is wrong with the row itself, or None.
        groups: What its two samples must stay together with, or None.
        carried: What else the table says.
    """

    left: tuple[str | None, ...]
    right: tuple[str | None, ...]
    same: tuple[bool | None, ...]
    wrong: tuple[str | None, ...]
    groups: tuple[str | None, ...]
    carried: pa.Table

    def resolved(self, copies: Mapping[str, str]) -> PairRows:
        """Return the rows with each exact copy replaced by the file that was kept for it."""
        left, right = (tuple(name and copies.get(name, name) for name in side) for side in (self.left, self.right))
        return replace(self, left=left, right=right)


@dataclass(frozen=True)
class Source:
    """Raw samples sorted by id, and the reader of their content.

    Attributes:
        raws: The samples.
        reader: Reads their content.
        carried: What else the source says of them, a column each and row `i` of sample `i`, as it is there; or None.
        pairs: The pairs that the source gives instead of classes, if it does.
    """

    raws: tuple[Raw, ...]
    reader: Reader
    carried: pa.Table | None = None
    pairs: PairRows | None = None

    def __len__(self) -> int:
        return len(self.raws)

    def __iter__(self) -> Iterator[Raw]:
        return iter(self.raws)

    def read(self, raw: Raw) -> Content:
        """Return the content of one sample, or raise `Unreadable` with the reason."""
        if raw.refused is not None:
            raise Unreadable(raw.refused)
        with self.reader.reading() as read:
            return read(raw)

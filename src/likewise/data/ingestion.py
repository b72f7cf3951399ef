"""From a source to clean samples, their media in one array, and a reason for everything left out."""

from __future__ import annotations

from binascii import hexlify
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from likewise.data.cleaning import duplicates, small_classes
from likewise.data.decoded import DecodeCache
from likewise.data.decoding import Batch, decode_all
from likewise.data.forgeries import imitated
from likewise.data.kinds import Preprocessing
from likewise.data.media import MediaWriter
from likewise.data.raw import Source
from likewise.data.rows import Rows, offsets_of, ranges
from likewise.data.volumes import DIGEST_BYTES

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


@dataclass(frozen=True, eq=False)
class Ingested:
    """What became of everything that was found.

    Attributes:
        samples: id, class, group, path, hash, forges: text, sorted by id, a row a file.
        offsets: where each sample begins in the media, and where the last one ends: int64 (samples + 1). A sample is
            one row of it, or several, such as the windows of a long sound.
        left_out: how many bytes of each sample are in none of its rows, such as those past the length of a text: int64
            (samples).
        quarantine: id, class (of a forgery that it imitates), path, reason: text, sorted by id.
        found: How many files the source had: those kept and those in quarantine.
        recalled: How many of them the decode cache knew.

    Both frames end with the columns that the source carries along, named `carried.*`, of the types they have there.
    """

    samples: pd.DataFrame
    offsets: Rows
    left_out: NDArray[np.int64]
    quarantine: pd.DataFrame
    found: int
    recalled: int


def ingest(
    source: Source,
    preprocessing: Preprocessing,
    *,
    media_path: Path,
    workers: int | None = None,
    min_class: int = 2,
    refuse_small: bool = True,
    cache: DecodeCache | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Ingested:
    """Decode the source into one array at `media_path`, and return what was kept and what was not.

    Whatever the number of workers, and whatever the cache knows, the same source gives the same frames and bytes.

    Args:
        source: The samples and their reader.
        preprocessing: What each becomes.
        media_path: Where the array goes, a .npy file of (N, *shape); its folder exists.
        workers: Processes that decode; all cores by default.
        min_class: How many usable samples a class needs.
        refuse_small: Refuse smaller classes; else their samples are left out.
        cache: What was decoded before, which is not decoded again; it takes the rest.
        progress: Called with the number of samples done and found, now and then.

    Raises:
        ValueError: nothing can be used, or a class has too few usable samples; nothing is written.
        OSError: the disk is full; nothing is left behind.
    """
    taken = Taken(len(source))
    with MediaWriter(media_path, preprocessing.shape, preprocessing.dtype) as media:
        with closing(decode_all(source, preprocessing, workers=workers, cache=cache)) as batches:
            for batch in batches:
                taken.add(batch, first=media.extend(batch.rows))
                if progress is not None:
                    progress(taken.done, len(source))
        taken.reject(duplicates(source.raws, taken.digests, taken.counts > 0))
        taken.reject(small_classes(source.raws, taken.reasons, least=min_class, refuse=refuse_small))
        kept = taken.kept()
        media.keep(ranges(taken.starts[kept], taken.counts[kept]))
    samples = _samples(source, taken.digests[kept], kept)
    offsets = offsets_of(taken.counts[kept])
    quarantine = _quarantine(source, taken.reasons)
    return Ingested(samples, offsets, taken.left_out[kept], quarantine, len(source), taken.recalled)


class Taken:
    """What is known of each of so many files, as it comes in.

    Attributes:
        reasons: Why each is left out, or None (n).
        digests: SHA-256 of the content of each: uint8 (n, 32).
        counts: How many rows each has: int64 (n,).
        starts: The first of its rows: int64 (n,).
        left_out: How many bytes of each are in none of its rows: int64 (n,).
        done: How many have come in.
        recalled: How many of these the decode cache knew.
    """

    def __init__(self, files: int) -> None:
        self.reasons: list[str | None] = [None] * files
        self.digests = np.zeros((files, DIGEST_BYTES), dtype=np.uint8)
        self.counts, self.starts, self.left_out = np.zeros((3, files), dtype=np.int64)
        self.done = self.recalled = 0

    def add(self, batch: Batch, *, first: int) -> None:
        """Take in a batch whose rows begin at row `first`."""
        self.digests[batch.indices], self.counts[batch.indices] = batch.digests, batch.counts
        self.left_out[batch.indices] = batch.left_out
        self.starts[batch.indices] = first + np.cumsum(batch.counts) - batch.counts
        self.done += len(batch.indices)
        self.recalled += int(batch.recalled.sum())
        self.reject(batch.reasons)

    def reject(self, reasons: Mapping[int, str]) -> None:
        """Leave files out, each by its place."""
        for index, reason in reasons.items():
            self.reasons[index] = reason

    def kept(self) -> Rows:
        """Return the places of those that are not left out, in order."""
        return np.array([index for index, reason in enumerate(self.reasons) if reason is None], dtype=np.int64)


def _samples(source: Source, digests: NDArray[np.uint8], kept: Rows) -> pd.DataFrame:
    """Return the samples that files are; the digests are those of the files kept."""
    chosen = [source.raws[index] for index in kept.tolist()]
    return _frame(
        {
            "id": [raw.id for raw in chosen],
            "class": [raw.label for raw in chosen],
            "group": [raw.group for raw in chosen],
            "path": [raw.path for raw in chosen],
            "hash": _hexadecimal(digests),
            "forges": [raw.forges for raw in chosen],
        },
        source,
        kept,
    )


def _hexadecimal(digests: NDArray[np.uint8]) -> pa.LargeStringArray:
    """Return each digest (n, 32) as text, without a million strings on the way."""
    import pyarrow as pa

    ends = np.arange(len(digests) + 1, dtype=np.int64) * 2 * DIGEST_BYTES
    return pa.LargeStringArray.from_buffers(len(digests), pa.py_buffer(ends), pa.py_buffer(hexlify(digests.data)))


def _quarantine(source: Source, reasons: Sequence[str | None]) -> pd.DataFrame:
    rejected = [index for index, reason in enumerate(reasons) if reason is not None]
    raws = [source.raws[index] for index in rejected]
    return _frame(
        {
            "id": [raw.id for raw in raws],
            "class": [imitated(raw) for raw in raws],
            "path": [raw.path for raw in raws],
            "reason": [reasons[index] for index in rejected],
        },
        source,
        rejected,
    )


def _frame(columns: dict[str, list[str | None] | pa.Array], source: Source, rows: Sequence[int] | Rows) -> pd.DataFrame:
    # Only here: the processes that decode import this module's neighbours, and pandas takes half a second.
    import pandas as pd
    import pyarrow as pa

    from likewise.artifacts import CARRIED

    def text(values: list[str | None] | pa.Array) -> Any:
        # pandas takes twice as long to make text of a list, and ten times as long where all are None.
        return pd.array(values if isinstance(values, pa.Array) else pa.array(values, pa.large_string()), dtype="str")

    frame = pd.DataFrame({name: text(values) for name, values in columns.items()})
    if source.carried is None:
        return frame
    # Arrow's own types, so that whole numbers with gaps, dates and lists stay what they are.
    taken = source.carried.take(np.asarray(rows, dtype=np.int64))
    carried: pd.DataFrame = taken.to_pandas(types_mapper=pd.ArrowDtype)
    return pd.concat([frame, carried.add_prefix(CARRIED)], axis=1)

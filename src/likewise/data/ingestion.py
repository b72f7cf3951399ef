"""From a source to clean samples, their media in one array, and a reason for everything left out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from likewise.data.cleaning import duplicates, small_classes
from likewise.data.decoding import decode_all
from likewise.data.kinds import Preprocessing
from likewise.data.media import MediaWriter
from likewise.data.raw import Source

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Ingested:
    """What became of everything that was found.

    Attributes:
        samples: id, class, group, path, hash, forges: text, sorted by the file's id; row `i` is row `i` of the media.
            A file of several rows, such as a long sound, gives a sample each: `name#1`, `name#2`.
        files: the id of the file that each sample came from.
        quarantine: id, class, path, reason: text, sorted by id.
        found: How many files the source had: those kept and those in quarantine.

    Both frames end with the columns that the source carries along, named `carried.*`, of the types they have there.
    """

    samples: pd.DataFrame
    files: pd.Series[str]
    quarantine: pd.DataFrame
    found: int


def ingest(
    source: Source,
    preprocessing: Preprocessing,
    *,
    media_path: Path,
    workers: int | None = None,
    min_class: int = 2,
    refuse_small: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Ingested:
    """Decode the source into one array at `media_path`, and return what was kept and what was not.

    Whatever the number of workers, the same source gives the same frames and the same bytes.

    Args:
        source: The samples and their reader.
        preprocessing: What each becomes.
        media_path: Where the array goes, a .npy file of (N, *shape); its folder exists.
        workers: Processes that decode; all cores by default.
        min_class: How many usable samples a class needs.
        refuse_small: Refuse smaller classes; else their samples are left out.
        progress: Called with the number of samples done and found, after each.

    Raises:
        ValueError: nothing can be used, or a class has too few usable samples; nothing is written.
        OSError: the disk is full; nothing is left behind.
    """
    found = len(source)
    reasons: list[str | None] = [None] * found
    hashes: list[str | None] = [None] * found
    rows: list[list[int]] = [[]] * found
    size = math.prod(preprocessing.shape) * np.dtype(preprocessing.dtype).itemsize
    decoded = decode_all(source, preprocessing.decode, sample_bytes=size, workers=workers)
    with MediaWriter(media_path, preprocessing.shape, preprocessing.dtype) as media:
        for done, sample in enumerate(decoded, start=1):
            reasons[sample.index] = sample.reason
            if sample.rows is not None:
                hashes[sample.index] = sample.hash
                rows[sample.index] = [media.append(row) for row in sample.rows]
            if progress is not None:
                progress(done, found)
        for index, reason in duplicates(source.raws, hashes).items():
            reasons[index] = reason
        for index, reason in small_classes(source.raws, reasons, least=min_class, refuse=refuse_small).items():
            reasons[index] = reason
        kept = [index for index, reason in enumerate(reasons) if reason is None]
        media.keep([row for index in kept for row in rows[index]])
    samples = _samples(source, hashes, kept, [len(rows[index]) for index in kept])
    return Ingested(*samples, _quarantine(source, reasons), found)


def _samples(
    source: Source, hashes: Sequence[str | None], files: Sequence[int], counts: Sequence[int]
) -> tuple[pd.DataFrame, pd.Series[str]]:
    """Return the samples of files, so many of each, and the id of each one's file."""
    kept = np.repeat(files, counts).tolist()
    chosen = [source.raws[index] for index in kept]
    numbers = [number for count in counts for number in range(1, count + 1)]
    alone = np.repeat(np.asarray(counts) == 1, counts)
    ids = [
        raw.id if single else f"{raw.id}#{number}" for raw, single, number in zip(chosen, alone, numbers, strict=True)
    ]
    frame = _frame(
        {
            "id": ids,
            "class": [raw.label for raw in chosen],
            "group": [raw.group for raw in chosen],
            "path": [raw.path for raw in chosen],
            "hash": [hashes[index] for index in kept],
            "forges": [raw.forges for raw in chosen],
        },
        source,
        kept,
    )
    return frame, frame["id"].where(alone, [raw.id for raw in chosen])


def _quarantine(source: Source, reasons: Sequence[str | None]) -> pd.DataFrame:
    rejected = [index for index, reason in enumerate(reasons) if reason is not None]
    raws = [source.raws[index] for index in rejected]
    return _frame(
        {
            "id": [raw.id for raw in raws],
            "class": [raw.label for raw in raws],
            "path": [raw.path for raw in raws],
            "reason": [reasons[index] for index in rejected],
        },
        source,
        rejected,
    )


def _frame(columns: dict[str, list[str | None]], source: Source, rows: Sequence[int]) -> pd.DataFrame:
    # Only here: the processes that decode import this module's neighbours, and pandas takes half a second.
    import pandas as pd

    from likewise.artifacts import CARRIED

    frame = pd.DataFrame({name: pd.Series(values, dtype="str") for name, values in columns.items()})
    if source.carried is None:
        return frame
    # Arrow's own types, so that whole numbers with gaps, dates and lists stay what they are.
    taken = source.carried.take(np.asarray(rows, dtype=np.int64))
    carried: pd.DataFrame = taken.to_pandas(types_mapper=pd.ArrowDtype)
    return pd.concat([frame, carried.add_prefix(CARRIED)], axis=1)

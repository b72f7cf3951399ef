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
from likewise.data.forgeries import imitated
from likewise.data.kinds import Preprocessing
from likewise.data.media import MediaWriter
from likewise.data.raw import Source
from likewise.data.rows import Rows, offsets_of

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Ingested:
    """What became of everything that was found.

    Attributes:
        samples: id, class, group, path, hash, forges: text, sorted by id, a row a file.
        offsets: where each sample begins in the media, and where the last one ends: int64 (samples + 1). A sample is
            one row of it, or several, such as the windows of a long sound.
        quarantine: id, class (of a forgery that it imitates), path, reason: text, sorted by id.
        found: How many files the source had: those kept and those in quarantine.

    Both frames end with the columns that the source carries along, named `carried.*`, of the types they have there.
    """

    samples: pd.DataFrame
    offsets: Rows
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
    offsets = offsets_of(np.array([len(rows[index]) for index in kept]))
    return Ingested(_samples(source, hashes, kept), offsets, _quarantine(source, reasons), found)


def _samples(source: Source, hashes: Sequence[str | None], kept: Sequence[int]) -> pd.DataFrame:
    chosen = [source.raws[index] for index in kept]
    return _frame(
        {
            "id": [raw.id for raw in chosen],
            "class": [raw.label for raw in chosen],
            "group": [raw.group for raw in chosen],
            "path": [raw.path for raw in chosen],
            "hash": [hashes[index] for index in kept],
            "forges": [raw.forges for raw in chosen],
        },
        source,
        kept,
    )


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

"""From a source to clean samples, their media in one array, and a reason for everything left out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from likewise.data.cleaning import duplicates, refuse_small_classes
from likewise.data.decoding import decode_all
from likewise.data.images import MIN_SIDE, ImageSpec, decode
from likewise.data.media import MediaWriter
from likewise.data.raw import Raw, Source

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Ingested:
    """What became of everything that was found.

    Attributes:
        samples: id, class, group, given, path, hash: text, sorted by id; row `i` is row `i` of the media.
        quarantine: id, class, path, reason: text, sorted by id.
        found: How many samples the source had: those kept and those in quarantine.
    """

    samples: pd.DataFrame
    quarantine: pd.DataFrame
    found: int


def ingest(
    source: Source,
    spec: ImageSpec,
    *,
    media_path: Path,
    workers: int | None = None,
    min_side: int = MIN_SIDE,
    progress: Callable[[int, int], None] | None = None,
) -> Ingested:
    """Decode the source into one array at `media_path`, and return what was kept and what was not.

    Whatever the number of workers, the same source gives the same frames and the same bytes.

    Args:
        source: The samples and their reader.
        spec: The shape that images take.
        media_path: Where the array goes, a .npy file of uint8 (N, C, H, W); its folder exists.
        workers: Processes that decode; all cores by default.
        min_side: Images with a shorter side, in pixels, are rejected.
        progress: Called with the number of samples done and found, after each.

    Raises:
        ValueError: a class has fewer than two usable samples; nothing is written.
        OSError: the disk is full; nothing is left behind.
    """
    found = len(source)
    reasons: list[str | None] = [None] * found
    hashes: list[str | None] = [None] * found
    rows = [-1] * found
    decoder = partial(decode, spec=spec, min_side=min_side)
    decoded = decode_all(source, decoder, sample_bytes=math.prod(spec.shape), workers=workers)
    with MediaWriter(media_path, spec.shape) as media:
        for done, sample in enumerate(decoded, start=1):
            reasons[sample.index] = sample.reason
            if sample.pixels is not None:
                hashes[sample.index] = sample.hash
                rows[sample.index] = media.append(sample.pixels)
            if progress is not None:
                progress(done, found)
        for index, reason in duplicates(source.raws, hashes).items():
            reasons[index] = reason
        refuse_small_classes(source.raws, reasons)
        kept = [index for index, reason in enumerate(reasons) if reason is None]
        media.keep([rows[index] for index in kept])
    return Ingested(_samples(source.raws, hashes, kept), _quarantine(source.raws, reasons), found)


def _samples(raws: Sequence[Raw], hashes: Sequence[str | None], kept: Sequence[int]) -> pd.DataFrame:
    chosen = [raws[index] for index in kept]
    return _frame(
        {
            "id": [raw.id for raw in chosen],
            "class": [raw.label for raw in chosen],
            "group": [raw.group for raw in chosen],
            "given": [raw.given for raw in chosen],
            "path": [raw.path for raw in chosen],
            "hash": [hashes[index] for index in kept],
        }
    )


def _quarantine(raws: Sequence[Raw], reasons: Sequence[str | None]) -> pd.DataFrame:
    rejected = [(raw, reason) for raw, reason in zip(raws, reasons, strict=True) if reason is not None]
    return _frame(
        {
            "id": [raw.id for raw, _ in rejected],
            "class": [raw.label for raw, _ in rejected],
            "path": [raw.path for raw, _ in rejected],
            "reason": [reason for _, reason in rejected],
        }
    )


def _frame(columns: dict[str, list[str | None]]) -> pd.DataFrame:
    # Only here: the processes that decode import this module's neighbours, and pandas takes half a second.
    import pandas as pd

    return pd.DataFrame({name: pd.Series(values, dtype="str") for name, values in columns.items()})

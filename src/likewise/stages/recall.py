"""Where decoded samples are kept from one run of ingest to the next, and how much room they may take."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from likewise.config import cache_folder
from likewise.data.decoded import DecodeCache
from likewise.data.decoder_key import decoder_key
from likewise.data.kinds import Preprocessing

FOLDER, GIGABYTES = "LIKEWISE_DECODED", "LIKEWISE_DECODED_GB"
OFF = "off"
DEFAULT_GIGABYTES = "10"


@contextmanager
def recalling(preprocessing: Preprocessing) -> Iterator[DecodeCache | None]:
    """Give the cache of what this preprocessing made before, or None where it is off or cannot be had.

    What a person should know about it is printed.

    Raises:
        ValueError: the environment names no folder of this machine, or no size.
    """
    cache = _cache(preprocessing)
    with ExitStack() as stack:
        if cache is not None:
            stack.callback(_tell, cache)
            cache = _entered(cache, stack)
        yield cache


def _entered(cache: DecodeCache, stack: ExitStack) -> DecodeCache | None:
    try:
        return stack.enter_context(cache)
    except OSError as error:
        cache.notes.append(f"{error}; going on without it ({FOLDER}={OFF} does so unasked)")
        return None


def _tell(cache: DecodeCache) -> None:
    for note in cache.notes:
        print(f"ingest: decode cache: {note}", flush=True)


def decoded_folder() -> Path | None:
    """Return the folder of the decode cache: `LIKEWISE_DECODED`, or in the cache folder; None where it is `off`.

    Raises:
        ValueError: it is a URL.
    """
    given = os.environ.get(FOLDER)
    if given == OFF:
        return None
    if given and "://" in given:
        raise ValueError(f"{FOLDER}: given {given}; give a folder of this machine, or {OFF}")
    return Path(given).expanduser().absolute() if given else cache_folder() / "decoded"


def limit() -> int:
    """Return how many bytes the decode cache may take: `LIKEWISE_DECODED_GB` in gigabytes.

    Raises:
        ValueError: it is no such number.
    """
    given = os.environ.get(GIGABYTES) or DEFAULT_GIGABYTES
    try:
        most = int(float(given) * 1e9)
    except (ValueError, OverflowError):
        most = -1
    if most < 0:
        raise ValueError(f"{GIGABYTES}: given {given!r}; give gigabytes, such as {DEFAULT_GIGABYTES}")
    return most


def _cache(preprocessing: Preprocessing) -> DecodeCache | None:
    folder, most = decoded_folder(), limit()
    if folder is None or most == 0:
        return None
    key = decoder_key(preprocessing)
    return DecodeCache(folder, key, shape=preprocessing.shape, dtype=preprocessing.dtype, limit=most)

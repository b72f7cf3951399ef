"""Where samples come from: each source by its name."""

import inspect
from collections.abc import Callable
from pathlib import Path

from likewise.choices import choose, one_of
from likewise.data.arrays import open_digits, open_idx
from likewise.data.folders import open_folder
from likewise.data.fsdd import open_fsdd
from likewise.data.manifest import open_manifest
from likewise.data.raw import Content, Raw, Source, Unreadable
from likewise.data.shards import open_parquet

__all__ = ["SOURCES", "Content", "Raw", "Source", "Unreadable", "open_source"]


def open_source(name: str, path: str | Path, **options: object) -> Source:
    """Return the samples of the source `name` at `path`, sorted by id.

    Raises:
        ValueError: an unknown source or option, a path that is missing or not of this source, or no sample in it.
    """
    opener = choose("source", name, SOURCES)
    _check_options(name, opener, options)
    source = opener(Path(path), **options)
    if not len(source):
        raise ValueError(f"the source {name!r} at {path} is empty: nothing in it is a sample")
    return source


def _check_options(name: str, opener: Callable[..., Source], options: dict[str, object]) -> None:
    known = [option for option in inspect.signature(opener).parameters if option != "path"]
    for option in options:
        one_of(f"option of the source {name}", option, known)


SOURCES: dict[str, Callable[..., Source]] = {
    "digits": open_digits,
    "folder": open_folder,
    "idx": open_idx,
    "manifest": open_manifest,
    "parquet": open_parquet,
    "fsdd": open_fsdd,
}

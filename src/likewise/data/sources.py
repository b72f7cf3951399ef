"""Where samples come from: each source by its name."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from likewise.choices import choose, one_of
from likewise.data.arrays import open_digits, open_idx
from likewise.data.downloads import Show, check_copies, unseen
from likewise.data.folders import open_folder
from likewise.data.fsdd import open_fsdd
from likewise.data.manifest import open_manifest
from likewise.data.named import FILES, at_hand, open_fashion_mnist
from likewise.data.omniglot import open_omniglot
from likewise.data.orl_faces import open_orl_faces
from likewise.data.pair_tables import open_pairs
from likewise.data.raw import Content, Raw, Source, Unreadable
from likewise.data.shards import open_parquet
from likewise.data.speech_commands import open_speech_commands

__all__ = ["SOURCES", "Content", "Raw", "Source", "Unreadable", "open_source"]

NONE: Mapping[str, str] = MappingProxyType({})


def open_source(
    name: str,
    path: str | Path,
    *,
    checksums: Mapping[str, str] = NONE,
    show: Show = unseen,
    **options: object,
) -> Source:
    """Return the samples of the source `name` at `path`, sorted by id.

    Args:
        name: A name in `SOURCES`.
        path: Where its files are; for a data set that is known by name, an empty folder has them fetched.
        checksums: What files must have, by their names: "md5:..." or "sha256:...".
        show: Shows how far a download is.
        options: What this source takes besides.

    Raises:
        ValueError: an unknown source or option, a path that is missing or not of this source, a file that cannot be
            fetched or has another checksum, or no sample in it.
    """
    opener = choose("source", name, SOURCES)
    _check_options(name, opener, options)
    path = Path(path)
    if name in FILES:
        path = at_hand(name, path, checksums=checksums, show=show)
    else:
        check_copies(path, checksums)
    source = opener(path, **options)
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
    "pairs": open_pairs,
    "omniglot": open_omniglot,
    "omniglot-small1": open_omniglot,
    "omniglot-small2": open_omniglot,
    "mnist": open_idx,
    "fashion-mnist": open_fashion_mnist,
    "orl-faces": open_orl_faces,
    "fsdd": open_fsdd,
    "speech-commands": open_speech_commands,
}

"""Inputs elsewhere: what a URL names, fetched into the cache, and fetched again once it has changed there."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from likewise.data.downloads import (
    CACHE,
    NotFetched,
    Show,
    asked,
    check_names,
    downloads_folder,
    patiently,
    reason,
    retrieve,
    shown,
    unseen,
)

STAMPS = (
    "ETag",
    "etag",
    "Content-MD5",
    "content_md5",
    "md5Hash",
    "md5",
    "checksum",
    "Digest",
    "generation",
    "Last-Modified",
    "LastModified",
    "last_modified",
    "mtime",
    "modified",
    "updated",
    "created",
)
"""What file systems say of a file that is another once the file has changed, what is surest first."""

DVC_EXTRAS = {
    "abfs": "azure",
    "az": "azure",
    "azure": "azure",
    "gcs": "gs",
    "gs": "gs",
    "hdfs": "hdfs",
    "oss": "oss",
    "s3": "s3",
    "sftp": "ssh",
    "ssh": "ssh",
    "webdav": "webdav",
    "webdavs": "webdav",
}
"""The extra of DVC that brings the file system of a scheme, for fsspec too."""

WEB = ("http", "https")
INDEX = "stamps.json"

TOGETHER = 64
"""Files that are asked for at once."""


def is_remote(path: str) -> bool:
    """Say whether a path is a URL.

    >>> is_remote("s3://bucket/faces"), is_remote("data/raw")
    (True, False)
    """
    return "://" in path


def local(path: str, root: Path, *, checksums: Mapping[str, str], show: Show = unseen) -> Path:
    """Return where an input lies on this machine: below `root` or absolute, or in the cache if `path` is a URL.

    Raises:
        ValueError: as `fetched`.
    """
    return fetched(path, checksums=checksums, show=show) if is_remote(path) else root / path


def check_url(url: str) -> None:
    """Check that a URL can be read here.

    Raises:
        ValueError: an unknown scheme, one whose package is not installed (says which), or a chain of URLs.
    """
    scheme = url.partition("://")[0]
    if "::" in url or scheme in ("file", "local"):
        raise ValueError(f"{shown(url)}: give one plain URL, or a path for what is on this machine")
    if scheme in WEB:
        return
    import fsspec

    try:
        fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        extra = DVC_EXTRAS.get(scheme)
        how = f"pip install 'dvc[{extra}]'" if extra else " ".join(str(error).split())
        raise ValueError(f"{shown(url)}: what reads {scheme}:// is not installed: {how}") from None
    except ValueError:
        raise ValueError(
            f"{shown(url)}: unknown scheme {scheme}://; known are https, s3, gs, azure, ssh and more"
        ) from None


def fetched(url: str, *, checksums: Mapping[str, str], show: Show = unseen) -> Path:
    """Return where the file or folder that `url` names lies in the cache; what is new or changed there is fetched.

    What an http(s) address names is one file. Of any other scheme it may be a file or a folder, and of a folder only
    what has changed is fetched. Each state has a folder of its own, so that a run never sees half of two.

    Args:
        url: An address that `fsspec` knows.
        checksums: What files must have, by their names. A file over http(s) that has one is not asked for again.
        show: Shows how far a download is.

    Raises:
        ValueError: a URL that cannot be read here, nothing there, another checksum, no room, or a server that does not
            say when a file changes and no checksum to go by.
    """
    check_url(url)
    folder = downloads_folder() / "remote" / _digest(url.rstrip("/"))
    if url.partition("://")[0] in WEB:
        return _from_web(url, folder, checksums, show)
    with _told(url, folder):
        return _Distant.at(url).kept_in(folder, show)


def _from_web(url: str, folder: Path, checksums: Mapping[str, str], show: Show) -> Path:
    name = shown(url).rpartition("/")[2]
    if not name:
        raise ValueError(f"{shown(url)} names no file: give the address of an archive or a .parquet file")
    check_names(checksums, [name])
    checksum = checksums.get(name)
    state = checksum or json.dumps(_stamp(_headers(url), url))
    return retrieve(url, folder / _digest(state) / name, checksum=checksum, show=show)


def _headers(url: str) -> dict[str, str | None]:
    import requests

    try:
        # Not HEAD, which some servers refuse; the content stays unread.
        with patiently(lambda: asked(url)) as response:
            said = {key: response.headers.get(key) for key in STAMPS}
            return said | {"size": response.headers.get("Content-Length")}
    except requests.RequestException as error:
        raise NotFetched(f"{shown(url)} cannot be fetched: {reason(error)}") from None


def _stamp(said: Mapping[str, Any], name: str) -> list[str]:
    """Return what tells this state of a file from others."""
    stamp = next((str(said[key]) for key in STAMPS if said.get(key)), None)
    if stamp is None:
        raise ValueError(
            f"{shown(name)}: the server says neither ETag nor date, so that a change would not be seen: give the "
            "file's checksum in ingest.checksums, or take a copy"
        )
    return [stamp, str(said.get("size"))]


@contextmanager
def _told(url: str, folder: Path) -> Iterator[None]:
    """Say on one line what went wrong with a URL."""
    try:
        yield
    except ValueError:
        raise
    except FileNotFoundError:
        raise NotFetched(f"{shown(url)}: nothing there") from None
    # Every file system raises errors of its own.
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise NotFetched(f"{shown(url)} cannot be fetched to {folder} ({CACHE} moves that): {text}") from None


@dataclass(frozen=True)
class _Distant:
    """What a URL names on a file system, and what is there now.

    Attributes:
        url: The URL.
        fs: The file system.
        base: The path there.
        stamps: For each file, by its path below the base ("" for the base itself), what tells its states apart.
    """

    url: str
    fs: Any
    base: str
    stamps: dict[str, list[str]]

    @classmethod
    def at(cls, url: str) -> _Distant:
        """Ask what is there."""
        import fsspec

        fs, base = fsspec.url_to_fs(url)
        fs.invalidate_cache()
        base = base.rstrip("/")
        found = fs.find(base, detail=True)
        files = {name: said for name, said in found.items() if said.get("type") == "file"}
        stamps = {_below(base, name): _stamp(said, name) for name, said in sorted(files.items())}
        if not stamps:
            raise ValueError(f"{shown(url)}: nothing there")
        return cls(url, fs, base, stamps)

    def kept_in(self, folder: Path, show: Show) -> Path:
        """Return where all of it lies in the folder, fetched if need be."""
        state = folder / _digest(json.dumps(self.stamps))
        if not state.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as partial:
                whole = Path(partial) / "whole"
                self._fill(whole, folder, show)
                if not state.is_dir():
                    whole.replace(state)
        return self._place(state, "") if "" in self.stamps else state / "files"

    def _place(self, state: Path, name: str) -> Path:
        return state / "files" / (name or Path(self.base).name)

    def _fill(self, whole: Path, folder: Path, show: Show) -> None:
        """Put all files where they belong, those that are as in another state as links to it."""
        known = self._known(folder)
        missing = []
        for name, stamp in self.stamps.items():
            file = self._place(whole, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            same = known.get((name, *stamp))
            if same is None or not _linked(same, file):
                missing.append(name)
        self._fetch(missing, whole, show)
        if self.at(self.url).stamps != self.stamps:
            raise ValueError(f"{shown(self.url)} changed while it was fetched: run again")
        (whole / INDEX).write_text(json.dumps(self.stamps), encoding="utf-8")

    def _known(self, folder: Path) -> dict[tuple[str, ...], Path]:
        """Return the files of other states by their names and stamps."""
        known: dict[tuple[str, ...], Path] = {}
        for index in sorted(folder.glob(f"*/{INDEX}")):
            stamps = json.loads(index.read_text(encoding="utf-8"))
            known |= {(name, *stamp): self._place(index.parent, name) for name, stamp in stamps.items()}
        return known

    def _fetch(self, names: list[str], whole: Path, show: Show) -> None:
        sizes = [self.stamps[name][1] for name in names]
        total = sum(map(int, sizes)) if all(map(str.isdigit, sizes)) else None
        with show(f"{shown(self.url)} ({len(names)} files)", total) as advance:
            for first in range(0, len(names), TOGETHER):
                few = names[first : first + TOGETHER]
                files = [self._place(whole, name) for name in few]
                distant = [f"{self.base}/{name}" if name else self.base for name in few]
                self.fs.get(distant, [str(file) for file in files])
                advance(sum(file.stat().st_size for file in files))


def _linked(same: Path, file: Path) -> bool:
    """Make the file a second name of another, and say whether that was possible."""
    try:
        os.link(same, file)
    except OSError:
        return False
    return True


def _below(base: str, name: str) -> str:
    """Return a file's path below the base.

    Raises:
        ValueError: its name leads elsewhere.
    """
    below = name.removeprefix(base).removeprefix("/")
    parts = below.split("/")
    if not name.startswith(base) or (below and not set(parts).isdisjoint({"", ".", ".."})):
        raise ValueError(f"{name!r}: its name leads outside {base}")
    return below


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]

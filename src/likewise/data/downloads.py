"""Files fetched once into the user's cache, by pooch: checksums, retries, a mirror, and one line for what failed."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit, urlunsplit

from likewise.choices import one_of
from likewise.config import cache_folder

if TYPE_CHECKING:
    import requests

MIRROR, CACHE = "LIKEWISE_MIRROR", "LIKEWISE_DOWNLOADS"
"""The variables that name another server, and another folder for what was fetched."""

CHUNK_BYTES = 1 << 18
TIMEOUT = 30.0
WAITS = (1.0, 3.0)
"""Seconds to wait before each further try, where the network is to blame."""

CHECKSUM = re.compile(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}")

Done = TypeVar("Done")
Advance = Callable[[int], None]
Show = Callable[[str, int | None], AbstractContextManager[Advance]]
"""Shows a download: given what is fetched and its bytes (None if unknown), a context that is told of bytes arrived."""


@dataclass(frozen=True)
class Download:
    """A published file.

    Attributes:
        url: Where it is published.
        size: Its bytes, or None where nobody has published them.
        checksum: "md5:..." or "sha256:...", in hex, as somebody other than we has published it.
    """

    url: str
    size: int | None
    checksum: str

    @property
    def name(self) -> str:
        """The file's name: the last part of its address."""
        return self.url.rpartition("/")[2]


class NotFetched(ValueError):  # noqa: N818 - it reads as what the file is
    """A file that could not be fetched; its message says why, on one line."""


def downloads_folder() -> Path:
    """Return the folder that keeps what was fetched: `LIKEWISE_DOWNLOADS`, or in the user's cache folder."""
    moved = os.environ.get(CACHE)
    return Path(moved).expanduser().absolute() if moved else cache_folder() / "downloads"


def mirrored(url: str, place: str) -> str:
    """Return the address of the file `place` on the mirror that `LIKEWISE_MIRROR` names, or `url` if it names none."""
    mirror = os.environ.get(MIRROR)
    return f"{mirror.rstrip('/')}/{place}" if mirror else url


@contextmanager
def unseen(what: str, size: int | None) -> Iterator[Advance]:  # noqa: ARG001
    """Show nothing."""
    yield lambda _: None


def retrieve(
    url: str, file: Path, *, checksum: str | None = None, size: int | None = None, show: Show = unseen
) -> Path:
    """Return `file`, fetched from an http(s) `url` unless it is there and of its checksum; whole or not there.

    Args:
        url: Where from.
        file: Where to.
        checksum: What the file must have, "md5:..." or "sha256:..."; None takes a file that is there as it is.
        size: Its bytes, if known: a file that turns out longer is not read to its end.
        show: Shows how far it is.

    Raises:
        NotFetched: no connection, no such file, another file, or no room for it.
    """
    import pooch
    import requests

    pooch.get_logger().setLevel("ERROR")
    try:
        fetch = _Fetch(shown(url), size, show)
        patiently(lambda: pooch.retrieve(url, checksum, fname=file.name, path=file.parent, downloader=fetch))
    except requests.RequestException as error:
        raise NotFetched(f"{shown(url)} cannot be fetched: {reason(error)}") from None
    except OSError as error:
        raise NotFetched(f"{shown(url)} cannot be written to {file.parent}: {error.strerror or error}") from None
    except NotFetched:
        raise
    except ValueError as error:
        raise NotFetched(f"{shown(url)} is another file than is meant: {_mismatch(error)}") from None
    return file


def checksum_of(file: Path, algorithm: str = "sha256") -> str:
    """Return the checksum of a file as it is written in params.yaml: "sha256:..." or "md5:...".

    >>> checksum_of(Path(__file__), "md5")[:4]
    'md5:'
    """
    with file.open("rb") as stream:
        return f"{algorithm}:{hashlib.file_digest(stream, algorithm).hexdigest()}"


def check_copies(path: Path, checksums: Mapping[str, str]) -> None:
    """Check files that were not fetched here: `path` itself, or files in the folder `path`.

    Raises:
        ValueError: a file is missing, or has another checksum.
    """
    for name, wanted in checksums.items():
        file = path if path.name == name and path.is_file() else path / name
        if not file.is_file():
            raise ValueError(f"ingest.checksums: {path} holds no file {name!r}")
        found = checksum_of(file, wanted.partition(":")[0])
        if found != wanted:
            raise ValueError(f"ingest.checksums: {file} has {found}, and not {wanted}")


def check_names(checksums: Mapping[str, str], known: Iterable[str]) -> None:
    """Check that checksums are given for known files only.

    Raises:
        ValueError: another name; lists the known ones, the nearest first.
    """
    known = list(known)
    for name in checksums:
        one_of("file of ingest.checksums", name, known)


def shown(url: str) -> str:
    """Return an address without what may be secret: user, password and query.

    >>> shown("https://me:secret@example.org/a.zip?token=abc")
    'https://example.org/a.zip'
    """
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


@dataclass(frozen=True)
class _Fetch:
    """Writes what an address gives into a file; called by pooch."""

    what: str
    size: int | None
    show: Show

    def __call__(self, url: str, output_file: str | IO[bytes], _: object) -> None:
        with asked(url) as response, Path(str(output_file)).open("wb") as file:
            length = response.headers.get("Content-Length")
            total = self.size or (int(length) if length else None)
            with self.show(self.what, total) as advance:
                for chunk in response.iter_content(CHUNK_BYTES):
                    file.write(chunk)
                    advance(len(chunk))
                    if self.size is not None and file.tell() > self.size:
                        raise NotFetched(f"{self.what} is another file than is meant: longer than {self.size} bytes")


def asked(url: str) -> requests.Response:
    """Return the answer to a request for `url`, its content unread.

    Raises:
        requests.RequestException: there is none, or one that says no.
    """
    import requests

    # The file as it is stored: a checksum is of these bytes.
    response = requests.get(url, stream=True, timeout=TIMEOUT, headers={"Accept-Encoding": "identity"})
    if not response.ok:
        response.close()
    response.raise_for_status()
    return response


def patiently(act: Callable[[], Done]) -> Done:
    """Do it, and again after a while where the network failed and might not the next time."""
    import requests

    for wait in WAITS:
        try:
            return act()
        except requests.RequestException as error:
            if not _passing(error):
                raise
            time.sleep(wait)
    return act()


def _passing(error: requests.RequestException) -> bool:
    """Say whether the same request may yet succeed: not one that the server understood and refused."""
    import requests.exceptions as kinds

    if error.response is not None:
        return bool(error.response.status_code >= 500 or error.response.status_code in (408, 429))
    return isinstance(error, (kinds.ConnectionError, kinds.Timeout, kinds.ChunkedEncodingError))


def reason(error: requests.RequestException) -> str:
    """Return in a few words why a request came to nothing."""
    import requests

    if error.response is not None:
        return f"{error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return f"no answer for {TIMEOUT:g} s"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection was cut"
    if isinstance(error, requests.ConnectionError):
        cause = re.search(r"\[Errno -?\d+\] ([^'\")]+)|(certificate verify failed[^'\"()]*)", str(error))
        return f"no connection ({cause[1] or cause[2]})" if cause else "no connection"
    return " ".join(str(error).split())


def _mismatch(error: ValueError) -> str:
    found = re.search(r"expected (\w+:)(\w+) but got (\w+)", str(error))
    if found is None:
        return " ".join(str(error).split())
    return f"its checksum is {found[1]}{found[3]}, and not {found[1]}{found[2]}"

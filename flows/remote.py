"""The DVC remote: whether there is one, whether something is still to be pushed to it, what is said when it fails."""

from __future__ import annotations

import os
import re
from configparser import ConfigParser
from pathlib import Path

OWED = Path(".dvc/tmp/likewise-owed")
"""Is there from the moment a stage runs until what it made is pushed: a run that failed between is made up for."""

RETRY_VARIABLE = "LIKEWISE_RETRY_SECONDS"


def is_set(root: Path) -> bool:
    """Tell whether the project has a DVC remote."""
    return bool(_default(_settings(root)))


def owe(root: Path) -> None:
    """Remember that something was made that is not pushed yet."""
    path = root / OWED
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def owes(root: Path) -> bool:
    """Tell whether something was made here that was not pushed."""
    return (root / OWED).exists()


def paid(root: Path) -> None:
    """Remember that everything is pushed."""
    (root / OWED).unlink(missing_ok=True)


def complaint(doing: str, root: Path, said: str) -> str:
    """Return in one line what failed, which remote that is, and the first thing that DVC found wrong.

    Args:
        doing: such as `push to`.
        root: the project's root.
        said: DVC's own last lines.
    """
    return f"{doing} the DVC remote {name(root)} failed: {cause(said)}"


def cause(said: str) -> str:
    r"""Return the first error among DVC's lines, without what DVC was about to do.

    Example:
        >>> cause("2 files pushed\nERROR: failed to transfer 'a' - Cannot connect to host\nERROR: 1 files failed")
        'Cannot connect to host'
        >>> cause("ERROR: failed to reproduce 'pairs': [Errno 20] Not a directory: '/shelf'")
        "failed to reproduce 'pairs': [Errno 20] Not a directory: '/shelf'"
    """
    lines = said.strip().splitlines() or ["no reason was given"]
    first = next((line for line in lines if line.startswith("ERROR: ")), lines[-1]).removeprefix("ERROR: ")
    return first.partition(" - ")[2] or first


def retry_seconds() -> float:
    """Return after how many seconds a command that failed is tried again first; each time after twice as many.

    Raises:
        ValueError: the variable is no number of seconds.
    """
    text = os.environ.get(RETRY_VARIABLE) or "2"
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 3600:
        raise ValueError(f"{RETRY_VARIABLE} is {text!r}: it is a number of seconds from 0 to 3600")
    return seconds


def name(root: Path) -> str:
    """Return what the default remote is called, and its URL without a user or password."""
    settings = _settings(root)
    default = _default(settings)
    url = settings.get(f"'remote \"{default}\"'", "url", fallback="no URL")
    return f"{default} ({re.sub('//[^/]*@', '//', url)})"


def _settings(root: Path) -> ConfigParser:
    """Read the project's DVC configuration: what `--local` sets comes last."""
    settings = ConfigParser(interpolation=None, strict=False)
    settings.read([root / ".dvc" / name for name in ("config", "config.local")], encoding="utf-8")
    return settings


def _default(settings: ConfigParser) -> str:
    return settings.get("core", "remote", fallback="")

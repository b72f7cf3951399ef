"""How a version is made again: the commands, and what stands in their way."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from likewise.config import PARAMS_FILE
from likewise.delivery import history, tracking
from likewise.delivery.dvc_lock import LOCK_FILE, Stage, raw_input

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


@dataclass(frozen=True)
class Plan:
    """How a version is made again.

    Attributes:
        commands: lines for a shell in a clean clone of the repository, the project's environment active.
        notes: what stands in the way, or is to be known.
    """

    commands: tuple[str, ...]
    notes: tuple[str, ...]


def plan(
    root: Path | None,
    found: ModelVersion,
    *,
    commit: str | None,
    parent: str | None,
    kept: Path | None,
    stages: Mapping[str, Stage],
) -> Plan:
    """Return how a version is made again.

    Args:
        root: the project's root, or None outside one.
        found: the version.
        commit: the one that holds its dvc.lock, if it is known.
        parent: the commit that was checked out when it was registered, if it is known.
        kept: the folder with what the version keeps of its pipeline.
        stages: what its dvc.lock says.
    """
    notes = [*_uncommitted(commit, parent), *_unkept(root, commit or parent, stages)]
    if kept is None or not stages:
        notes.append("no dvc.lock was kept with this version: what comes out cannot be compared with what went in")
    where = _registry(root)
    if where is None:
        notes.append("the registry's address holds a password: set MLFLOW_TRACKING_URI yourself")
    lines = [f"export MLFLOW_TRACKING_URI={shlex.quote(where)}"] if where else []
    if commit:
        lines.append(f"git checkout {commit}")
    else:
        lines += [f"git checkout {parent}"] if parent else []
        lines += _from_version(found, kept)
    lines += ["dvc pull"] if has_remote(root) else []
    return Plan((*lines, "dvc repro", "likewise register"), tuple(notes))


def has_remote(root: Path | None) -> bool:
    """Tell whether DVC has a default remote in this project."""
    return bool(root and remote(root))


def remote(root: Path) -> tuple[str, str] | None:
    """Return name and URL of DVC's default remote as the project's files name it, or None."""
    told = _dvc_settings(root)
    name = told.get("core", "remote", fallback="").strip("\"' ")
    url = told.get(f"'remote \"{name}\"'", "url", fallback="")
    return (name, url) if name else None


def remote_options(root: Path) -> dict[str, str]:
    """Return what else the project's files say of DVC's default remote, such as its `endpointurl`."""
    told, named = _dvc_settings(root), remote(root)
    section = f"'remote \"{named[0]}\"'" if named else ""
    return {key: value for key, value in told.items(section) if key != "url"} if told.has_section(section) else {}


def cache(root: Path) -> Path:
    """Return where DVC keeps the files of this project."""
    place = _dvc_settings(root).get("cache", "dir", fallback="cache")
    return (root / ".dvc" / place).resolve()


def _dvc_settings(root: Path) -> ConfigParser:
    told = ConfigParser(interpolation=None)
    try:
        told.read([root / ".dvc/config", root / ".dvc/config.local"], encoding="utf-8")
    except (ConfigParserError, UnicodeDecodeError):
        return ConfigParser()
    return told


def _from_version(found: ModelVersion, kept: Path | None) -> Iterator[str]:
    """Yield the commands that take the code and the params from the version, since no commit is known to hold them."""
    folder = shlex.quote(f"../{found.name}-{found.version}")
    address = shlex.quote(f"models:/{found.name}/{found.version}")
    yield f"mlflow artifacts download --artifact-uri {address} --dst-path {folder}"
    yield f"rm -r src/likewise && cp -r {folder}/code/likewise src/"
    files = [name for name in ("dvc.yaml", LOCK_FILE, PARAMS_FILE) if kept is not None and (kept / name).is_file()]
    if files:
        yield f"cp {' '.join(f'{folder}/artifacts/pipeline/{name}' for name in files)} ."


def _uncommitted(commit: str | None, parent: str | None) -> Iterator[str]:
    if commit:
        return
    told = f"{parent} is the commit before it" if parent else "it was registered outside a git checkout"
    yield (
        f"no commit is known that holds its dvc.lock ({told}): code and params come from the version itself; commit "
        "and run `likewise register`, and the version is tagged with the commit"
    )


def _unkept(root: Path | None, commit: str | None, stages: Mapping[str, Stage]) -> Iterator[str]:
    """Say where the raw input is to be put by hand: neither git nor DVC keeps it."""
    raw = raw_input(stages)
    if raw is None or root is None or commit is None:
        return
    if "://" in raw.path:
        yield f"the raw input is fetched from {raw.path}; it was {raw.md5 or 'not stamped'} there"
        return
    listed = [] if Path(raw.path).is_absolute() else history.kept_by_git(root, commit, raw.path)
    if not any(name.endswith(".dvc") for name in listed) and len(listed) < (raw.files or 1):
        size = f", {raw.files:,} files" if raw.files else ""
        yield f"neither git nor DVC keeps the raw input: put it into {raw.path} (DVC's hash {raw.md5}{size})"


def _registry(root: Path | None) -> str | None:
    """Return the registry's address; None where it is not to be shown."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "") if root is None else tracking.tracking_uri(root)
    return None if "@" in uri else uri

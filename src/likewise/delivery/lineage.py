"""Where a version came from, and which versions came from some data or commit: lineage, both ways."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likewise.config import PARAMS_FILE, read_yaml
from likewise.delivery import history, provenance, rebuilding, tracking, versions
from likewise.delivery.dvc_lock import Item, Stage, everything, raw_input
from likewise.delivery.provenance import COMMIT_TAG, DATA_TAG, IDENTITY_TAG, PARENT_TAG
from likewise.delivery.store import GATE_TAG, HEADING, RegistryError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

LEAST = 4
"""So many characters of a hash are asked for at least."""


@dataclass(frozen=True)
class Lineage:
    """Where a version came from.

    Attributes:
        name: the registered model.
        version: its number.
        aliases: those that point to it.
        registered: when, in UTC.
        run_id: the run that it came from.
        run_name: what MLflow calls the run.
        commit: the git commit that holds its dvc.lock; None where there is none yet, or none is known.
        committed: how that is known: `tag`, `dvc.lock` (this checkout's history holds it), or empty.
        parent: the commit that was checked out when it was registered.
        hashes: identity, weights (SHA-256), samples (SHA-256), train key, params.
        raw: the raw input, by DVC's hash.
        stages: what each stage read and wrote, from the dvc.lock that the version keeps.
        params: those that the version keeps, by block.
        decisions: what was decided on it, the oldest first.
        champions: versions that were champion before it, the last one first.
        commands: what makes it again, in a clean clone of the repository.
        notes: what stands in the way of that.
    """

    name: str
    version: int
    aliases: tuple[str, ...]
    registered: str
    run_id: str
    run_name: str
    commit: str | None
    committed: str
    parent: str | None
    hashes: Mapping[str, str]
    raw: Item | None
    stages: Mapping[str, Stage]
    params: Mapping[str, Any]
    decisions: tuple[str, ...]
    champions: tuple[int, ...]
    commands: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Made:
    """A version that was made from what was asked for.

    Attributes:
        name: the registered model.
        version: its number.
        aliases: those that point to it.
        registered: when, in UTC.
        commit: the git commit that its tag names, or None.
        by: what of it was made from it, as a sentence says it.
    """

    name: str
    version: int
    aliases: tuple[str, ...]
    registered: str
    commit: str | None
    by: tuple[str, ...]


def of_version(root: Path | None, address: str, *, name: str) -> Lineage:
    """Return where a version came from.

    Args:
        root: the project's root, whose git history is looked at; None outside a project.
        address: of the version, as `versions.find` takes it.
        name: the registered model that is meant where the address names none.

    Raises:
        RegistryError: when there is no such version, or the registry cannot be reached.
    """
    with versions.reading(root) as client, tempfile.TemporaryDirectory() as folder:
        found = versions.find(client, address, name)
        return _lineage(client, root, found, versions.pipeline(found, Path(folder)))


def of_data(root: Path | None, digest: str) -> list[Made]:
    """Return the versions that data with this hash went into: raw input, samples, or what a stage read or wrote.

    Args:
        root: the project's root, or None outside one.
        digest: the hash that DVC gives it, the SHA-256 of the samples or of the weights, or the beginning of one.

    Raises:
        RegistryError: when the registry cannot be reached, or the beginning is too short.
    """
    wanted = _prefix(digest)
    with versions.reading(root) as client, tempfile.TemporaryDirectory() as folder:
        return list(_made(client, lambda found: _of_data(found, wanted, Path(folder))))


def of_commit(root: Path | None, revision: str) -> list[Made]:
    """Return the versions that a commit holds, and those that were registered on top of it before there was another.

    Args:
        root: the project's root, in whose git history names are looked up; None outside one.
        revision: a hash, the beginning of one, or what git calls it there.

    Raises:
        RegistryError: when the registry cannot be reached, or it is neither known to git nor long enough.
    """
    commit = None if root is None else history.resolve(root, revision)
    wanted = commit or _prefix(revision)
    locked = None if root is None or commit is None else history.locked_at(root, commit)
    with versions.reading(root) as client, tempfile.TemporaryDirectory() as folder:
        return list(_made(client, lambda found: _of_commit(found, wanted, locked, Path(folder))))


def _lineage(client: MlflowClient, root: Path | None, found: ModelVersion, kept: Path | None) -> Lineage:
    tags, stages = found.tags, versions.stages(kept)
    commit, committed = _commit(root, tags, kept)
    parent = _known(tags.get(PARENT_TAG))
    plan = rebuilding.plan(root, found, commit=commit, parent=parent, kept=kept, stages=stages)
    params = kept / PARAMS_FILE if kept is not None else None
    return Lineage(
        name=found.name,
        version=int(found.version),
        aliases=tuple(found.aliases),
        registered=_when(found),
        run_id=str(found.run_id),
        run_name=str(client.get_run(str(found.run_id)).info.run_name),
        commit=commit,
        committed=committed,
        parent=parent,
        hashes={
            "identity": tags.get(IDENTITY_TAG, ""),
            "weights": tags.get(tracking.WEIGHTS_TAG, ""),
            "samples": tags.get(DATA_TAG, ""),
            "train key": tags.get(tracking.KEY_TAG, ""),
            "params": tags.get(f"{provenance.PREFIX}params_hash", ""),
        },
        raw=raw_input(stages),
        stages=stages,
        params=read_yaml(params) if params is not None and params.is_file() else {},
        decisions=_decisions(found.description or ""),
        champions=tuple(_before(client, found)),
        commands=plan.commands,
        notes=plan.notes,
    )


def _commit(root: Path | None, tags: Mapping[str, str], kept: Path | None) -> tuple[str | None, str]:
    if COMMIT_TAG in tags:
        return tags[COMMIT_TAG], "tag"
    found = None if root is None or kept is None else history.commit_holding(root, kept)
    return found, "dvc.lock" if found else ""


def _decisions(page: str) -> tuple[str, ...]:
    told = page.partition(f"{HEADING}\n")[2]
    return tuple(line.removeprefix("- ") for line in told.splitlines() if line.startswith("- "))


def _before(client: MlflowClient, found: ModelVersion) -> Iterator[int]:
    """Yield the champions before a version: the one it took the place from, and so on back."""
    seen, tags = {int(found.version)}, found.tags
    while tags.get(GATE_TAG) == "promoted" and (before := tags.get(f"{GATE_TAG}.against", "")).isdigit():
        if int(before) in seen:
            return
        seen.add(int(before))
        yield int(before)
        tags = client.get_model_version(found.name, before).tags


def _made(client: MlflowClient, by: Callable[[ModelVersion], Iterable[str]]) -> Iterator[Made]:
    for each in versions.every(client):
        reasons = tuple(by(each))
        if reasons:
            # A search tells no aliases.
            found = client.get_model_version(each.name, each.version)
            commit = found.tags.get(COMMIT_TAG)
            yield Made(found.name, int(found.version), tuple(found.aliases), _when(found), commit, reasons)


def _of_data(found: ModelVersion, wanted: str, folder: Path) -> Iterator[str]:
    for name, tag in (("samples", DATA_TAG), ("weights", tracking.WEIGHTS_TAG)):
        if found.tags.get(tag, "").startswith(wanted):
            yield f"{name} {found.tags[tag]}"
    found_in = everything(versions.stages(_kept(found, folder)))
    hits = {item.path: item.md5 for _, item in found_in if item.md5 and item.md5.lower().startswith(wanted)}
    yield from (f"{path} {digest}" for path, digest in hits.items())


def _of_commit(found: ModelVersion, wanted: str, locked: str | None, folder: Path) -> Iterator[str]:
    commit, parent = found.tags.get(COMMIT_TAG, ""), found.tags.get(PARENT_TAG, "")
    if commit.startswith(wanted):
        yield f"commit {commit}"
    elif not commit and locked is not None and locked == history.locked(_kept(found, folder)):
        yield f"commit {wanted}, which holds its dvc.lock"
    elif parent.startswith(wanted):
        yield f"registered while {parent} was checked out" + (f"; its own commit is {commit}" if commit else "")


def _kept(found: ModelVersion, folder: Path) -> Path | None:
    return versions.pipeline(found, folder / f"{found.name}-{found.version}")


def _prefix(text: str) -> str:
    wanted = text.strip().lower()
    if len(wanted) < LEAST or not re.fullmatch(r"[\w.-]+", wanted):
        raise RegistryError(f"{text}: give at least the first {LEAST} characters of a hash, or what git knows")
    return wanted


def _known(tag: str | None) -> str | None:
    return None if tag in (None, "none") else tag


def _when(found: ModelVersion) -> str:
    return datetime.fromtimestamp(found.creation_timestamp / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")

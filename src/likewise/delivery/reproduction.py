"""A version compared byte for byte with what its lineage gives: from DVC's cache, or by running its stages anew."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING

from likewise import artifacts
from likewise.delivery import history, scratch, tracking, versions
from likewise.delivery.dvc_lock import LOCK_FILE, Item, Stage
from likewise.delivery.dvc_lock import read as read_lock
from likewise.delivery.provenance import COMMIT_TAG, IDENTITY_TAG, PARENT_TAG
from likewise.delivery.scratch import MissingError
from likewise.delivery.store import RegistryError

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

COMPARED = (*artifacts.DELIVERED, artifacts.METRICS.path)
"""What decides whether two models are the same version."""
CACHE = "from DVC's cache, by the hashes in the version's dvc.lock; nothing was run"
RERUN = "by running the stages anew in a temporary folder"


@dataclass(frozen=True)
class Compared:
    """A file of the version, and the same file as it came out.

    Attributes:
        path: where the stages write it.
        registered: SHA-256 of the version's own; None where the registry has none.
        found: SHA-256 of what came out; None where nothing did.
    """

    path: str
    registered: str | None
    found: str | None

    @property
    def equal(self) -> bool:
        """Whether both are there and the same."""
        return self.registered is not None and self.registered == self.found


@dataclass(frozen=True)
class Verdict:
    """Whether a version is what its lineage gives.

    Attributes:
        name: the registered model.
        version: its number.
        way: how it was made again.
        code: where the code and the params came from.
        intact: whether the registry's files are those that were registered.
        files: each file that was compared.
        differences: what else is not as it was, a line each.
        notes: what is to be known about the comparison.
    """

    name: str
    version: int
    way: str
    code: str
    intact: bool
    files: tuple[Compared, ...]
    differences: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether every byte is as it was registered."""
        return self.intact and all(each.equal for each in self.files)


@dataclass(frozen=True)
class _Kept:
    """A version's own files, fetched."""

    found: ModelVersion
    folder: Path
    pipeline: Path | None

    @property
    def stages(self) -> dict[str, Stage]:
        return versions.stages(self.pipeline)

    def file(self, path: str) -> Path:
        """Return where a file of `COMPARED` lies; there may be none."""
        name = Path(path).name
        return self.folder / "artifacts/model" / name if path in artifacts.DELIVERED else self._metrics(name)

    def _metrics(self, name: str) -> Path:
        own = self.folder / versions.PIPELINE / name
        return own if own.is_file() else self.folder / "reports" / name


def verify(root: Path, address: str, *, name: str, rerun: bool, say: Callable[[str], None]) -> Verdict:
    """Make a version again in a temporary folder and compare it with what is registered.

    Args:
        root: the project's root; its git history, DVC cache and raw input are read, nothing of it is changed.
        address: of the version, as `versions.find` takes it.
        name: the registered model that is meant where the address names none.
        rerun: whether the stages are run anew though the cache may have what they wrote.
        say: is told what is going on, a line each time.

    Raises:
        RegistryError: when there is no such version, the registry cannot be reached, or the version keeps too little.
        MissingError: when a stage fails, or a tool is missing.
    """
    with tempfile.TemporaryDirectory(prefix="likewise-verify-") as temporary:
        kept = _fetched(root, address, name, Path(temporary))
        if not kept.stages:
            raise RegistryError(f"{address}: no dvc.lock was kept with this version; there is nothing to make it from")
        project = Path(temporary) / "project"
        commit = kept.found.tags.get(COMMIT_TAG) or history.commit_holding(root, kept.pipeline or project)
        if not rerun:
            try:
                scratch.from_cache(root, project, _pipeline(kept))
                return _verdict(kept, project, CACHE, "not needed", (), commit)
            except MissingError as error:
                say(f"{error}; the stages are run anew, which takes as long as they do")
        parent = kept.found.tags.get(PARENT_TAG)
        code = scratch.clone(root, project, commit=commit, parent=parent, version=kept.folder, pipeline=_pipeline(kept))
        scratch.take_inputs(root, project, _inputs(kept.stages))
        scratch.rerun(project, say)
        differences = (*_requirements(kept.folder), *_differences(kept.stages, project))
        return _verdict(kept, project, RERUN, code, differences, commit)


def as_text(verdict: Verdict) -> str:
    """Return a verdict for a terminal or a file."""
    rows = [
        ("made again", verdict.way),
        ("code", verdict.code),
        ("registry", "the files that were registered" if verdict.intact else "NOT the files that were registered"),
        *((Path(each.path).name, _told(each)) for each in verdict.files),
        *(("differs", line) for line in verdict.differences),
        *(("to be known", line) for line in verdict.notes),
    ]
    width = max(len(name) for name, _ in rows)
    head = f"{verdict.name} {verdict.version}: {'bit-equal' if verdict.equal else 'NOT equal'}"
    return "\n".join([head, *(f"  {name:<{width}}  {value}" for name, value in rows)])


def _told(each: Compared) -> str:
    if each.equal:
        return f"equal ({each.found})"
    return f"DIFFERS: {each.registered or 'nothing'} is registered, {each.found or 'nothing'} came out"


def _pipeline(kept: _Kept) -> Path:
    assert kept.pipeline is not None
    return kept.pipeline


def _fetched(root: Path, address: str, name: str, temporary: Path) -> _Kept:
    import mlflow

    with versions.reading(root) as client:
        found = versions.find(client, address, name)
        folder = Path(
            mlflow.artifacts.download_artifacts(
                f"{versions.SCHEME}{found.name}/{found.version}", dst_path=str(temporary / "version")
            )
        )
        kept = _Kept(found, folder, versions.pipeline(found, temporary / "pipeline"))
        if not kept.file(artifacts.METRICS.path).is_file():
            # Versions of before have their figures in their run.
            mlflow.artifacts.download_artifacts(f"runs:/{found.run_id}/reports/metrics.json", dst_path=str(folder))
            (folder / "reports").mkdir(exist_ok=True)
            (folder / "metrics.json").replace(folder / "reports" / "metrics.json")
        return kept


def _verdict(
    kept: _Kept, project: Path, way: str, code: str, differences: tuple[str, ...], commit: str | None
) -> Verdict:
    tags = kept.found.tags
    files = tuple(Compared(path, _sha256(kept.file(path)), _sha256(project / path)) for path in COMPARED)
    own = artifacts.sha256(*(kept.file(path) for path in COMPARED)) if all(each.registered for each in files) else None
    intact = own == tags.get(IDENTITY_TAG)
    weights = next(each.registered for each in files if each.path == artifacts.WEIGHTS.path)
    told = []
    if not intact:
        told.append(
            f"the registry's files are not those that were registered: identity {own}, not {tags.get(IDENTITY_TAG)}"
        )
    if weights != tags.get(tracking.WEIGHTS_TAG):
        told.append(f"the registry's weights are {weights}, not {tags.get(tracking.WEIGHTS_TAG)}")
    known = f"{commit} holds its dvc.lock" if commit else "no commit is known that holds its dvc.lock"
    notes = () if COMMIT_TAG in tags else (f"the version is not tagged with a commit; {known}",)
    return Verdict(kept.found.name, int(kept.found.version), way, code, intact, files, (*told, *differences), notes)


def _sha256(path: Path) -> str | None:
    return artifacts.file_sha256(path) if path.is_file() else None


def _inputs(stages: Mapping[str, Stage]) -> list[Item]:
    """Return what stages read and no stage wrote: the raw input, lists of tasks."""
    wrote = [item.path for stage in stages.values() for item in stage.outs]
    read = {item.path: item for stage in stages.values() for item in stage.data}
    return [item for path, item in read.items() if path not in wrote]


def _differences(stages: Mapping[str, Stage], project: Path) -> Iterator[str]:
    """Say which files the stages read or wrote that are not those of the version's dvc.lock."""
    after = read_lock(project / LOCK_FILE)
    for name, stage in stages.items():
        now = after.get(name)
        for what, mine, theirs in (
            ("read", (*stage.data, *stage.code), (*now.data, *now.code) if now else ()),
            ("wrote", stage.outs, now.outs if now else ()),
        ):
            hashes = {item.path: item.md5 for item in theirs}
            for item in mine:
                if hashes.get(item.path) != item.md5:
                    yield f"{name} {what} {item.path}: {item.md5} then, {hashes.get(item.path) or 'nothing'} now"


def _requirements(folder: Path) -> Iterator[str]:
    """Say which libraries are installed here in another version than the model was made with."""
    path = folder / "requirements.txt"
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        library, _, wanted = line.strip().partition("==")
        try:
            here = installed(library) if wanted else wanted
        except PackageNotFoundError:
            here = "not installed"
        if here != wanted:
            yield f"{library}: {wanted} then, {here} now"

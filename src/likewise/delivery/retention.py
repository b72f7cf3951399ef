"""Which versions, runs and checkpoints are kept, and what goes: a rule, the list with its bytes, and taking it away.

Kept are the versions that an alias points to (the champion, the one before, the challenger), the last few of each
model, the runs that these came from, runs that are not over, and runs and checkpoints younger than some days.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
from filelock import FileLock, Timeout

from likewise.delivery import tracking

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run
    from mlflow.entities.model_registry import ModelVersion

DAY = 86_400.0
PARENT_TAG = "mlflow.parentRunId"
OVER = ("FINISHED", "FAILED", "KILLED")
"""How a run ends."""


@dataclass(frozen=True)
class Waste:
    """Something that nobody needs any more.

    Attributes:
        kind: version, model, run, checkpoint or cache.
        name: what it is called.
        size: bytes that it takes.
        why: why it goes.
        remove: takes it away.
    """

    kind: str
    name: str
    size: int
    why: str
    remove: Callable[[], None] = field(compare=False, repr=False)


def kept_versions(found: Iterable[ModelVersion], *, last: int) -> list[ModelVersion]:
    """Return the versions to keep: those with an alias and the last few of each model, the oldest first.

    Args:
        found: all versions, with their aliases.
        last: how many of each model are kept whatever they are.
    """
    ordered = sorted(found, key=lambda version: (version.name, int(version.version)))
    numbers: dict[str, list[int]] = {}
    for version in ordered:
        numbers.setdefault(version.name, []).append(int(version.version))
    return [
        version
        for version in ordered
        if version.aliases or (last and int(version.version) in numbers[version.name][-last:])
    ]


def of_registry(
    client: MlflowClient, found: Collection[ModelVersion], kept: Collection[ModelVersion], *, before: float
) -> list[Waste]:
    """Return the versions, logged models and runs that go.

    Args:
        client: of the tracking store and its registry.
        found: all versions.
        kept: those to keep.
        before: a run goes that ended before this time, in seconds as `time.time` counts them.
    """
    numbers = {(version.name, int(version.version)) for version in kept}
    going = [version for version in found if (version.name, int(version.version)) not in numbers]
    runs = list(_runs(client))
    spared = {str(version.run_id) for version in kept}
    spared |= {run.data.tags[PARENT_TAG] for run in runs if run.info.run_id in spared and PARENT_TAG in run.data.tags}
    dead = [run for run in runs if run.info.run_id not in spared and _over(run, before)]
    ids = {run.info.run_id for run in dead}
    needed, unused = ({_model_of(version) for version in each} for each in (kept, going))
    models = [
        model
        for model in _models(client)
        if model.model_id not in needed and (model.model_id in unused or model.source_run_id in ids)
    ]
    return [
        *(_version(client, version) for version in going),
        *(_model(client, model) for model in models),
        *(_run(client, run) for run in dead),
    ]


def of_checkpoints(client: MlflowClient, url: str, locks: Path, *, before: float) -> Iterator[Waste]:
    """Yield the checkpoints of trainings that are over or were given up: nobody holds their lock.

    Args:
        client: of the tracking store, which knows the runs by their train key.
        url: the folder or fsspec URL of all checkpoints.
        locks: the folder of the locks that trainings hold on this machine.
        before: a training was given up whose checkpoint is older than this, in seconds as `time.time` counts them.
    """
    fs, base = fsspec.url_to_fs(url)
    if not fs.exists(base):
        return
    over = {run.data.tags.get(tracking.KEY_TAG) for run in _runs(client) if run.info.status == "FINISHED"}
    for folder in sorted(fs.ls(base, detail=False)):
        key = str(folder).rstrip("/").rpartition("/")[2]
        files = fs.find(folder, detail=True)
        if not files:
            continue
        newest = max(fs.modified(name).timestamp() for name in files)
        why = "its training is over" if key in over else "given up" if newest < before else ""
        if why and not _held(locks / f"{key}.lock"):
            size = sum(int(each["size"] or 0) for each in files.values())
            yield Waste("checkpoint", key, size, why, lambda folder=folder: fs.rm(folder, recursive=True))  # type: ignore[misc]


def table(wastes: Collection[Waste], kept: Collection[ModelVersion], *, dry: bool) -> str:
    """Return what goes as a Markdown table, the sum by kind first."""
    kinds = {kind: [waste for waste in wastes if waste.kind == kind] for kind in dict.fromkeys(w.kind for w in wastes)}
    names = ", ".join(f"{v.name} {v.version}" + (f" ({', '.join(v.aliases)})" if v.aliases else "") for v in kept)
    head = "What would go; nothing was removed" if dry else "What was removed"
    total = sum(waste.size for waste in wastes)
    sums = [f"| {kind} | {len(each):,} | {readable(sum(w.size for w in each))} |" for kind, each in kinds.items()]
    rows = [f"| {w.kind} | `{w.name}` | {w.why} | {readable(w.size)} |" for w in wastes]
    return "\n".join(
        [
            f"# {head}: {readable(total)}",
            "",
            f"Kept versions: {names or 'none'}",
            "",
            *(["| kind | number | size |", "|---|---|---|", *sums, ""] if rows else []),
            *(["| kind | name | why | size |", "|---|---|---|---|", *rows, ""] if rows else []),
        ]
    )


def readable(size: int) -> str:
    """Return a number of bytes as a person says it.

    Example:
        >>> readable(999), readable(1_500_000)
        ('999 B', '1.5 MB')
    """
    value, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"


def _runs(client: MlflowClient) -> Iterator[Run]:
    return _paged(client, client.search_runs)


def _models(client: MlflowClient) -> Iterator[LoggedModel]:
    return _paged(client, client.search_logged_models)


def _paged(client: MlflowClient, search: Callable[..., Any]) -> Iterator[Any]:
    """Yield what a search finds in the project's experiment, page after page."""
    experiment = client.get_experiment_by_name(tracking.EXPERIMENT)
    token = None
    while experiment is not None and token != "":
        page = search([experiment.experiment_id], page_token=token)
        yield from page
        token = page.token or ""


def _model_of(version: ModelVersion) -> str:
    """Return the id of the logged model that a version is: MLflow tells it by its source alone."""
    return str(version.source).removeprefix("models:/")


def _over(run: Run, before: float) -> bool:
    ended = run.info.end_time
    return run.info.status in OVER and ended is not None and ended / 1000 < before


def _version(client: MlflowClient, version: ModelVersion) -> Waste:
    def remove() -> None:
        client.delete_model_version(version.name, version.version)

    return Waste("version", f"{version.name} {version.version}", 0, "no alias, and not among the last", remove)


def _model(client: MlflowClient, model: LoggedModel) -> Waste:
    def remove() -> None:
        client.delete_logged_model(model.model_id)
        _store(model.artifact_location).delete_artifacts()

    return Waste("model", model.model_id, _size(model.artifact_location), "no kept version is of it", remove)


def _run(client: MlflowClient, run: Run) -> Waste:
    def remove() -> None:
        client.delete_run(run.info.run_id)
        _store(run.info.artifact_uri).delete_artifacts()

    return Waste("run", run.info.run_name, _size(run.info.artifact_uri), "over, old, and no kept version's", remove)


def _store(address: str) -> Any:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return get_artifact_repository(address)


def _size(address: str) -> int:
    """Return the bytes of all files at an address of MLflow's."""
    store, size, waiting = _store(address), 0, [""]
    while waiting:
        for found in store.list_artifacts(waiting.pop() or None):
            if found.is_dir:
                waiting.append(found.path)
            else:
                size += int(found.file_size or 0)
    return size


def _held(lock: Path) -> bool:
    """Tell whether a training holds the lock."""
    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True

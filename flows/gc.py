"""What nobody needs any more: versions, runs and checkpoints by a rule, and what of the DVC cache nothing kept names.

Nothing is removed unless `dry` is false.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from prefect import State, flow
from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger
from prefect.states import Completed
from pydantic import Field

from flows import arguments, elsewhere, stages
from flows.embed import told
from likewise.config import cache_folder, main_checkout, project_root, read_yaml
from likewise.delivery import dvc_lock
from likewise.files import replacing

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

    from likewise.delivery.retention import Waste

REFS = ("refs/heads", "refs/remotes", "refs/tags", "refs/exps")
"""Whose data stay too: branches, tags and DVC's experiments, as each stands."""
REMOVING = "Removing "
REPORT = ".likewise/gc.md"
MD5 = 32


class UnknownNeeds(ValueError):  # noqa: N818 - it reads as what is the matter
    """A kept version that does not say which data it needs."""


@flow(name="gc", persist_result=False)
def gc(
    last: Annotated[int, Field(ge=0, le=10_000)] = 3,
    days: Annotated[float, Field(ge=0, le=3650)] = 30.0,
    dry: bool = True,
    cache: bool = True,
) -> State[None]:
    """List what nobody needs any more with its bytes, and remove it if told so.

    Args:
        last: So many of the newest versions are kept, and those that an alias points to.
        days: A run that belongs to no kept version goes so many days after its end, a checkpoint after its last change.
        dry: Only tell, remove nothing.
        cache: Also free the DVC cache of what no kept version, branch, tag or experiment names.

    Raises:
        StageError: when the registry or DVC fails, or a kept version does not say which data it needs.
    """
    from likewise.delivery import retention, versions

    stages.say_own_lines()
    root = project_root()
    before = time.time() - days * retention.DAY
    with told(), versions.reading(root) as client, tempfile.TemporaryDirectory() as temporary:
        found = [client.get_model_version(each.name, each.version) for each in versions.every(client)]
        kept = retention.kept_versions(found, last=last)
        wastes = [
            *retention.of_registry(client, found, kept, before=before),
            *retention.of_checkpoints(client, checkpoints(), cache_folder() / "locks", before=before),
            *(of_cache(root, needs(root, kept, Path(temporary)), Path(temporary)) if cache else ()),
        ]
        if not dry:
            remove(wastes, get_run_logger().info)
    text = retention.table(wastes, kept, dry=dry)
    print(text, end="")
    report = main_checkout(root) / REPORT
    with replacing(report) as partial:
        partial.write_text(text, encoding="utf-8")
    create_markdown_artifact(key="gc", markdown=text, description="What nobody needs any more")
    size = retention.readable(sum(waste.size for waste in wastes))
    count = f"{len(wastes):,} {'thing' if len(wastes) == 1 else 'things'}"
    get_run_logger().info("gc: %s, %s; the table is in the artifact gc and in %s", count, size, report)
    elsewhere.rename(f"gc: {size} {'would go' if dry else 'gone'}")
    return Completed(message=f"{count}, {size} {'would go: a dry run' if dry else 'gone'}")


def remove(wastes: Collection[Waste], say: Callable[[str], None]) -> None:
    """Take everything away, one after the other; versions come before what they are made of."""
    for waste in wastes:
        waste.remove()
        say(f"gc: removed {waste.kind} {waste.name}")


def checkpoints() -> str:
    """Return where the checkpoints of all trainings lie."""
    from likewise.stages.resume import checkpoint_url

    return checkpoint_url()


def needs(root: Path, kept: Iterable[ModelVersion], folder: Path) -> set[str]:
    """Return the hashes of DVC that kept versions name, and the branches, tags and experiments as they stand.

    Args:
        root: the project's root.
        kept: the versions.
        folder: for the files that they keep.

    Raises:
        UnknownNeeds: when a version keeps no dvc.lock.
    """
    from likewise.delivery import versions

    hashes: set[str] = set()
    for version in kept:
        place = folder / f"{version.name}-{version.version}"
        place.mkdir()
        found = versions.stages(versions.pipeline(version, place))
        if not found:
            raise UnknownNeeds(
                f"{version.name} {version.version} keeps no dvc.lock, so that nobody knows which data it needs: the "
                "DVC cache stays as it is with cache=false"
            )
        hashes |= {item.md5 for _, item in dvc_lock.everything(found) if item.md5}
    return {digest for digest in hashes | set(of_refs(root, folder)) if len(digest.removesuffix(".dir")) == MD5}


def of_refs(root: Path, folder: Path) -> Iterator[str]:
    """Yield the hashes that dvc.lock and the .dvc files name in each branch, tag and experiment."""
    refs = stages.run(["git", "for-each-ref", "--format=%(objectname)", *REFS], root, quiet=True).split()
    for commit in dict.fromkeys(refs):
        names = stages.run(
            ["git", "ls-tree", "-r", "--name-only", "--full-tree", commit], root, quiet=True
        ).splitlines()
        for name in names:
            if name.rpartition("/")[2] == dvc_lock.LOCK_FILE or name.endswith(".dvc"):
                text = stages.run(["git", "show", f"{commit}:{name}"], root, quiet=True)
                file = folder / "ref.yaml"
                file.write_text(text, encoding="utf-8")
                yield from _hashes(read_yaml(file))


def _hashes(content: object) -> Iterator[str]:
    """Yield every md5 in a dvc.lock or .dvc file, however deep."""
    if isinstance(content, dict):
        yield from (str(value) for key, value in content.items() if key == "md5")
        yield from (digest for value in content.values() for digest in _hashes(value))
    elif isinstance(content, list):
        yield from (digest for value in content for digest in _hashes(value))


def of_cache(root: Path, needed: Collection[str], folder: Path) -> list[Waste]:
    """Return what `dvc gc` would take from the cache; what is needed and what this working folder uses stays.

    DVC keeps what the projects named use: one is made that uses what is needed. Other checkouts that share the cache
    count as well.
    """
    from likewise.delivery.retention import Waste

    place = Path(stages.run(["dvc", "cache", "dir"], root, quiet=True).splitlines()[-1])
    place = place if place.is_absolute() else root / place
    projects = [str(keeping(needed, place, folder / "kept")), *map(str, sharing(root, place))]
    command = ["dvc", "--wait-for-lock", "gc", "--workspace", "--force", "--projects", *projects]
    said = stages.run([*command, "--dry"], root, quiet=True).splitlines()
    files = [Path(line.removeprefix(REMOVING)) for line in said if line.startswith(REMOVING)]
    size = sum(file.stat().st_size for file in files if file.is_file())

    def remove() -> None:
        stages.run(command, root, quiet=True)

    if not files:
        return []
    return [Waste("cache", f"{len(files):,} objects", size, "no kept version, branch, tag or experiment", remove)]


def keeping(needed: Collection[str], cache: Path, folder: Path) -> Path:
    """Make a DVC project that uses these hashes and nothing else, and return its folder."""
    (folder / ".dvc").mkdir(parents=True)
    config = f"[core]\n    no_scm = true\n    analytics = false\n[cache]\n    dir = {cache}\n"
    (folder / ".dvc" / "config").write_text(config, encoding="utf-8")
    outs = [f"- md5: {digest}\n  hash: md5\n  path: '{number}'\n" for number, digest in enumerate(sorted(needed))]
    (folder / "kept.dvc").write_text("outs:\n" + "".join(outs) if outs else "{}\n", encoding="utf-8")
    return folder


def sharing(root: Path, cache: Path) -> list[Path]:
    """Return the other checkouts beside this one that have the same cache, as a worker's have."""
    configs = (folder / ".dvc" / "config.local" for folder in sorted(root.parent.iterdir()) if folder != root)
    return [
        config.parents[1]
        for config in configs
        if config.is_file() and f"dir = {cache}" in config.read_text(encoding="utf-8")
    ]


if __name__ == "__main__":
    arguments.call(gc)

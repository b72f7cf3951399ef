"""What a dvc.lock says: what each stage read and wrote, by hash."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from likewise.config import ConfigError, read_yaml

LOCK_FILE = "dvc.lock"
CODE = "src/"


@dataclass(frozen=True)
class Item:
    """A file or a folder that a stage read or wrote.

    Attributes:
        path: as `dvc.yaml` names it.
        md5: DVC's hash of it; a folder's ends with `.dir`. None where DVC keeps none.
        size: in bytes, where it is known.
        files: how many files a folder has.
    """

    path: str
    md5: str | None
    size: int | None = None
    files: int | None = None


@dataclass(frozen=True)
class Stage:
    """What a stage read and wrote.

    Attributes:
        code: the files under `src/`.
        data: whatever else it read.
        outs: what it wrote.
        params: by the file they are in, name and value.
    """

    code: tuple[Item, ...]
    data: tuple[Item, ...]
    outs: tuple[Item, ...]
    params: Mapping[str, Mapping[str, Any]]


def read(path: Path, *, only: str | None = None) -> dict[str, Stage]:
    """Return what a lock file says of each stage.

    Args:
        path: of the lock file.
        only: the one stage that is wanted, which is read in a tenth of the time; nothing where it did not run.

    Raises:
        ConfigError: when it is missing or not a lock file.
    """
    content = read_yaml(path) if only is None else _read_one(path, only)
    stages = content.get("stages") if isinstance(content, dict) else None
    if not isinstance(stages, dict):
        raise ConfigError(f"{path}: not a dvc.lock (it has no stages)")
    return {str(name): _stage(found) for name, found in stages.items()}


def raw_input(stages: Mapping[str, Stage]) -> Item | None:
    """Return what `ingest` read besides code, or None where it did not run."""
    found = stages["ingest"].data if "ingest" in stages else ()
    return found[0] if found else None


def everything(stages: Mapping[str, Stage]) -> Iterator[tuple[str, Item]]:
    """Yield every stage's name with each file and folder of data that it read or wrote."""
    for name, stage in stages.items():
        for item in (*stage.data, *stage.outs):
            yield name, item


def _read_one(path: Path, stage: str) -> Any:
    """Parse a stage's own lines, as DVC lays them out; the whole file where it is laid out otherwise."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if re.search(r"^stages:\n  \w", text, re.MULTILINE) is None:
        return read_yaml(path)
    found = re.search(rf"^  {re.escape(stage)}:\n(?:    .*\n)+", text, re.MULTILINE)
    return {"stages": {} if found is None else YAML(typ="safe", pure=True).load(found[0])}


def _stage(found: Mapping[str, Any]) -> Stage:
    deps = [_item(each) for each in found.get("deps") or []]
    return Stage(
        code=tuple(item for item in deps if item.path.startswith(CODE)),
        data=tuple(item for item in deps if not item.path.startswith(CODE)),
        outs=tuple(_item(each) for each in found.get("outs") or []),
        params=found.get("params") or {},
    )


def _item(found: Mapping[str, Any]) -> Item:
    # Of what lies elsewhere DVC keeps an etag or a checksum.
    digest = next((found[name] for name in ("md5", "etag", "checksum") if name in found), None)
    return Item(str(found["path"]), digest, found.get("size"), found.get("nfiles"))

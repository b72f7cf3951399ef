"""What changed since the last run, in a few words: the reason that a run carries in its name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from flows import stages
from likewise.config import STAGES, load_params, read_yaml
from likewise.delivery import dvc_lock

CODE = ("src/",)
PARAMS = "params.yaml"
GONE = "deleted"


def status(root: Path) -> dict[str, Any]:
    """Return what DVC finds changed, by stage.

    Raises:
        StageError: when DVC cannot tell.
    """
    text = stages.run(["dvc", "--wait-for-lock", "status", "--json"], root, quiet=True)
    found: dict[str, Any] = json.loads(text[text.index("{") :])
    return {stage: list(_by_key(stage, changed, root)) for stage, changed in found.items()}


def _by_key(stage: str, changed: list[Any], root: Path) -> Iterator[Any]:
    """Yield a stage's changes; where DVC names a whole block of the params, the keys in it that differ."""
    for change in changed:
        params = change.get("changed deps", {}).get(PARAMS) if isinstance(change, dict) else None
        if isinstance(params, dict):
            before = dvc_lock.read(root / dvc_lock.LOCK_FILE, only=stage)[stage].params.get(PARAMS, {})
            names = [key for name in params for key in differing(name, before, read_yaml(root / PARAMS))]
            change = {"changed deps": change["changed deps"] | {PARAMS: dict.fromkeys(names, "modified")}}
        yield change


def differing(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return which keys of a block of the params differ; the name itself where it is no block.

    Args:
        name: of a block or a key, as `dvc.yaml` has it.
        before: what `dvc.lock` holds, by such names.
        now: the params.

    Example:
        >>> differing("train", {"train": {"epochs": 12, "margin": 0.2}}, {"train": {"epochs": 6, "margin": 0.2}})
        ['train.epochs']
        >>> differing("train.seed", {"train.seed": 0}, {"train": {"seed": 1}})
        ['train.seed']
    """
    old, new = before.get(name), now.get(name)
    if not isinstance(old, dict) or not isinstance(new, dict):
        return [name]
    return [f"{name}.{key}" for key in {**old, **new} if old.get(key) != new.get(key)] or [name]


def reason(found: dict[str, Any], outputs: Iterable[str]) -> str:
    """Return why there is something to do, or nothing when there is not.

    Args:
        found: as `status` returns it.
        outputs: what stages write; that they are new is no reason but what follows from one.

    Example:
        >>> reason({"ingest": [{"changed deps": {"data/raw": "modified"}}]}, ["data/ingest"])
        'data changed'
        >>> reason({"train": [{"changed deps": {"params.yaml": {"train.epochs": "modified"}}}]}, [])
        'params changed: train.epochs'
        >>> reason({"pairs": [{"changed outs": {"data/pairs/val.parquet": "deleted"}}]}, [])
        'outputs missing'
        >>> reason({}, [])
        ''
    """
    kinds: dict[str, set[str]] = {"data": set(), "params": set(), "code": set()}
    for path, change in _dependencies(found):
        if path == PARAMS:
            if not isinstance(change, dict):
                return "first run"
            kinds["params"] |= set(change)
        elif path.startswith(CODE):
            kinds["code"].add(path)
        elif path not in outputs and change != GONE:
            kinds["data"].add(path)
    changed = [kind for kind, names in kinds.items() if names]
    if not changed:
        return "outputs missing" if found else ""
    names = sorted(kinds["params"])
    told = f": {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}" if changed == ["params"] else ""
    return " and ".join(changed) + " changed" + told


def _dependencies(found: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for changes in found.values():
        for change in changes:
            if isinstance(change, dict):
                yield from change.get("changed deps", {}).items()


def outputs(root: Path) -> list[str]:
    """Return what the stages write."""
    described = read_yaml(root / "dvc.yaml")["stages"]
    return [str(name) for stage in STAGES for name in described[stage].get("outs", ())]


def subject(root: Path) -> str:
    """Return what the project is about in a word: its source, or what it reads where that has a name of its own."""
    params = load_params(root)["ingest"].model_dump()
    name = Path(params["path"]).stem
    return str(params["source"]) if name == "raw" else name

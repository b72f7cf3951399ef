"""What changed since the last run, in a few words: the reason that a run carries in its name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from flows import stages
from likewise.config import STAGES, load_params, read_yaml

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
    return found


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

"""What makes two trainings the same, and where the checkpoints of one that was cut short lie."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from likewise import artifacts
from likewise.config import cache_folder, read_yaml


def train_key(params: Mapping[str, object], table: Path, root: Path) -> str:
    """Return the key of a training: its params, code, inputs and torch's version decide the weights, bit for bit.

    The code is what `dvc.yaml` lists for the stage, so that both agree on what makes a training stale.

    Args:
        params: the `train` block (the number of threads is one of them).
        table: the table that the network feeds on.
        root: the project's root.
    """
    dependencies = read_yaml(root / "dvc.yaml")["stages"]["train"]["deps"]
    code = sorted(name for name in dependencies if name.endswith(".py"))
    data = (
        artifacts.MEDIA.existing(root).parent,
        artifacts.present(root / artifacts.PAIRS["val"].path),
        table,
    )
    parts = {
        "params": dict(params),
        "code": {name: artifacts.sha256(root / name) for name in code},
        "inputs": artifacts.sha256(*data),
        "torch": version("torch"),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def checkpoint_url() -> str:
    """Return where checkpoints lie: `LIKEWISE_CHECKPOINTS` (a folder or an fsspec URL), or the cache folder."""
    return os.environ.get("LIKEWISE_CHECKPOINTS") or str(cache_folder() / "checkpoints")

"""Where a model came from: what a version carries of it, as tags and as files."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from likewise import artifacts
from likewise.config import PARAMS_FILE, read_yaml
from likewise.delivery import card, checkout, dvc_lock, tracking

PREFIX = "likewise."
IDENTITY_TAG = f"{PREFIX}identity"
DATA_TAG = f"{PREFIX}data_hash"
RAW_TAG = f"{PREFIX}raw_hash"
PARENT_TAG = f"{PREFIX}git_parent"
COMMIT_TAG = f"{PREFIX}git_commit"

HEADLINES = {
    "eer": "verification.eer",
    "accuracy": "verification.accuracy",
    "auc": "verification.auc",
    "recall_at_1": "retrieval.recall_at_1",
    "map_at_r": "retrieval.map_at_r",
    "oneshot": "oneshot.accuracy",
}
"""The figures that are tags as well, to search versions by: with names so short that MLflow's list of versions has room
for their values, and first in it. All figures are metrics of the logged model and of the run."""

KEPT = (dvc_lock.LOCK_FILE, "dvc.yaml", PARAMS_FILE, artifacts.METRICS.path)
"""What a version keeps to be made again from, and to be compared with what comes out."""
CARD_FILE = "card.md"


def identity(root: Path) -> str:
    """Return the hash of what is evaluated and delivered: the same hash, the same version."""
    return artifacts.sha256(*(root / path for path in (*artifacts.DELIVERED, artifacts.METRICS.path)))


def tags(root: Path, metrics: Mapping[str, float]) -> dict[str, str]:
    """Return what a version is searched and told apart by.

    Args:
        root: the project's root.
        metrics: flat names and values of `metrics.json`.
    """
    params = read_yaml(root / PARAMS_FILE)
    digest = hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()
    return {
        **{tag: f"{metrics[name]:.6g}" for tag, name in HEADLINES.items() if name in metrics},
        "source": str(params["ingest"]["source"]),
        "kind": artifacts.SUMMARY.read(root)["kind"],
        "encoder": artifacts.MODEL.read(root)["encoder"]["name"],
        "loss": str(params["train"]["loss"]),
        IDENTITY_TAG: identity(root),
        tracking.KEY_TAG: artifacts.TRAIN.read(root)["train_key"],
        tracking.WEIGHTS_TAG: artifacts.MODEL.read(root)["weights_sha256"],
        DATA_TAG: artifacts.sha256(root / artifacts.SAMPLES.path),
        RAW_TAG: _raw_hash(root) or "none",
        f"{PREFIX}params_hash": digest,
        PARENT_TAG: checkout.head(root) or "none",
    }


def keep(root: Path, folder: Path) -> Path:
    """Copy what a version keeps of its pipeline into `folder`, and its whole card; return the folder."""
    folder.mkdir()
    for path in KEPT:
        if (root / path).is_file():
            shutil.copy2(root / path, folder)
    (folder / CARD_FILE).write_text(card.render(root, room=None), encoding="utf-8")
    return folder


def _raw_hash(root: Path) -> str | None:
    """Return DVC's hash of the raw input, where it ran."""
    path = root / dvc_lock.LOCK_FILE
    found = dvc_lock.raw_input(dvc_lock.read(path, only="ingest")) if path.is_file() else None
    return None if found is None else found.md5

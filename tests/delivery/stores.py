"""A store of a test's own, and what its tests ask of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from likewise.delivery import tracking

HISTORY = [{"epoch": epoch, "loss": 1 / epoch, "val_eer": 0.1 * epoch} for epoch in (1, 2, 3)]
PARAMS = {"train.loss": "triplet", "train.margin": None}


@pytest.fixture
def root(tmp_path: Path, empty_store: Path) -> Path:
    made = tmp_path / "project"
    made.mkdir()
    shutil.copy2(empty_store, made)
    return made


@pytest.fixture
def client(root: Path) -> MlflowClient:
    return tracking.connect(tracking.tracking_uri(root))


def only_run(client: MlflowClient, root: Path) -> Run:
    (run,) = client.search_runs([tracking.experiment_id(client, root)])
    return run


def steps(client: MlflowClient, run: Run, name: str) -> list[tuple[int, float]]:
    return sorted((metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name))

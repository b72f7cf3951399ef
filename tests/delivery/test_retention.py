from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from likewise.delivery import retention, tracking
from likewise.delivery.retention import kept_versions
from tests.delivery.stores import client, root

__all__ = ["client", "root"]

NOW = time.time()
LATER = NOW + 3600


def version(number: int, *aliases: str, name: str = "likewise") -> Any:
    return SimpleNamespace(name=name, version=str(number), aliases=list(aliases))


@pytest.mark.parametrize(
    ("last", "kept"),
    [(0, [2, 4]), (1, [2, 4, 12]), (2, [2, 4, 11, 12]), (99, [1, 2, 3, 4, 11, 12])],
)
def test_the_named_and_the_last_are_kept(last: int, kept: list[int]) -> None:
    found = [version(n) for n in (12, 1, 3, 11)] + [version(4, "champion"), version(2, "previous", "x")]
    assert [int(each.version) for each in kept_versions(found, last=last)] == kept


def test_each_model_keeps_its_own_last() -> None:
    found = [version(1), version(2), version(1, name="other")]
    assert [(each.name, each.version) for each in kept_versions(found, last=1)] == [("likewise", "2"), ("other", "1")]


def make_run(client: MlflowClient, root: Path, *, parent: str = "", status: str = "FINISHED", key: str = "") -> str:
    """Make a run with a file of 1,000 bytes."""
    tags = {retention.PARENT_TAG: parent} if parent else {}
    made = client.create_run(tracking.experiment_id(client, root), tags=tags | ({tracking.KEY_TAG: key} if key else {}))
    file = root / "file.bin"
    file.write_bytes(bytes(1000))
    client.log_artifact(made.info.run_id, str(file))
    if status != "RUNNING":
        client.set_terminated(made.info.run_id, status)
    return str(made.info.run_id)


def make_version(client: MlflowClient, root: Path, run: str, *, alias: str = "") -> Any:
    """Register a model of 500 bytes from a run."""
    model = client.create_logged_model(tracking.experiment_id(client, root), name="m", source_run_id=run)
    folder = root / "model"
    folder.mkdir(exist_ok=True)
    (folder / "weights").write_bytes(bytes(500))
    client.log_model_artifacts(model.model_id, str(folder))
    if not client.search_registered_models("name = 'likewise'"):
        client.create_registered_model("likewise")
    made = client.create_model_version("likewise", f"models:/{model.model_id}", run_id=run, model_id=model.model_id)
    if alias:
        client.set_registered_model_alias("likewise", alias, made.version)
    return client.get_model_version("likewise", made.version)


def test_what_belongs_to_nothing_kept_goes_with_its_bytes_and_all_else_stays(client: MlflowClient, root: Path) -> None:
    with tracking.in_use(tracking.tracking_uri(root)):
        sweep = make_run(client, root)
        best = make_run(client, root, parent=sweep)
        lost, alive = make_run(client, root, parent=sweep), make_run(client, root, status="RUNNING")
        old = make_run(client, root)
        first, champion = make_version(client, root, old), make_version(client, root, best, alias="champion")
        found, model = [first, champion], str(first.source).removeprefix("models:/")
        kept = kept_versions(found, last=1)
        assert [int(each.version) for each in kept] == [2]
        assert [w.kind for w in retention.of_registry(client, found, kept, before=NOW - 3600)] == ["version", "model"]
        wastes = retention.of_registry(client, found, kept, before=LATER)
        names = {run: client.get_run(run).info.run_name for run in (sweep, best, lost, alive, old)}
        assert [(w.kind, w.name, w.size) for w in wastes[:2]] == [
            ("version", "likewise 1", 0),
            ("model", model, 500),
        ]
        assert {(w.name, w.size) for w in wastes[2:]} == {(names[lost], 1000), (names[old], 1000)}
        for waste in wastes:
            waste.remove()
        assert [int(each.version) for each in client.search_model_versions("name = 'likewise'")] == [2]
        assert {run for run in names if client.get_run(run).info.lifecycle_stage == "active"} == {sweep, best, alive}
        with pytest.raises(MlflowException):
            client.get_logged_model(model)
        left = sum(file.stat().st_size for file in (root / "mlartifacts").rglob("*") if file.is_file())
        assert left == 3 * 1000 + 500
        assert retention.of_registry(client, kept, kept, before=LATER) == []


def test_checkpoints_of_the_living_stay(client: MlflowClient, root: Path, tmp_path: Path) -> None:
    for key, status in (("done", "FINISHED"), ("killed", "KILLED"), ("held", "FINISHED"), ("running", "RUNNING")):
        make_run(client, root, status=status, key=key)
    folder = tmp_path / "checkpoints"
    for key in ("done", "killed", "held", "running", "nobody", "old"):
        (folder / key).mkdir(parents=True)
        (folder / key / "checkpoint.pt").write_bytes(bytes(100))
    os.utime(folder / "old" / "checkpoint.pt", (1, 1))
    locks = tmp_path / "locks"
    locks.mkdir()
    (locks / "done.lock").touch()
    with FileLock(locks / "held.lock"):
        wastes = list(retention.of_checkpoints(client, str(folder), locks, before=NOW - 3600))
    assert [(w.name, w.size, w.why) for w in wastes] == [
        ("done", 100, "its training is over"),
        ("old", 100, "given up"),
    ]
    for waste in wastes:
        waste.remove()
    assert sorted(path.name for path in folder.iterdir()) == ["held", "killed", "nobody", "running"]
    assert list(retention.of_checkpoints(client, str(tmp_path / "none"), locks, before=0)) == []


def test_the_table_says_what_and_how_much() -> None:
    wastes = [
        retention.Waste("run", "digits 1", 1_200_000, "old", lambda: None),
        retention.Waste("run", "digits 2", 800_000, "old", lambda: None),
        retention.Waste("cache", "12 objects", 3_000_000, "nobody's", lambda: None),
    ]
    text = retention.table(wastes, [version(3, "champion")], dry=True)
    assert text.startswith("# What would go; nothing was removed: 5.0 MB\n\nKept versions: likewise 3 (champion)\n")
    assert "| run | 2 | 2.0 MB |\n| cache | 1 | 3.0 MB |" in text
    assert "| run | `digits 1` | old | 1.2 MB |" in text
    assert retention.table([], [], dry=False).startswith("# What was removed: 0 B\n\nKept versions: none\n")

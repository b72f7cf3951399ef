"""The whole pipeline as a user runs it: `make repro`, again, elsewhere, in an experiment, twice at once, killed."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from likewise import artifacts
from likewise.config import STAGES, read_yaml
from tests.projects import SMALL, Project, write_params

OUTPUTS = ("data/ingest", "data/classes", "data/pairs", "data/triplets", "models", "reports", "data/export")


def versions(project: Project) -> int:
    done = json.loads(project.run("likewise", "register", "--json").stdout)
    return int(done["version"])


def store(project: Project) -> str:
    return f"sqlite:///{project.root / 'mlflow.db'}"


def runs(project: Project) -> list[Run]:
    client = MlflowClient(store(project))
    return list(client.search_runs([e.experiment_id for e in client.search_experiments()]))


def stages_run(log: str) -> list[str]:
    return [stage for stage in STAGES if f"Running stage '{stage}'" in log]


def test_make_repro_runs_every_stage_and_prints_the_result(finished: Project) -> None:
    assert stages_run(finished.log) == list(STAGES)
    table = finished.log[finished.log.index("verification accuracy") :]
    for words in (
        "EER",
        "AUC",
        "recall@1",
        "likewise version 1",
        "champion",
        "/#/models/likewise/versions/1",
    ):
        assert words in table
    assert f"--backend-store-uri sqlite:///{finished.root / 'mlflow.db'}" in table
    assert (finished.root / "reports/evaluate/report.html").as_uri() in table


def test_it_learnt_something(finished: Project) -> None:
    metrics = artifacts.METRICS.read(finished.root)
    assert metrics["verification"]["auc"] > 0.8
    assert metrics["verification"]["trials"] == 80


def test_every_file_is_of_its_schema(finished: Project) -> None:
    root = finished.root
    samples = artifacts.SAMPLES.read(root)
    media, offsets = artifacts.read_media(root)
    assert len(samples) == len(media) == len(offsets) - 1 == 200
    assert len(artifacts.QUARANTINE.read(root)) == 0
    assert set(artifacts.CLASSES.read(root)["id"]) == set(samples.loc[samples["split"] == "train", "id"])
    assert len(artifacts.TRIPLETS.read(root)) == 400
    classes = samples.set_index("id")["class"]
    for split, table in artifacts.PAIRS.items():
        pairs = table.read(root)
        members = set(samples.loc[samples["split"] == split, "id"])
        assert set(pairs["left"]) | set(pairs["right"]) <= members
        same = classes[pairs["left"]].to_numpy() == classes[pairs["right"]].to_numpy()
        assert np.array_equal(same, pairs["same"] == 1)
    assert np.stack(list(artifacts.EMBEDDINGS.read(root)["vector"])).shape == (200, 64)
    assert len(artifacts.HISTORY.read(root)) == 4
    errors, verification = artifacts.ERRORS.read(root), artifacts.METRICS.read(root)["verification"]
    wrong = round((1 - verification["accuracy"]) * verification["trials"])
    assert len(errors) == wrong
    assert artifacts.CALIBRATION.read(root)["threshold"]["split"] == "val"


def test_second_repro_runs_nothing(finished: Project) -> None:
    log = finished.run("dvc", "repro").stdout
    assert stages_run(log) == []
    assert "Data and pipelines are up to date." in log
    assert versions(finished) == 1
    assert len(runs(finished)) == 1


def test_a_typo_stops_make_repro_before_dvc(copy_of_finished: Callable[[], Project]) -> None:
    project = copy_of_finished()
    params = project.root / "params.yaml"
    params.write_text(params.read_text(encoding="utf-8").replace("  loss:", "  los:"), encoding="utf-8")
    log = project.run("make", "-o", ".venv/installed", "repro", code=2).stdout
    assert "train.los: unknown key; did you mean train.loss?" in log
    assert "Traceback" not in log
    assert stages_run(log) == []


def test_another_clone_restores_everything_but_the_registry(
    copy_of_finished: Callable[[], Project], tmp_path: Path
) -> None:
    project = copy_of_finished()
    remote = tmp_path / "remote"
    project.run("dvc", "remote", "add", "-d", "storage", str(remote))
    project.run("dvc", "push", "--run-cache")
    project.run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qam", "A remote")
    clone = Project(tmp_path / "clone", tmp_path / "checkpoints")
    project.run("git", "clone", "-q", str(project.root), str(clone.root))
    assert not (clone.root / "dvc.lock").exists()
    log = clone.run("dvc", "repro", "--pull").stdout
    assert stages_run(log) == ["register"]
    assert same_files(project, clone)
    assert versions(clone) == 1


def test_a_fresh_clone_with_a_lock_gets_its_registry_from_likewise_register(
    copy_of_finished: Callable[[], Project],
) -> None:
    project = copy_of_finished()
    assert not (project.root / "mlflow.db").exists()
    assert stages_run(project.run("dvc", "repro").stdout) == []
    made = json.loads(project.run("likewise", "register", "--json").stdout)
    assert (made["version"], made["created"], made["aliases"]) == (1, True, ["champion"])
    again = json.loads(project.run("likewise", "register", "--json").stdout)
    assert (again["version"], again["created"], again["run_id"]) == (1, False, made["run_id"])


@pytest.mark.parametrize("where", [(), ("--temp",)])
def test_an_experiment_registers_nothing(copy_of_finished: Callable[[], Project], where: tuple[str, ...]) -> None:
    project = copy_of_finished()
    project.run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "add", "dvc.lock")
    project.run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "Locked")
    log = project.run("dvc", "exp", "run", "-n", "tried", *where, "-S", "register.name=other").stdout
    assert stages_run(log) == ["register"]
    assert "register: skipped" in log
    assert not (project.root / "mlflow.db").exists()
    table = project.run("dvc", "exp", "show", "--csv").stdout
    frame = pd.read_csv(io.StringIO(table))
    assert "tried" in table
    assert frame["verification.eer"].notna().all()


def test_killed_in_training_it_goes_on_and_ends_with_the_same_bytes(
    finished: Project, copy_of_finished: Callable[[], Project]
) -> None:
    project = copy_of_finished()
    for name in ("models", ".dvc/cache/runs"):
        shutil.rmtree(project.root / name)
    lock = read_yaml(project.root / "dvc.lock")
    del lock["stages"]["train"]
    (project.root / "dvc.lock").write_text(json.dumps(lock), encoding="utf-8")
    with project.start("dvc", "repro", "train") as child:
        assert child.stdout is not None
        for line in child.stdout:
            if line.startswith("train: epoch   2/"):
                os.killpg(child.pid, signal.SIGKILL)
                break
    assert not (project.root / artifacts.WEIGHTS.path).exists()
    log = project.run("dvc", "repro", "train").stdout
    assert "train: goes on after epoch" in log
    assert same_files(finished, project)
    assert not list(project.checkpoints.rglob("*.pt"))
    (run,) = runs(project)
    assert (run.data.tags["likewise.resumed"], run.info.status) == ("true", "FINISHED")
    steps = [m.step for m in MlflowClient(store(project)).get_metric_history(run.info.run_id, "loss")]
    assert sorted(steps) == [1, 2, 3, 4]


def test_two_repros_at_once_spoil_nothing(finished: Project, copy_of_finished: Callable[[], Project]) -> None:
    project = copy_of_finished()
    write_params(project.root, SMALL | {"episodes: 2000": "episodes: 99"})
    children = [project.start("dvc", "--wait-for-lock", "repro", "export") for _ in range(2)]
    logs = [child.communicate(timeout=240)[0] for child in children]
    # DVC lets one through and makes the other wait or go away with a clear word.
    codes = [child.returncode for child in children]
    assert 0 in codes, "\n".join(logs)
    assert all(code == 0 or "is busy" in log for code, log in zip(codes, logs, strict=True)), "\n".join(logs)
    assert "up to date" in project.run("dvc", "repro", "export").stdout
    assert artifacts.METRICS.read(project.root)["oneshot"]["episodes"] == 99
    assert artifacts.sha256(project.root / "data/export") == artifacts.sha256(finished.root / "data/export")
    assert sorted(stage for log in logs for stage in stages_run(log)) == ["evaluate", "export"]


def same_files(one: Project, other: Project) -> bool:
    """Tell whether all outputs of two projects, which stand in different folders, are the same, byte for byte."""
    return all(artifacts.sha256(one.root / name) == artifacts.sha256(other.root / name) for name in OUTPUTS)


def test_dvc_reads_the_metrics_and_plots(finished: Project) -> None:
    shown = json.loads(finished.run("dvc", "metrics", "show", "--json").stdout)
    assert "eer" in json.dumps(shown)
    plots = read_yaml(finished.root / "dvc.yaml")["plots"]
    finished.run("dvc", "plots", "show", "-o", str(finished.checkpoints / "plots"))
    page = (finished.checkpoints / "plots" / "index.html").read_text(encoding="utf-8")
    for plot in plots:
        assert next(iter(plot.values()))["title"] in page

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from likewise import artifacts
from likewise.config import read_yaml
from likewise.delivery import labels, tracking
from likewise.delivery.labels import flat, nearest_recipe
from tests.imports import ROOT
from tests.small import CHANGES, make

RAW, INGESTED = "4f0f2c4a56f467bad135b633f544f5f0.dir", "1e0558e368c5b798325dd22b25887f68.dir"
LOCK = """\
schema: '2.0'
stages:
  ingest:
    cmd: PYTHONPATH=src python -m likewise.stages.ingest
    deps:
    - path: data/raw
      hash: md5
      md5: {raw}
      size: 180
      nfiles: 1
    - path: src/likewise/artifacts.py
      hash: md5
      md5: 02a4ae7ffcc8ba9a2d1e3d1a9f2d4d0c
      size: 20
    params:
      params.yaml:
        ingest:
          source: digits
    outs:
    - path: data/classes/train.parquet
      hash: md5
      md5: 990670050c05aff7f7e7b3db17dd77ee
      size: 4565
    - path: data/ingest
      hash: md5
      md5: {ingested}
      size: {size}
      nfiles: {files}
  pairs:
    cmd: PYTHONPATH=src python -m likewise.stages.pairs
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make(tmp_path / "project")


def lock(root: Path, *, files: int = 0) -> None:
    """Write the lock of the data as they are, or of so many files more."""
    found = [path for path in (root / "data/ingest").rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in found)
    text = LOCK.format(raw=RAW, ingested=INGESTED, size=size, files=len(found) + files)
    (root / "dvc.lock").write_text(text, encoding="utf-8")


def recipe(root: Path, name: str, **changes: Any) -> None:
    """Write a recipe that is the project's params but for `changes` in its train block."""
    (root / "recipes").mkdir(exist_ok=True)
    text = (root / "params.yaml").read_text(encoding="utf-8")
    for key, value in changes.items():
        old = next(line for line in text.splitlines() if line.startswith(f"  {key}:"))
        text = text.replace(old, f"  {key}: {value}", 1)
    (root / f"recipes/{name}.yaml").write_text(text, encoding="utf-8")


def test_a_run_is_told_apart_by_what_it_was_made_of(project: Path) -> None:
    found = labels.of_project(project, "0123456789")
    assert found.name == "digits mlp triplet 0123456"
    assert found.tags["likewise.kind"] == "image"
    assert found.tags["likewise.recipe"] == "none"
    assert found.tags["likewise.data_hash"] == artifacts.sha256(project / artifacts.SAMPLES.path)
    assert "likewise.recipe_changes" not in found.tags
    assert "mlflow.source.git.commit" not in labels.of_training(project, "0123456789").tags


def test_an_experiment_names_its_run(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "tried-it")
    found = labels.of_project(project, "0123456789")
    assert found.name.startswith("tried-it mlp ")
    assert found.tags["likewise.experiment"] == "tried-it"


def test_the_params_as_they_stand_in_the_project_are_the_recipe_of_digits() -> None:
    assert nearest_recipe(ROOT, flat(read_yaml(ROOT / "params.yaml"))) == ("digits", [])


def test_another_path_is_the_same_recipe_and_few_changes_are_told(project: Path) -> None:
    recipe(project, "far", **{"epochs": 99, "batch_size": 7})
    recipe(project, "near", path="elsewhere", epochs=12)
    found = labels.of_project(project, "0123456789")
    assert found.tags["likewise.recipe"] == "near"
    assert found.tags["likewise.recipe_changes"] == "train.epochs: 3 for 12"
    assert found.name == "near mlp triplet 0123456"
    recipe(project, "same", path="elsewhere")
    assert nearest_recipe(project, flat(read_yaml(project / "params.yaml"))) == ("same", [])


def test_params_like_no_recipe_are_nobodys(project: Path) -> None:
    shutil.copytree(ROOT / "recipes", project / "recipes")
    params = flat(read_yaml(ROOT / "params.yaml"))
    assert len(CHANGES) > labels.LIKE
    assert labels.of_project(project, "k").tags["likewise.recipe"] == "none"
    few = params | {"train.epochs": 1} | {"train.unheard_of": 1}
    del few["train.seed"]
    name, changes = nearest_recipe(project, few)
    assert name == "digits"
    assert changes == [
        f"train.epochs: 1 for {params['train.epochs']}",
        f"train.seed: not there for {params['train.seed']}",
        "train.unheard_of: 1 for not there",
    ]


def test_the_data_set_is_named_by_dvcs_hash(project: Path, empty_store: Path) -> None:
    lock(project)
    shutil.copy2(empty_store, project)
    client = tracking.connect(tracking.tracking_uri(project))
    found = labels.of_project(project, "key")
    run = tracking.create_run(client, tracking.experiment_id(client, project), "key", found)
    for _ in range(2):
        tracking.log_dataset(client, client.get_run(run.info.run_id), found)
    inputs = client.get_run(run.info.run_id).inputs
    assert inputs is not None
    (logged,) = inputs.dataset_inputs
    assert (logged.dataset.name, logged.dataset.digest) == ("digits", INGESTED)
    tags = {tag.key: tag.value for tag in logged.tags}
    assert tags == {"mlflow.data.context": "train", "likewise.digest_of": "MD5 of data/ingest in dvc.lock"}
    source = json.loads(logged.dataset.source)
    assert (source["uri"], source["md5 of data/raw"]) == ("data/ingest", RAW)
    profile = json.loads(str(logged.dataset.profile))
    assert profile["num_rows"] == len(artifacts.SAMPLES.read(project))
    assert profile["splits"]["train"]["samples"] == 48
    assert [column["name"] for column in json.loads(str(logged.dataset.schema))["mlflow_colspec"]][:3] == [
        "id",
        "class",
        "split",
    ]


@pytest.mark.parametrize("given", ["no lock", "another folder's", "no ingest"])
def test_without_a_lock_of_these_data_their_own_hash_is_told_as_what_it_is(given: str, project: Path) -> None:
    if given == "another folder's":
        lock(project, files=1)
    elif given == "no ingest":
        (project / "dvc.lock").write_text("schema: '2.0'\nstages:\n  pairs:\n    cmd: none\n", encoding="utf-8")
    dataset = labels.of_project(project, "key").dataset
    assert dataset is not None
    assert dataset.digest == artifacts.sha256(project / artifacts.SAMPLES.path)[:36]
    assert dataset.digest_of == "SHA-256 of samples.parquet, first 36 digits"
    assert INGESTED not in json.dumps(dataset.source)


def test_the_commit_is_told_and_whether_files_differ_from_it(project: Path) -> None:
    def git(*words: str) -> str:
        command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *words]
        return subprocess.run(command, cwd=project, capture_output=True, text=True, check=True).stdout.strip()

    lock(project)
    git("init", "-q")
    git("add", "dvc.yaml", "params.yaml", "dvc.lock")
    git("commit", "-qm", "Locked")
    head = git("rev-parse", "HEAD")
    # What the pipeline itself writes is no change of a person's.
    lock(project, files=1)
    tags = labels.of_training(project, "key").tags
    told = {name: tags[name] for name in ("mlflow.source.git.commit", "likewise.git_parent", "likewise.git_dirty")}
    assert told == {"mlflow.source.git.commit": head, "likewise.git_parent": head, "likewise.git_dirty": "false"}
    (project / "params.yaml").write_text((project / "params.yaml").read_text() + "# changed\n")
    assert labels.of_training(project, "key").tags["likewise.git_dirty"] == "true"

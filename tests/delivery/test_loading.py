from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch

import likewise
from likewise import artifacts
from likewise.delivery.gallery import Gallery
from likewise.delivery.loading import load
from likewise.delivery.model import Model, ModelError
from likewise.delivery.registry import Registered
from tests.data.pictures import noise

Made = tuple[Path, Registered]
PICTURE = noise(1, height=8, width=8)


@pytest.fixture
def folder(evaluated: Path, tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    for name in artifacts.DELIVERED:
        shutil.copy2(evaluated / name, made)
    return made


def test_a_folder_and_every_address_give_the_same_model(
    registered: Made, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, _ = registered
    below = root / "data" / "ingest"
    monkeypatch.chdir(below)
    wanted = load(folder).embed([PICTURE])
    for address in (str(folder), "models:/likewise@champion", "models:/likewise/1"):
        np.testing.assert_array_equal(load(address).embed([PICTURE]), wanted)
    np.testing.assert_array_equal(likewise.load().embed([PICTURE]), wanted)


def test_of_a_version_the_models_files_alone_are_fetched_and_nothing_is_left(
    registered: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(registered[0])
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    fetched: list[list[str]] = []
    whole = Model.from_folder

    def spy(folder: Path) -> Model:
        fetched.append(sorted(str(path.relative_to(tmp_path)).partition("/")[2] for path in tmp_path.rglob("*.*")))
        return whole(folder)

    monkeypatch.setattr(Model, "from_folder", spy)
    assert load().embed([PICTURE]).shape == (1, 8)
    assert fetched == [sorted(f"artifacts/model/{Path(name).name}" for name in artifacts.DELIVERED)]
    assert list(tmp_path.iterdir()) == []


def test_loading_leaves_mlflow_as_it_was(registered: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(registered[0] / "data")
    before = mlflow.get_tracking_uri()
    load()
    assert "MLFLOW_TRACKING_URI" not in os.environ
    assert mlflow.get_tracking_uri() == before


def test_outside_a_project_the_variable_says_where_the_registry_is(
    registered: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="outside a project MLFLOW_TRACKING_URI must say where the registry is"):
        load("models:/likewise@champion")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{registered[0] / 'mlflow.db'}")
    assert load("models:/likewise@champion").embed([PICTURE]).shape == (1, 8)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "address", ["models:/likewise@winner", "models:/other@champion", "models:/likewise/7", "models:/likewise"]
)
def test_what_is_not_there_is_told_in_a_line_with_what_to_do(
    registered: Made, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(registered[0])
    with pytest.raises(ModelError) as caught:
        load(address)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    assert text.startswith(f"{address}: ")
    assert text.endswith("`make repro` makes and registers a model")


def test_where_there_is_no_registry_none_is_made(evaluated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(evaluated)
    with pytest.raises(ModelError, match=r"there is no registry .*mlflow\.db yet; `make repro` makes"):
        load()
    assert not (evaluated / "mlflow.db").exists()


@pytest.mark.parametrize("inside", [True, False])
def test_a_registry_that_is_down_costs_seconds_and_a_line(
    evaluated: Path, tmp_path: Path, inside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(evaluated if inside else tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    start = time.monotonic()
    with pytest.raises(ModelError, match=r"models:/likewise@champion: API request to http://127\.0\.0\.1:9") as caught:
        load()
    assert time.monotonic() - start < 10
    assert len(str(caught.value).splitlines()) == 1


def test_a_folder_without_a_model_says_what_belongs_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.json: missing; a model's folder holds model\.json, encoder\.safet"):
        load(tmp_path)


@pytest.mark.parametrize("place", ["", "model", "data/export/model", "artifacts/model"])
def test_a_folder_may_hold_the_model_further_down(folder: Path, tmp_path: Path, place: str) -> None:
    top = tmp_path / "top"
    (top / place).parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(folder, top / place)
    np.testing.assert_array_equal(load(top).embed([PICTURE]), load(folder).embed([PICTURE]))


def test_a_device_that_is_not_there_is_said(folder: Path) -> None:
    assert load(folder, device="auto").embed([PICTURE]).shape == (1, 8)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="PyTorch sees no GPU here"):
            load(folder, device="cuda")


def test_the_package_hands_out_three_names() -> None:
    assert likewise.load is load
    assert (likewise.Model, likewise.Gallery) == (Model, Gallery)
    with pytest.raises(AttributeError, match="has no attribute 'lod'"):
        _ = likewise.lod

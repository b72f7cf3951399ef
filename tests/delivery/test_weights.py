from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from likewise import artifacts
from likewise.data.batches import Media
from likewise.delivery import loading
from likewise.delivery.model import ModelError
from likewise.delivery.registry import Registered, register
from likewise.delivery.weights import load_by_weights
from likewise.learning.embedding import embed
from tests.small import RULE, Fresh

Made = tuple[Path, Registered]


def digest_of(root: Path) -> str:
    return str(artifacts.MODEL.read(root)["weights_sha256"])


def evaluate_anew(root: Path) -> None:
    content = artifacts.METRICS.read(root)
    content["verification"]["accuracy"] = 0.25
    artifacts.METRICS.write(content, root)


def files_of_version(root: Path) -> tuple[Path, Path]:
    (description,) = root.glob("mlartifacts/**/artifacts/model/model.json")
    return description, description.with_name("encoder.safetensors")


def test_the_weights_are_those_that_were_delivered_from_wherever_one_asks(
    registered: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, _ = registered
    monkeypatch.chdir(tmp_path)
    encoder, distance = load_by_weights(digest_of(root), root)
    assert distance == artifacts.MODEL.read(root)["distance"]
    assert not encoder.training
    array, _ = artifacts.read_media(root)
    monkeypatch.chdir(root)
    found = embed(encoder, Media(array, device=torch.device("cpu")), np.arange(5))
    np.testing.assert_array_equal(found.numpy(), loading.load().embed(array[:5]))
    assert list(tmp_path.iterdir()) == []


def test_of_several_versions_the_first_is_taken_under_any_name(fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    root = fresh()
    register(root, name="Other one.2", rule=RULE)
    register(root, name="likewise", rule=RULE)
    evaluate_anew(root)
    assert register(root, name="Other one.2", rule=RULE).version == 2
    asked: list[str] = []
    download = loading.download

    def spy(address: str, root: Path, *, to: Path) -> Path:
        asked.append(address)
        return download(address, root, to=to)

    monkeypatch.setattr(loading, "download", spy)
    load_by_weights(digest_of(root), root)
    assert asked == ["models:/Other one.2/1"]


def test_weights_that_nobody_registered_are_told_with_where_the_number_stands(registered: Made) -> None:
    with pytest.raises(ModelError) as caught:
        load_by_weights("0" * 64, registered[0])
    text = str(caught.value)
    assert text.startswith(f"weights {'0' * 64}: no registered model has them; give the tag likewise.weights_sha256")
    assert len(text.splitlines()) == 1


def test_the_projects_own_training_is_not_looked_at(evaluated: Path, empty_store: Path, tmp_path: Path) -> None:
    (tmp_path / "models").symlink_to(evaluated / "models")
    (tmp_path / "mlflow.db").write_bytes(empty_store.read_bytes())
    with pytest.raises(ModelError, match="no registered model has them"):
        load_by_weights(digest_of(tmp_path), tmp_path)


def test_where_there_is_no_registry_none_is_made(evaluated: Path) -> None:
    with pytest.raises(ModelError, match=r"there is no registry .*mlflow\.db yet"):
        load_by_weights(digest_of(evaluated), evaluated)
    assert not (evaluated / "mlflow.db").exists()


def test_a_registry_that_is_down_is_told_in_a_line(evaluated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match=r"^weights 0+: API request to http://127\.0\.0\.1:9") as caught:
        load_by_weights("0" * 64, evaluated)
    assert len(str(caught.value).splitlines()) == 1


def test_a_version_whose_files_are_others_is_refused(fresh: Fresh) -> None:
    root = fresh()
    register(root, name="likewise", rule=RULE)
    description, weights = files_of_version(root)
    changed = {name: tensor + 1 for name, tensor in load_file(weights).items()}
    save_file(changed, weights)
    with pytest.raises(ModelError, match=r"not the weights that model\.json names"):
        load_by_weights(digest_of(root), root)
    # Even where the description was changed with them.
    about = json.loads(description.read_text(encoding="utf-8"))
    description.write_text(json.dumps(about | {"weights_sha256": artifacts.file_sha256(weights)}), encoding="utf-8")
    with pytest.raises(ModelError, match=r"^models:/likewise/1: tagged with weights [0-9a-f]{64}, but it has others"):
        load_by_weights(digest_of(root), root)

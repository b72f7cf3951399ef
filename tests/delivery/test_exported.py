from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import likewise
from likewise import artifacts, files
from likewise.delivery.exported import Exported
from likewise.delivery.registry import Registered


@pytest.fixture
def export(evaluated: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(evaluated / files.EXPORTED, tmp_path / "taken away"))


def test_a_folder_taken_away_has_all_that_a_search_needs(export: Path, evaluated: Path) -> None:
    model = likewise.load(export)
    stored, _ = artifacts.read_media(evaluated)
    frame = artifacts.EMBEDDINGS.read(evaluated)
    vectors = np.stack(list(frame["vector"]))
    for row in (0, 50, 70):
        hits = model.search(stored[row], 7)
        far = np.linalg.norm(vectors - vectors[row], axis=1)
        order = np.argsort(far, kind="stable")[:7]
        np.testing.assert_allclose([hit.distance for hit in hits], far[order], atol=1e-3)
        assert hits[0].id == frame["id"][row]
        for hit, place in zip(hits, order, strict=True):
            name = frame.set_index("id")["class"][hit.id]
            assert (hit.name is None and name is None) or hit.name == name
            assert hit.distance == pytest.approx(far[place], abs=1e-3)


def test_a_model_from_the_registry_searches_the_embeddings_of_its_project(
    registered: tuple[Path, Registered], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root, _ = registered
    picture = np.array(artifacts.read_media(root)[0][3])
    monkeypatch.chdir(root / "data")
    wanted = likewise.load(root).search(picture, 3)
    assert likewise.load("models:/likewise@champion").search(picture, 3) == wanted
    assert likewise.load(root / "data" / "export").search(picture, 3) == wanted
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    elsewhere = likewise.load("models:/likewise@champion")
    with pytest.raises(ValueError, match=r"^nothing to search in: the registry holds no embeddings; enrol samples, or"):
        elsewhere.search(picture)


def test_embeddings_of_other_weights_are_not_searched(evaluated: Path, export: Path) -> None:
    with pytest.raises(ValueError, match=r"made with weights .*, but the model has 000000000000"):
        Exported(export, "0" * 64).hits(np.zeros((1, 8), dtype=np.float32), 1)
    (export / "index.json").unlink()
    without = likewise.load(export)
    assert without.exported is None
    assert likewise.load(evaluated).exported is not None


def test_what_is_gone_is_told_in_a_line(export: Path) -> None:
    model = likewise.load(export)
    (export / "index.faiss").unlink()
    with pytest.raises(ValueError, match=r"index\.faiss: missing; a search needs"):
        model.search(np.zeros((1, 8, 8), dtype=np.uint8))

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pandas as pd
import pytest

from likewise import artifacts
from likewise.delivery import index
from likewise.delivery.searchable import Searchable, SearchError

NAMES = [Path(name).name for name in artifacts.SEARCHED]


@pytest.fixture
def folder(evaluated: Path, tmp_path: Path) -> Path:
    for name in artifacts.SEARCHED:
        shutil.copy2(evaluated / name, tmp_path)
    return tmp_path


@pytest.fixture
def weights(evaluated: Path) -> str:
    return str(artifacts.MODEL.read(evaluated)["weights_sha256"])


def test_the_nearest_come_with_their_ids_classes_and_distances(folder: Path, weights: str, evaluated: Path) -> None:
    frame = artifacts.EMBEDDINGS.read(evaluated)
    vectors = np.stack(list(frame["vector"]))
    opened = Searchable.from_folder(folder, weights_sha256=weights)
    found = opened.search(vectors[:5] + np.float32(0.001), 3)
    away = np.linalg.norm((vectors[:5] + np.float32(0.001))[:, None] - vectors[None], axis=2)
    order = np.argsort(away, axis=1)[:, :3]
    np.testing.assert_array_equal(found.rows, order)
    np.testing.assert_allclose(found.distances, np.take_along_axis(away, order, axis=1), atol=1e-4)
    assert found.ids.tolist() == frame["id"].to_numpy()[order].tolist()
    assert found.classes.tolist() == frame["class"].to_numpy()[order].tolist()
    assert len(opened) == len(frame)


def test_a_sample_without_a_class_has_none() -> None:
    vectors = np.eye(3, dtype=np.float32)
    samples = pd.DataFrame({"id": ["a", "b", "c"], "class": ["x", None, "z"]})
    found = Searchable(index.build(vectors, "euclidean"), samples, "euclidean").search(vectors, 1)
    assert found.classes.tolist() == [["x"], [None], ["z"]]


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file_is_named(name: str, folder: Path, weights: str) -> None:
    (folder / name).unlink()
    with pytest.raises(SearchError, match=f"{name}: missing; a search needs embeddings.parquet, index.faiss"):
        Searchable.from_folder(folder, weights_sha256=weights)


@pytest.mark.parametrize("name", NAMES[:2])
def test_files_of_another_export_are_refused(name: str, folder: Path, weights: str) -> None:
    with (folder / name).open("ab") as stream:
        stream.write(b" ")
    with pytest.raises(SearchError, match=rf"{name}: not the file that index\.json names \(SHA-256 differs\)"):
        Searchable.from_folder(folder, weights_sha256=weights)


def test_an_index_of_other_weights_is_refused(folder: Path, weights: str) -> None:
    with pytest.raises(SearchError, match=rf"index\.json: made with weights {weights[:12]}, but the model has 000"):
        Searchable.from_folder(folder, weights_sha256="0" * 64)


@pytest.mark.parametrize(("content", "said"), [("{}", "lacks format"), ("no", "not JSON"), ("[]", "lacks format")])
def test_what_is_said_of_the_index_must_be_whole(content: str, said: str, folder: Path, weights: str) -> None:
    (folder / "index.json").write_text(content, encoding="utf-8")
    with pytest.raises(SearchError, match=rf"index\.json: not what is said of an index \(.*{said}"):
        Searchable.from_folder(folder, weights_sha256=weights)


def test_another_format_is_refused(folder: Path, weights: str) -> None:
    about: dict[str, Any] = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    (folder / "index.json").write_text(json.dumps(about | {"format": 7}), encoding="utf-8")
    with pytest.raises(SearchError, match=r"index\.json: format 7; this version reads format 1"):
        Searchable.from_folder(folder, weights_sha256=weights)


@pytest.mark.parametrize(
    ("queries", "count", "said"),
    [
        (np.zeros((2, 5), np.float32), 1, r"given the shape \(2, 5\); the index holds \(n, 8\)"),
        (np.zeros(8, np.float32), 1, r"given the shape \(8,\)"),
        (np.zeros((2, 8), np.float32), 0, "count: given 0"),
    ],
)
def test_what_cannot_be_asked_is_refused(queries: Any, count: int, said: str, folder: Path, weights: str) -> None:
    with pytest.raises(ValueError, match=said):
        Searchable.from_folder(folder, weights_sha256=weights).search(queries, count)


def test_the_index_reads_without_ours(folder: Path) -> None:
    assert faiss.read_index(str(folder / "index.faiss")).ntotal == len(pd.read_parquet(folder / "embeddings.parquet"))

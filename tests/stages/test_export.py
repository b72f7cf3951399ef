from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import torch

from likewise import artifacts
from likewise.delivery import portable, variants
from likewise.delivery.index import search
from likewise.delivery.model import load_trained
from likewise.delivery.searchable import Searchable
from likewise.stages import export
from likewise.stages.export import write_index
from tests.small import Fresh, params

OUTPUTS = (
    *artifacts.SEARCHED,
    artifacts.PORTABLE.path,
    *(file.path for file in artifacts.VARIANTS.values()),
    artifacts.ABOUT_PORTABLE.path,
)


@pytest.fixture(scope="module")
def media(evaluated: Path) -> np.ndarray[Any, Any]:
    return np.array(artifacts.read_media(evaluated)[0])


@pytest.fixture(scope="module")
def vectors(evaluated: Path) -> np.ndarray[Any, Any]:
    return np.stack(list(artifacts.EMBEDDINGS.read(evaluated)["vector"]))


def shown(evaluated: Path, tmp_path: Path) -> Path:
    """Return a folder with what an index refers to."""
    for path in (artifacts.MODEL.path, artifacts.EMBEDDINGS.path):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(evaluated / path, tmp_path / path)
    shutil.copy2(evaluated / "params.yaml", tmp_path)
    return tmp_path


def index_params(root: Path, **changes: Any) -> export.IndexParams:
    found: export.Params = params(root, "export")
    return export.IndexParams.model_validate(found.index.model_dump() | changes)


def test_every_sample_has_the_embedding_of_the_encoder(
    evaluated: Path, media: np.ndarray[Any, Any], vectors: np.ndarray[Any, Any]
) -> None:
    frame, samples = artifacts.EMBEDDINGS.read(evaluated), artifacts.SAMPLES.read(evaluated)
    pd.testing.assert_frame_equal(frame[["id", "class", "split"]], samples[["id", "class", "split"]])
    with torch.no_grad():
        wanted = load_trained(evaluated)[0](torch.from_numpy(media)).numpy()
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, wanted, atol=1e-6)


def test_every_sample_is_its_own_nearest_in_the_index(evaluated: Path, vectors: np.ndarray[Any, Any]) -> None:
    index = faiss.read_index(str(evaluated / artifacts.INDEX.path))
    assert index.ntotal == len(vectors)
    found, rows = search(index, vectors, 3, "euclidean")
    assert rows[:, 0].tolist() == list(range(len(vectors)))
    np.testing.assert_allclose(found[:, 0], 0, atol=1e-3)


def test_the_index_says_what_it_belongs_to_and_finds(evaluated: Path) -> None:
    told = artifacts.ABOUT_INDEX.read(evaluated)
    assert (told["kind"], told["distance"], told["settings"]) == ("flat", "euclidean", {})
    assert told["count"] == len(artifacts.EMBEDDINGS.read(evaluated))
    assert told["recall"] == {"neighbours": 10, "first": 1.0, "ten": 1.0, "queries": 0}
    for key, path in (
        ("weights_sha256", artifacts.WEIGHTS.path),
        ("embeddings_sha256", artifacts.EMBEDDINGS.path),
        ("index_sha256", artifacts.INDEX.path),
    ):
        assert told[key] == artifacts.file_sha256(evaluated / path)


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_an_approximate_index_tells_its_recall_and_has_the_same_bytes_again(
    kind: str, evaluated: Path, tmp_path: Path, vectors: np.ndarray[Any, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    root = shown(evaluated, tmp_path)
    asked = index_params(root, kind=kind, recall=0.5)
    told = [write_index(asked, vectors, "euclidean", root) for _ in range(2)]
    about = artifacts.ABOUT_INDEX.read(root)
    assert told == [f"{kind} index (recall@10 {about['recall']['ten']:.2%} of the exact search)"] * 2
    assert about["kind"] == kind
    assert about["recall"]["queries"] == len(vectors) // 2
    assert about["index_sha256"] == artifacts.file_sha256(root / artifacts.INDEX.path)
    assert Searchable.from_folder(root / "data/export", weights_sha256=about["weights_sha256"]).search(vectors, 1)
    assert not capsys.readouterr().out
    before = (root / artifacts.INDEX.path).read_bytes()
    write_index(asked, vectors, "euclidean", root)
    assert (root / artifacts.INDEX.path).read_bytes() == before


@pytest.mark.parametrize(("kind", "taken"), [("auto", "flat"), ("ivf", "ivf")])
def test_an_index_that_misses_too_much_is_told_of_and_auto_searches_exactly(
    kind: str, taken: str, evaluated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = shown(evaluated, tmp_path)
    noise = np.random.default_rng(0).normal(size=(2000, 32)).astype(np.float32)
    write_index(index_params(root, kind=kind, ivf_from=1000, recall=1.0), noise, "euclidean", root)
    said, about = capsys.readouterr().out, artifacts.ABOUT_INDEX.read(root)
    assert "ivf index: recall@10 " in said
    assert "short of export.index.recall 100.00%" in said
    assert ("searched exactly" in said) == (taken == "flat")
    assert about["kind"] == taken


@pytest.mark.parametrize("batch", [1, 2, 3, 64])
def test_onnx_runtime_gives_the_same_embeddings(
    evaluated: Path, media: np.ndarray[Any, Any], vectors: np.ndarray[Any, Any], batch: int
) -> None:
    session = onnxruntime.InferenceSession(evaluated / artifacts.PORTABLE.path, providers=["CPUExecutionProvider"])
    (found,) = session.run(["embeddings"], {"samples": media[:batch]})
    np.testing.assert_allclose(found, vectors[:batch], atol=portable.TOLERANCE)


def test_the_onnx_file_is_whole_and_names_what_goes_in_and_out(evaluated: Path) -> None:
    model = onnx.load(evaluated / artifacts.PORTABLE.path)
    onnx.checker.check_model(model, full_check=True)
    (given,), (out,) = model.graph.input, model.graph.output
    assert (given.name, out.name) == ("samples", "embeddings")
    assert given.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert given.type.tensor_type.shape.dim[0].dim_param


def test_each_onnx_encoder_tells_what_it_loses_on_the_test_pairs(evaluated: Path) -> None:
    told = artifacts.ABOUT_PORTABLE.read(evaluated)
    assert (told["split"], told["trials"]) == ("test", len(artifacts.PAIRS["test"].read(evaluated)))
    assert set(told["encoders"]) == {"fp32", "fp16", "int8"}
    whole = told["encoders"]["fp32"]
    assert whole["eer"] == pytest.approx(artifacts.METRICS.read(evaluated)["verification"]["eer"], abs=1e-6)
    assert whole["largest_difference"] <= portable.TOLERANCE
    for name, file in artifacts.VARIANTS.items():
        assert told["encoders"][name]["bytes"] == (evaluated / file.path).stat().st_size
        assert told["encoders"][name]["eer"] == pytest.approx(whole["eer"], abs=0.05)


def test_variants_that_cannot_be_had_or_were_not_asked_for_are_not_there(
    fresh: Fresh, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: Any) -> Any:
        raise RuntimeError("no kernel for Sort")

    root = fresh()
    monkeypatch.setitem(variants.VARIANTS, "int8", refuse)
    export.run(params(root, "export", onnx={"variants": ["int8"], "trials": 30}), root)
    told = artifacts.ABOUT_PORTABLE.read(root)
    assert told["encoders"].keys() == {"fp32", "int8"}
    assert told["encoders"]["int8"] == {"refused": "int8: no kernel for Sort"}
    assert told["trials"] == 30
    assert "export: encoder.int8.onnx: there is none: int8: no kernel for Sort" in capsys.readouterr().out
    assert not any((root / file.path).exists() for file in artifacts.VARIANTS.values())


def test_again_gives_the_same_bytes_and_no_place(fresh: Fresh) -> None:
    root = fresh()
    before = {name: (root / name).read_bytes() for name in OUTPUTS}
    export.run(params(root, "export"), root)
    assert {name: (root / name).read_bytes() for name in OUTPUTS} == before
    assert not any(str(root.parents[2]).encode() in content for content in before.values())


def test_a_model_that_was_tampered_with_is_not_exported(fresh: Fresh) -> None:
    root = fresh()
    path = root / artifacts.WEIGHTS.path
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    with pytest.raises(ValueError, match=r"encoder\.safetensors: not the weights that model\.json names"):
        export.run(params(root, "export"), root)

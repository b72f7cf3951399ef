from __future__ import annotations

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
from likewise.delivery import portable
from likewise.delivery.index import search
from likewise.delivery.model import load_trained
from likewise.stages import export
from tests.small import Fresh, params

OUTPUTS = (artifacts.EMBEDDINGS.path, artifacts.INDEX.path, artifacts.PORTABLE.path)


@pytest.fixture(scope="module")
def media(evaluated: Path) -> np.ndarray[Any, Any]:
    return np.array(artifacts.read_media(evaluated)[0])


@pytest.fixture(scope="module")
def vectors(evaluated: Path) -> np.ndarray[Any, Any]:
    return np.stack(list(artifacts.EMBEDDINGS.read(evaluated)["vector"]))


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

"""The same bytes give the same embedding, whichever way they go: training, evaluation, files, pyfunc, server, ONNX."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from mlflow.pyfunc import scoring_server
from safetensors.torch import save_file

import likewise
from likewise import artifacts
from likewise.data import kinds
from likewise.data.batches import Media
from likewise.data.kinds import Preprocessing
from likewise.delivery import model as delivery
from likewise.delivery import portable
from likewise.delivery.signature import input_example, signature_of
from likewise.evaluation.calibration import calibrate
from likewise.evaluation.thresholds import choose_threshold
from likewise.learning import encoders
from likewise.learning.embedding import embed
from likewise.stages import evaluate
from tests.data import recordings
from tests.data.pictures import encoded, noise

Array = np.ndarray[Any, Any]
COUNT = 6


def picture(number: int) -> bytes:
    return encoded(noise(number, height=20 + number, width=17, channels=3), "JPEG" if number % 2 else "PNG")


def sound(number: int) -> bytes:
    tone = recordings.tone(300.0 + 80 * number, rate=16000, seconds=0.5) + recordings.hiss(number, rate=16000)
    return recordings.encoded(tone.clip(-1, 1), "FLAC" if number % 2 else "WAV", rate=16000)


def sequence(number: int) -> bytes:
    points = np.cumsum(np.random.default_rng(number).normal(size=(20 + number, 2)), axis=0)
    return ("x,y\n" + "\n".join(f"{x:.4f},{y:.4f}" for x, y in points)).encode()


def text(number: int) -> bytes:
    return f"Número {number}:\r\n {'word ' * number}café".encode()


KINDS: dict[str, tuple[Callable[[int], bytes], dict[str, Any], str]] = {
    "image": (picture, {"height": 12, "width": 12, "channels": 1}, "conv"),
    "audio": (sound, {"rate": 8000, "seconds": 0.5, "trim": 40.0}, "tdnn"),
    "sequence": (sequence, {"length": 16, "channels": 2, "differences": True}, "tdnn"),
    "text": (text, {"length": 24}, "bytes"),
}


def write_project(root: Path, preprocessing: Preprocessing, backbone: str, contents: list[bytes]) -> None:
    """Write what a trained and evaluated project of these samples has; its encoder is as it was made."""
    rows = np.concatenate([preprocessing.rows(content) for content in contents])
    assert len(rows) == len(contents)
    frame = pd.DataFrame({"id": [f"{n}.bin" for n in range(len(contents))]}, dtype="str")
    nothing = pd.Series([None] * len(frame), dtype="str")
    artifacts.SAMPLES.write(
        frame.assign(
            **{"class": "a", "split": "val", "hash": [sha256(content).hexdigest() for content in contents]},
            group=nothing,
            path=frame["id"],
            forges=nothing,
        ).astype({"class": "str", "split": "str", "hash": "str"}),
        root,
    )
    with artifacts.MEDIA.writing(root) as path, path.open("wb") as stream:
        np.save(stream, rows)
    artifacts.write_offsets(np.arange(len(rows) + 1), root)
    encoder = encoders.build(backbone, preprocessing.shape, 8, seed=3, width=8)
    with artifacts.WEIGHTS.writing(root) as path:
        save_file(encoder.state_dict(), path)
    description = {
        "format": delivery.FORMAT,
        "preprocessing": preprocessing.describe(),
        "encoder": encoder.describe(),
        "distance": "euclidean",
        "weights_sha256": artifacts.file_sha256(root / artifacts.WEIGHTS.path),
    }
    artifacts.MODEL.write(description, root)
    artifacts.TRAIN.write(
        {"train_key": "k", "params": {"threads": 1}, "epochs": 1, "best_epoch": 1, "best_val_eer": 0.5}, root
    )
    trials = [-0.1, -0.2, -0.6, -0.5, -0.9, -1.1], [1, 1, 0, 1, 0, 0]
    chosen = choose_threshold(*trials, distance="euclidean", split="val").to_dict()
    fitted = calibrate(*trials, distance="euclidean", split="val").to_dict()
    artifacts.CALIBRATION.write({"distance": "euclidean", "threshold": chosen, "probability": fitted}, root)


def delivered(root: Path) -> Path:
    folder = root / "delivered"
    folder.mkdir()
    for path in artifacts.DELIVERED:
        (folder / Path(path).name).write_bytes((root / path).read_bytes())
    return folder


def pyfunc(root: Path, preprocessing: Preprocessing) -> Any:
    """The model as MLflow saves and loads it."""
    mlflow.pyfunc.save_model(
        path=str(root / "version"),
        python_model=str(Path(delivery.__file__).with_name("pyfunc.py")),
        artifacts={"model": str(root / "delivered")},
        signature=signature_of(8),
        input_example=input_example(preprocessing),
        pip_requirements=["mlflow"],
    )
    return mlflow.pyfunc.load_model(str(root / "version"))


def served(loaded: Any, contents: list[bytes]) -> Array:
    """What the scoring server answers to the same bytes in base64, as JSON."""
    rows = [{"sample": base64.b64encode(content).decode("ascii")} for content in contents]
    answer = scoring_server.invocations(  # type: ignore[no-untyped-call]
        json.dumps({"dataframe_records": rows}), "application/json", loaded, loaded.metadata.get_input_schema()
    )
    return np.array(json.loads(answer.response)["predictions"])


@pytest.mark.parametrize("kind", KINDS)
def test_every_way_gives_the_same_embedding(kind: str, tmp_path: Path) -> None:
    make, options, backbone = KINDS[kind]
    preprocessing, contents = kinds.build(kind, **options), [make(number) for number in range(COUNT)]
    write_project(tmp_path, preprocessing, backbone, contents)
    encoder, _ = delivery.load_trained(tmp_path)
    media = Media(*artifacts.read_media(tmp_path), device=torch.device("cpu"))
    trained = embed(encoder, media, np.arange(COUNT)).numpy()
    assert np.ptp(trained, axis=0).max() > 1e-2

    model = likewise.load(delivered(tmp_path))
    for number, content in enumerate(contents):
        (tmp_path / f"{number}.bin").write_bytes(content)
    files = [tmp_path / f"{number}.bin" for number in range(COUNT)]
    loaded = pyfunc(tmp_path, preprocessing)
    onnx = onnxruntime.InferenceSession(
        portable.export(encoder, np.array(artifacts.read_media(tmp_path)[0])), providers=["CPUExecutionProvider"]
    )
    (exported,) = onnx.run(None, {"samples": np.concatenate([preprocessing.rows(content) for content in contents])})
    ways = {
        "evaluation": evaluate.embed_samples(tmp_path).embeddings,
        "files": model.embed(files),
        "bytes": model.embed(contents),
        "one at a time": np.concatenate([model.embed([content]) for content in contents]),
        "stored arrays": model.embed(np.array(artifacts.read_media(tmp_path)[0])),
        "a gallery": model.gallery_of([("a", content) for content in contents]).embeddings,
        "pyfunc": loaded.predict(pd.DataFrame({"sample": contents})),
        "the scoring server": served(loaded, contents),
        "ONNX": exported,
    }
    for way, found in ways.items():
        np.testing.assert_allclose(found, trained, rtol=0, atol=1e-5, err_msg=way)
    apart = [np.linalg.norm(trained[0] - trained[n]) for n in range(1, COUNT)]
    compared = [model.compare(files[0], files[n]).distance for n in range(1, COUNT)]
    np.testing.assert_allclose(compared, apart, rtol=0, atol=1e-5)

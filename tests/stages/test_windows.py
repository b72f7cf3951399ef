"""A sound of several windows is one sample, with one embedding, wherever it is embedded."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch

from likewise import artifacts, distances
from likewise.delivery import registry
from likewise.delivery.model import Model, load_trained
from likewise.evaluation.verification import roc_from_trials
from likewise.learning.feeds import rows_of
from likewise.stages import evaluate, export, ingest, pairs, train, triplets
from tests.data import recordings
from tests.data.pictures import put
from tests.small import RULE, make, params, set_apart

SOUND = {
    "rate": 8000,
    "seconds": 0.25,
    "overlap": 0.5,
    "trim": None,
    "level": None,
    "mels": 16,
    "frame_ms": 25.0,
    "hop_ms": 10.0,
    "lowest": 20.0,
    "highest": None,
    "min_seconds": 0.1,
    "max_seconds": 60.0,
    "min_rate": 4000,
}
CLASSES, EACH = 6, 18
LEARNT = {"train": {"loss": "binary_l1", "distance": "manhattan", "margin": None, "mining": None}}
"""The loss that gives the encoder a scale: embeddings then have length 1 before it only."""


def recording(label: int, take: int) -> recordings.Samples:
    """A tone under noise, of one window to nine; each second differs from the one before."""
    seconds = 0.2 + 0.13 * (take % 9)
    rising = np.linspace(0.2, 1.0, round(8000 * seconds))
    return recordings.tone(250.0 + 90 * label, seconds=seconds) * rising + recordings.hiss(
        100 * label + take, seconds=seconds
    )


def built(root: Path, empty_store: Path, **changes: dict[str, Any]) -> Path:
    """Make a project of sounds, from their files to the exported model."""
    make(root, data=False)
    shutil.copy2(empty_store, root)
    for label in range(CLASSES):
        for take in range(EACH):
            put(root / "raw" / f"k{label}" / f"{take:02}.wav", recordings.encoded(recording(label, take)))
    checks = params(root, "ingest").checks.model_dump() | {"near_duplicates": "off"}
    source = {"source": "folder", "path": "raw", "kind": "audio", "image": None, "audio": SOUND, "checks": checks}
    ingest.run(params(root, "ingest", **source), root)
    pairs.run(params(root, "pairs", train=100, val=16, test=60), root)
    augment = {"image": None, "audio": None, "sequence": None, "text": None}
    options = {"encoder": "tdnn", "encoder_options": {"width": 8}, "augment": augment}
    train.run(params(root, "train", **options, **changes.get("train", {})), root)
    evaluate.run(params(root, "evaluate"), root)
    export.run(params(root, "export"), root)
    return root


@pytest.fixture(scope="module", params=["triplet", "binary_l1"])
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp(str(request.param))
    with set_apart(folder / "elsewhere"):
        yield built(folder / "project", empty_store, **(LEARNT if request.param == "binary_l1" else {}))


def by_hand(root: Path, windows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """One embedding a sample of the embeddings of all rows: their mean, at length 1 before the encoder's scale."""
    _, offsets = artifacts.read_media(root)
    scale = load_trained(root)[0].scale.double().numpy()
    means = np.array([windows[a:b].astype(np.float64).mean(axis=0) for a, b in pairwise(offsets)])
    return np.asarray(means / np.linalg.norm(means / scale, axis=1, keepdims=True))


def test_there_are_sounds_of_one_window_and_of_several(root: Path) -> None:
    samples, (media, offsets) = artifacts.SAMPLES.read(root), artifacts.read_media(root)
    assert len(samples) == CLASSES * EACH
    assert {1, 2, 9} <= set(np.diff(offsets))
    summary = artifacts.SUMMARY.read(root)
    assert (summary["kept"], summary["rows"]) == (len(samples), len(media))


def test_every_way_to_an_embedding_gives_the_same(root: Path) -> None:
    samples, (media, _) = artifacts.SAMPLES.read(root), artifacts.read_media(root)
    exported = artifacts.EMBEDDINGS.read(root)
    assert exported["id"].tolist() == samples["id"].tolist()
    vectors = np.stack(list(exported["vector"]))
    with torch.inference_mode():
        windows = load_trained(root)[0](torch.from_numpy(np.array(media))).numpy()
    session = onnxruntime.InferenceSession(root / artifacts.PORTABLE.path, providers=["CPUExecutionProvider"])
    (portable,) = session.run(["embeddings"], {"samples": np.array(media)})
    unseen = evaluate.embed_samples(root)
    model, files = Model.from_folder(delivered(root)), [root / "raw" / path for path in samples["path"]]
    content = pd.DataFrame({"sample": [file.read_bytes() for file in files]})
    found = {
        "the encoder": by_hand(root, windows),
        "ONNX": by_hand(root, portable),
        "Model.embed": model.embed(files),
        "one at a time": np.concatenate([model.embed([file]) for file in files]),
        "pyfunc": pyfunc(root).predict(content),
    }
    # binary_l1 scales embeddings; their sizes say what a millionth is.
    size = max(1.0, float(np.abs(vectors).max()))
    for name, embeddings in found.items():
        np.testing.assert_allclose(vectors, embeddings, rtol=0, atol=1e-6 * size, err_msg=name)
    np.testing.assert_allclose(vectors[unseen.frame["row"]], unseen.embeddings, rtol=0, atol=1e-6 * size)
    # A test that would also pass with one window a sound would show nothing.
    first = windows[artifacts.read_media(root)[1][:-1]]
    assert np.abs(first - vectors).max() > 1e-3 * size


def delivered(root: Path) -> Path:
    folder = root / "delivered"
    folder.mkdir(exist_ok=True)
    for name in artifacts.DELIVERED:
        shutil.copy2(root / name, folder)
    return folder


def pyfunc(root: Path) -> Any:
    """Return the registered version, as MLflow loads it."""
    version = registry.register(root, name="sounds", rule=RULE)
    mlflow.set_tracking_uri(f"sqlite:///{root / 'mlflow.db'}")
    return mlflow.pyfunc.load_model(f"models:/sounds/{version.version}")


def test_trials_are_between_files_and_scored_by_their_embeddings(root: Path) -> None:
    """As the val EER in training and the figures of evaluate have them."""
    exported = artifacts.EMBEDDINGS.read(root)
    vectors, ids = torch.from_numpy(np.stack(list(exported["vector"]))), pd.Index(exported["id"])
    measure = distances.build(artifacts.MODEL.read(root)["distance"])
    eers = {}
    for split in ("val", "test"):
        trials = artifacts.PAIRS[split].read(root)
        left, right = (vectors[rows_of(trials[side], ids)] for side in ("left", "right"))
        eers[split] = roc_from_trials(measure.score(measure.paired(left, right)), trials["same"].to_numpy()).eer
    assert eers["val"] == pytest.approx(artifacts.TRAIN.read(root)["best_val_eer"], abs=1e-6)
    assert eers["test"] == pytest.approx(artifacts.METRICS.read(root)["verification"]["eer"], abs=1e-6)


def test_hard_triplets_are_near_by_the_mean_of_the_windows(root: Path) -> None:
    drawn = {"strategy": "hard", "reference": "pca", "nearest": 3, "count": 60}
    triplets.run(params(root, "triplets", **drawn), root)
    samples, (media, offsets) = artifacts.SAMPLES.read(root), artifacts.read_media(root)
    flat = media.reshape(len(media), -1).astype(np.float64)
    # Principal components are linear: the mean of the rows' is that of the mean row.
    points = np.array([flat[a:b].mean(axis=0) for a, b in pairwise(offsets)])
    rows = {name: row for row, name in enumerate(samples["id"])}
    classes, train_only = samples["class"].to_numpy(), (samples["split"] == "train").to_numpy()
    near = 0
    for anchor, negative in artifacts.TRIPLETS.read(root)[["anchor", "negative"]].itertuples(index=False):
        far = np.linalg.norm(points - points[rows[anchor]], axis=1)
        others = np.flatnonzero(train_only & (classes != classes[rows[anchor]]))
        near += rows[negative] in others[far[others].argsort()[:3]]
    # 64 components leave out a little of 16 x 23 numbers.
    assert near >= 50

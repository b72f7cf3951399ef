"""A small project made by hand in this process: 8 x 8 pictures, no commands, no git; and what its tests share.

A conftest or a test module that imports a fixture from here has it; each is made once a session.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch

from likewise import artifacts
from likewise.config import Block, load_params
from likewise.data import kinds
from likewise.delivery.gate import Rule
from likewise.delivery.registry import Registered
from likewise.tuples.pairs import draw_pairs
from likewise.tuples.triplets import draw_triplets
from tests.projects import ROOT, write_params

SIDE, CLASSES = 8, 6
EACH = {"train": 8, "val": 4, "test": 6}
CHANGES = {
    "height: 28": "height: 8",
    "width: 28": "width: 8",
    "train: 20000": "train: 120",
    "val: 6000": "val: 60",
    "test: 20000": "test: 160",
    "count: 20000": "count: 100",
    "encoder: conv": "encoder: mlp",
    "embedding: 64": "embedding: 8",
    "epochs: 12": "epochs: 3",
    "batch_size: 128": "batch_size: 32",
    "classes_per_batch: 10": "classes_per_batch: 4",
    "samples_per_class: 8": "samples_per_class: 4",
    "threads: 2": "threads: 1",
    "ways: 5": "ways: 3",
    "episodes: 2000": "episodes: 50",
    "hardest: 24": "hardest: 3",
}
"""What makes the default params.yaml fit."""

Fresh = Callable[[], Path]
RULE = Rule(metric="eer", margin=0.0, confidence=0.95, slice_limit=0.02, seed=0)


def make(root: Path, *, data: bool = True) -> Path:
    """Make the project's own files in `root`, and its data unless it is to have none."""
    root.mkdir(parents=True, exist_ok=True)
    shutil.copy2(ROOT / "dvc.yaml", root)
    (root / "src").symlink_to(ROOT / "src", target_is_directory=True)
    write_params(root, CHANGES)
    (root / "data").mkdir()
    shutil.copy2(ROOT / "data/tasks.txt", root / "data")
    if data:
        write_samples(root)
        write_tuples(root)
    return root


def params(root: Path, stage: str, **changes: Any) -> Any:
    """Return the params of a stage, some of them changed."""
    block = _blocks((root / "params.yaml").read_text(encoding="utf-8"), root)[stage]
    return type(block).model_validate(block.model_dump() | changes)


_KNOWN: dict[str, dict[str, Block]] = {}


def _blocks(text: str, root: Path) -> dict[str, Block]:
    """Read params.yaml once for each text that it has: reading YAML takes longer than most tests."""
    if text not in _KNOWN:
        _KNOWN[text] = load_params(root)
    return _KNOWN[text]


def write_samples(root: Path) -> None:
    """Write what ingest writes: pictures of six classes under noise, and one of val that has no class."""
    names = [(split, f"k{c}") for split, count in EACH.items() for c in range(CLASSES) for _ in range(count)]
    frame = pd.DataFrame(names, columns=["split", "class"])
    draw = np.random.default_rng(0)
    means = draw.uniform(80, 170, (CLASSES, 1, SIDE, SIDE))
    numbers = frame["class"].str[1:].astype(int).to_numpy()
    pixels = np.clip(draw.normal(means[numbers], 60), 0, 255).astype(np.uint8)
    frame = frame.assign(id=[f"{c}/{i:03}.png" for i, c in enumerate(frame["class"])])
    frame = frame.assign(path=frame["id"], hash=[sha256(picture.tobytes()).hexdigest() for picture in pixels])
    frame.loc[frame.index[frame["split"] == "val"][0], "class"] = None
    nothing = pd.Series([None] * len(frame), dtype="str")
    frame = frame.astype("str").assign(group=nothing, forges=nothing)
    artifacts.SAMPLES.write(frame[artifacts.SAMPLES.types.names], root)
    with artifacts.MEDIA.writing(root) as path, path.open("wb") as stream:
        np.save(stream, pixels)
    artifacts.write_offsets(np.arange(len(frame) + 1), root)
    artifacts.QUARANTINE.write(
        pd.DataFrame({n: pd.Series(dtype="str") for n in artifacts.QUARANTINE.types.names}), root
    )
    artifacts.CLASSES.write(frame.loc[frame["split"] == "train", ["id", "class"]], root)
    splits = {split: {"samples": CLASSES * count, "classes": CLASSES} for split, count in EACH.items()}
    artifacts.SUMMARY.write(
        {
            "source": "digits",
            "kind": "image",
            "shape": [1, SIDE, SIDE],
            "preprocessing": kinds.build("image", height=SIDE, width=SIDE, channels=1).describe(),
            "found": len(frame),
            "kept": len(frame),
            "rows": len(frame),
            "left_out": {"samples": 0, "bytes": 0},
            "quarantined": {},
            "splits": splits,
            "checks": {"constant": {"mode": "warn", "count": 0, "examples": []}},
        },
        root,
    )


def write_tuples(root: Path) -> None:
    """Write the pairs and triplets of the samples."""
    samples = artifacts.SAMPLES.read(root).dropna(subset=["class"])
    for split, count in (("train", 120), ("val", 60), ("test", 160)):
        members = samples[samples["split"] == split]
        ids = members["id"].to_numpy()
        left, right, same = draw_pairs(members["class"].to_numpy(dtype=str), count, seed=0)
        frame = pd.DataFrame({"left": ids[left], "right": ids[right], "same": same.astype(np.int8)})
        artifacts.PAIRS[split].write(frame, root)
    members = samples[samples["split"] == "train"]
    ids = members["id"].to_numpy()
    rows = draw_triplets(members["class"].to_numpy(dtype=str), 100, seed=0)
    names = ("anchor", "positive", "negative")
    artifacts.TRIPLETS.write(pd.DataFrame({n: ids[r] for n, r in zip(names, rows, strict=True)}), root)


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path) -> Iterator[None]:
    """Keep the user's settings out of a test, and a test's settings out of the next."""
    with set_apart(tmp_path):
        yield


class set_apart:  # noqa: N801 - it is used as a function
    """Hold environment and threads as they were, and the cache in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = mock.patch.dict(os.environ)

    def __enter__(self) -> None:
        self._environment.start()
        for name in [name for name in os.environ if name.startswith(("MLFLOW_", "DVC_", "LIKEWISE_"))]:
            del os.environ[name]
        os.environ["XDG_CACHE_HOME"] = str(self._folder / "cache")
        self._threads = torch.get_num_threads()
        torch.set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self._threads)
        torch.set_deterministic_debug_mode("default")
        self._environment.stop()


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an MLflow store with its tables and nothing in them: making one takes seconds, copying it none."""
    path = tmp_path_factory.getbasetemp() / "empty" / "mlflow.db"
    if not path.exists():
        from likewise.delivery import tracking

        path.parent.mkdir()
        with set_apart(path.parent):
            tracking.connect(tracking.tracking_uri(path.parent)).search_experiments()
    return path


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """Return a project that is trained, evaluated and exported but not registered; not to be changed."""
    from likewise.stages import evaluate, export, train

    root = tmp_path_factory.getbasetemp() / "evaluated"
    if not root.exists():
        with set_apart(root.with_name("elsewhere")):
            make(root)
            shutil.copy2(empty_store, root)
            train.run(params(root, "train"), root)
            evaluate.run(params(root, "evaluate"), root)
            export.run(params(root, "export"), root)
            (root / "mlflow.db").unlink()
    return root


@pytest.fixture
def fresh(evaluated: Path, empty_store: Path, tmp_path: Path) -> Fresh:
    """Return a function that gives a copy of the evaluated project to change, with an empty store."""

    def copy() -> Path:
        root = tmp_path / "project"
        shutil.copytree(evaluated, root, symlinks=True)
        shutil.copy2(empty_store, root)
        return root

    return copy


@pytest.fixture(scope="session")
def registered(tmp_path_factory: pytest.TempPathFactory, evaluated: Path, empty_store: Path) -> tuple[Path, Registered]:
    """Return a project whose model is registered, and the version; not to be changed."""
    from likewise.delivery.registry import register

    root = tmp_path_factory.getbasetemp() / "registered"
    if not root.exists():
        shutil.copytree(evaluated, root, symlinks=True)
        shutil.copy2(empty_store, root)
    with set_apart(root.with_name("elsewhere")):
        return root, register(root, name="likewise", rule=RULE)

"""The recipes are what their heads say, and the scripts beside them lay the data out as they read it."""

from __future__ import annotations

import doctest
import importlib.util
import json
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from likewise import artifacts
from likewise.config import load_params
from likewise.stages import evaluate, ingest, pairs, train, triplets
from tests.data import signatures
from tests.imports import ROOT
from tests.small import empty_store, isolated

__all__ = ["empty_store", "isolated"]

RECIPES = sorted(path.stem for path in ROOT.glob("recipes/*.yaml"))
SMALL = {
    "count: 20000": "count: 60",
    "threads: 2": "threads: 1",
    "episodes: 2000": "episodes: 50",
    "hardest: 24": "hardest: 2",
}
LANGUAGES = ("ca", "fr", "it")


@pytest.mark.parametrize("name", RECIPES)
def test_make_recipe_finds_the_line_that_it_changes(name: str) -> None:
    lines = (ROOT / f"recipes/{name}.yaml").read_text(encoding="utf-8").splitlines()
    assert sum(line.startswith("  path: data/raw ") for line in lines) == 1


@pytest.mark.parametrize("name", ["sequences", "text"])
def test_examples_of_the_scripts(name: str) -> None:
    assert doctest.testmod(script(name)).failed == 0


@pytest.mark.parametrize("name", ["sequences", "text"])
def test_a_file_that_is_no_wheel_is_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / "no.whl").write_bytes(b"no")
    ended = run_script(name, tmp_path / "no.whl", tmp_path / "out")
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "no.whl: not a wheel with" in ended.stderr


def test_a_wheel_without_these_languages_is_one_line(tmp_path: Path) -> None:
    ended = run_script("text", messages_wheel(tmp_path), tmp_path / "out", "nl", "sv")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"{tmp_path / 'made.whl'}: no message is in two of the languages nl sv\n"


def test_sequences_from_the_wheel_to_the_figures(tmp_path: Path, empty_store: Path) -> None:
    laid_out = run_script("sequences", vowels_wheel(tmp_path), tmp_path / "data")
    assert laid_out.stdout.startswith("180 utterances in ")
    changes = {
        "train: 3000": "train: 200",
        "val: 400": "val: 40",
        "test: 10000": "test: 200",
        "epochs: 30": "epochs: 2",
    }
    root = run_recipe("sequences", tmp_path, SMALL | changes, store=empty_store)
    samples = artifacts.SAMPLES.read(root)
    assert samples["split"].value_counts()["test"] == 72
    assert set(samples["class"]) == {str(speaker) for speaker in range(1, 10)}
    frames = np.loadtxt(tmp_path / "data" / str(samples["id"][0]), delimiter=",")
    media, _ = artifacts.read_media(root)
    np.testing.assert_allclose(media[0][:, [0, -1]], frames[[0, -1]].T, atol=1e-6)


def test_text_from_the_wheel_to_the_figures(tmp_path: Path, empty_store: Path) -> None:
    wheel = messages_wheel(tmp_path)
    laid_out = run_script("text", wheel, tmp_path / "data", *LANGUAGES)
    assert laid_out.stdout.startswith("120 texts in ")
    texts = [path.read_text(encoding="utf-8") for path in sorted((tmp_path / "data").rglob("*.txt"))]
    assert sorted(texts) == sorted(message(number, language) for number in range(40) for language in LANGUAGES)
    changes = {"train: 20000": "train: 60", "val: 6000": "val: 10", "test: 16000": "test: 20", "epochs: 8": "epochs: 1"}
    changes |= SMALL | {"classes_per_batch: 64": "classes_per_batch: 8"}
    root = run_recipe("text", tmp_path, changes, store=empty_store)
    assert artifacts.SAMPLES.read(root).groupby("class")["split"].nunique().eq(1).all()


def test_signatures_from_made_ones_to_the_figures(tmp_path: Path, empty_store: Path) -> None:
    signatures.lay_out(tmp_path / "data", writers=24, genuine=5, forged=3)
    changes = {
        "train: 10000": "train: 100",
        "val: 2000": "val: 20",
        "test: 6000": "test: 80",
        "epochs: 12": "epochs: 1",
    }
    root = run_recipe("signatures", tmp_path, SMALL | changes, store=empty_store)
    samples = artifacts.SAMPLES.read(root)
    assert samples["forges"].notna().sum() == 72
    writers = samples["class"].fillna(samples["forges"])
    assert samples.groupby(writers)["split"].nunique().eq(1).all()
    figures = json.loads((root / artifacts.METRICS.path).read_text(encoding="utf-8"))["verification"]
    assert 0 <= figures["eer_skilled"] <= 1
    forged = set(samples["id"][samples["forges"].notna()])
    trials = artifacts.PAIRS["test"].read(root)
    assert not trials.loc[trials["same"] == 1, ["left", "right"]].isin(forged).any(axis=None)


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"recipe_{name}", ROOT / f"recipes/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_script(name: str, *words: Path | str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / f"recipes/{name}.py", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def run_recipe(name: str, folder: Path, changes: Mapping[str, str], *, store: Path) -> Path:
    """Run a recipe on `folder`/data up to the figures, some of its lines changed; each must be there."""
    root = folder / "project"
    root.mkdir()
    for file in (ROOT / "dvc.yaml", store):
        shutil.copy2(file, root)
    (root / "src").symlink_to(ROOT / "src", target_is_directory=True)
    (root / "data").mkdir()
    shutil.copy2(ROOT / "data/tasks.txt", root / "data")
    text = (ROOT / f"recipes/{name}.yaml").read_text(encoding="utf-8")
    for old, new in {"path: data/raw ": f"path: {folder / 'data'} ", **changes}.items():
        assert old in text, old
        text = text.replace(old, new, 1)
    (root / "params.yaml").write_text(text, encoding="utf-8")
    blocks: dict[str, Any] = dict(load_params(root))
    for stage in (ingest, pairs, triplets, train, evaluate):
        stage.run(blocks[stage.__name__.rpartition(".")[2]], root)
    assert json.loads((root / artifacts.METRICS.path).read_text(encoding="utf-8"))["verification"]["trials"] > 0
    return root


def vowels_wheel(folder: Path) -> Path:
    """A wheel like aeon's: 9 speakers, 12 utterances each to train on and 8 to test, 7 to 29 frames of 12 numbers."""
    draw = np.random.default_rng(0)
    with zipfile.ZipFile(folder / "aeon.whl", "w") as wheel:
        for split, each in {"TRAIN": 12, "TEST": 8}.items():
            lines = [utterance(speaker, draw) for speaker in range(1, 10) for _ in range(each)]
            text = "\n".join(["#made", "@dimensions 12", "@classLabel true 1 2 3", "@data", *lines, ""])
            wheel.writestr(f"aeon/datasets/data/JapaneseVowels/JapaneseVowels_{split}.ts", text)
    return folder / "aeon.whl"


def utterance(speaker: int, draw: np.random.Generator) -> str:
    values = speaker * np.sin(np.arange(12))[:, None] + draw.normal(size=(12, draw.integers(7, 30)))
    return ":".join([*(",".join(f"{value:.6f}" for value in channel) for channel in values), str(speaker)])


def messages_wheel(folder: Path) -> Path:
    """A wheel like a translated package's: 40 messages in three languages, one in a single one, one in another."""
    with zipfile.ZipFile(folder / "made.whl", "w") as wheel:
        for language in (*LANGUAGES, "de"):
            messages = {f"id {number}": message(number, language) for number in range(40)}
            messages |= {"": "Content-Type: text/plain; charset=UTF-8\n"}
            messages |= {"alone": "solo"} if language == "it" else {}
            wheel.writestr(f"made/locales/{language}/LC_MESSAGES/made.mo", catalog(messages))
    return folder / "made.whl"


def message(number: int, language: str) -> str:
    return f"{language} {number * 7919 % 1000:03} é {'x' * number}"


def catalog(messages: Mapping[str, str]) -> bytes:
    """Compile a catalog: GNU's .mo, the magic number, then where the ids and the translations are."""
    pairs_ = sorted((key.encode(), text.encode()) for key, text in messages.items())
    count, body, tables = len(pairs_), b"", [b"", b""]
    for side in (0, 1):
        for pair in pairs_:
            tables[side] += struct.pack("<2I", len(pair[side]), 28 + 16 * count + len(body))
            body += pair[side] + b"\0"
    return struct.pack("<7I", 0x950412DE, 0, count, 28, 28 + 8 * count, 0, 28 + 16 * count) + b"".join(tables) + body

"""The monitor flow against a real server: nothing said of too few, no drift, drift with its page, table and event."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import embed, monitor
from likewise import artifacts
from likewise.delivery import index, reference, searchable
from likewise.delivery.loading import load
from likewise.delivery.model import Model
from likewise.delivery.parts import EMBEDDED, Pile
from likewise.delivery.registry import register
from tests import small
from tests.data.pictures import encoded
from tests.delivery.untrained import write_model
from tests.prefect_server import PrefectServer, wait_until
from tests.small import RULE, empty_store, evaluated, set_apart

__all__ = ["empty_store", "evaluated"]

OLD = time.time() - 8 * 86_400


def export(root: Path, model: Model) -> None:
    """Write what `export` writes of the embeddings."""
    media, _ = artifacts.read_media(root)
    vectors = model.embed(np.array(media))
    samples = artifacts.SAMPLES.read(root)[["id", "class", "split"]]
    artifacts.EMBEDDINGS.write(samples.assign(vector=list(vectors)), root)
    made = index.build(vectors, "euclidean")
    with artifacts.INDEX.writing(root) as path:
        faiss.write_index(made, str(path))
    folder = (root / artifacts.INDEX.path).parent
    about = searchable.about(made, index.EXACT, distance="euclidean", weights=model.weights, folder=folder)
    artifacts.ABOUT_INDEX.write(about, root)


def pictures(count: int, *, seed: int) -> np.ndarray[Any, Any]:
    """Return more pictures of the project's classes (count, side, side)."""
    means = np.random.default_rng(0).uniform(80, 170, (small.CLASSES, 1, small.SIDE, small.SIDE))
    draw = np.random.default_rng(seed)
    chosen = means[draw.integers(0, small.CLASSES, count), 0]
    made: np.ndarray[Any, Any] = np.clip(draw.normal(chosen, 60), 0, 255).astype(np.uint8)
    return made


def put(folder: Path, made: np.ndarray[Any, Any]) -> None:
    folder.mkdir(parents=True)
    for number, picture in enumerate(made):
        (folder / f"{number}.png").write_bytes(encoded(picture))


@pytest.fixture
def project(tmp_path: Path, prefect_server: PrefectServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    root = small.make(tmp_path / "project")
    export(root, load(write_model(root / "model")))
    monkeypatch.chdir(root)
    with temporary_settings({PREFECT_API_URL: prefect_server.api}):
        yield root


def test_no_drift_then_drift(project: Path, prefect_server: PrefectServer) -> None:
    put(project / "data/new/a", pictures(40, seed=1))
    embed.embed(model="model")
    state = monitor.monitor(model="model", return_state=True)
    assert (state.name, str(state.message)[:50]) == (
        "Completed",
        "40 new contents in 7 days, 50 are needed: " + str(project)[:8],
    )
    put(project / "data/new/b", pictures(60, seed=2))
    embed.embed(model="model")
    state = monitor.monitor(model="model", return_state=True)
    assert (state.name, state.message) == ("Completed", "no drift")
    # What has been there for longer is not looked at again.
    for part in project.glob("data/embed/model=*/parts/*.parquet"):
        os.utime(part, (OLD, OLD))
    put(project / "data/new/c", pictures(60, seed=3) // 2)
    (project / "data/new/broken.png").write_bytes(b"no picture")
    embed.embed(model="model")
    state = monitor.monitor(model="model", return_state=True)
    assert "embeddings as a whole" in str(state.message)
    run = str(state.state_details.flow_run_id)
    shown = prefect_server.artifacts(run)
    table = json.loads(shown["drift"]["data"])
    whole = next(row for row in table if row["what"] == "embeddings as a whole")
    assert (whole["drifted"], whole["reference"]) == ("yes", "")
    assert float(whole["p, corrected"]) <= 0.01
    assert all(row.keys() == whole.keys() for row in table)
    assert "| embeddings as a whole |  |  | " in shown["drift-summary"]["data"]
    (page,) = project.glob("data/embed/model=*/drift.html")
    text = page.read_text(encoding="utf-8")
    assert "No: embeddings" in text
    assert "60 different contents" in text
    assert text.count("<svg") == 2
    assert not re.search(r"(src|href)=|<script|@import|url\(", text)

    def emitted() -> list[dict[str, Any]]:
        wanted = {"filter": {"event": {"name": ["likewise.drift"]}}}
        return [each for each in prefect_server.post("events/filter", wanted)["events"] if run in str(each["related"])]

    (event,) = wait_until(emitted, "the event is there")
    assert event["resource"]["prefect.resource.id"] == "likewise.model.likewise"
    assert "embeddings as a whole" in event["payload"]["drifted"]


def test_poor_inputs_and_the_reference_are_counted(project: Path) -> None:
    model = load(project / "model")
    gallery, before = reference.read(project, model)
    frame = artifacts.EMBEDDINGS.read(project)
    assert len(gallery) == (frame["split"] == "train").sum()
    held_out = frame[frame["split"] != "train"]
    assert before.unknown.total == len(before.scores) == len(held_out)
    away = np.stack(list(held_out["vector"]))[:, None] - gallery.embeddings[None]
    np.testing.assert_allclose(before.scores, -np.linalg.norm(away, axis=2).min(axis=1), atol=1e-5)
    assert before.unknown.count == (before.scores < model.judgement.known_from()).sum()
    assert (before.poor.count, before.poor.total) == (0, len(frame))
    put(project / "data/new", np.concatenate([pictures(5, seed=1), np.full((1, 8, 8), 7, np.uint8)]))
    for name, content in (("a.png", b"no picture"), ("b.png", b"no picture"), ("c.png", b"other")):
        (project / "data/new" / name).write_bytes(content)
    (project / "data/new/d.png").symlink_to("nowhere")
    embed.embed(model="model")
    (folder,) = project.glob("data/embed/model=*")
    new = reference.arrived(folder, gallery, model, since=0)
    # One constant, two different contents that are no pictures, and a link to nothing.
    assert (new.poor.count, new.poor.total) == (4, 9)
    assert len(new.scores) == len(Pile(folder, EMBEDDED).rows()) == 6
    assert len(reference.arrived(folder, gallery, model, since=time.time() + 60).scores) == 0


def test_another_models_embeddings_are_no_reference(project: Path) -> None:
    write_model(project / "other", width=16)
    state = monitor.monitor(model="other", return_state=True)
    assert state.is_failed()
    assert "data/export/embeddings.parquet: made with weights" in str(state.message)
    (project / "data/export/index.json").unlink()
    state = monitor.monitor(model="model", return_state=True)
    assert "data/export/index.json: missing; run `dvc repro`" in str(state.message)


def dvc(root: Path, *words: str) -> None:
    done = subprocess.run([sys.executable, "-m", "dvc", *words], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_fresh_checkout_compares_with_what_the_champion_was_made_from(
    tmp_path: Path,
    evaluated: Path,
    empty_store: Path,
    prefect_server: PrefectServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root, fresh = tmp_path / "project", tmp_path / "fresh"
    shutil.copytree(evaluated, root, symlinks=True)
    shutil.copy2(empty_store, root)
    (root / "data/raw").mkdir()
    (root / ".dvc").mkdir()
    config = f"[core]\nno_scm = true\nremote = shelf\n['remote \"shelf\"']\nurl = {tmp_path / 'shelf'}\n"
    (root / ".dvc/config").write_text(config, encoding="utf-8")
    dvc(root, "commit", "--force", "--quiet", "ingest", "pairs", "triplets", "train", "evaluate", "export")
    dvc(root, "push", "--quiet", "ingest", "export")
    (fresh / ".dvc").mkdir(parents=True)
    for name in ("dvc.yaml", "params.yaml", ".dvc/config"):
        shutil.copy2(root / name, fresh / name)
    monkeypatch.chdir(fresh)
    with set_apart(tmp_path), temporary_settings({PREFECT_API_URL: prefect_server.api}):
        register(root, name="likewise", rule=RULE)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{root / 'mlflow.db'}"
        put(fresh / "data/new", pictures(60, seed=1))
        embed.embed()
        # Another model's embeddings in the checkout are no matter; they stay.
        export(small.make(tmp_path / "other"), load(write_model(tmp_path / "other/model")))
        shutil.copytree(tmp_path / "other/data/export", fresh / "data/export")
        before = (fresh / artifacts.EMBEDDINGS.path).read_bytes()
        state = monitor.monitor(return_state=True)
        assert (state.name, state.message) == ("Completed", "no drift")
        assert (fresh / artifacts.EMBEDDINGS.path).read_bytes() == before
        held_out = (artifacts.EMBEDDINGS.read(root)["split"] != "train").sum()
        (page,) = fresh.glob("data/embed/model=*/drift.html")
        assert f"60 different contents of the last 7 days against {held_out} held-out samples" in page.read_text()
        shutil.rmtree(fresh / ".dvc/cache")
        shutil.rmtree(tmp_path / "shelf")
        state = monitor.monitor(return_state=True)
    assert state.is_failed()
    said = str(state.message)
    assert "models:/likewise@champion: what new samples are compared with is not here: neither DVC's cache nor" in said
    assert "`dvc push` where it was made" in said
    assert said.count("\n") == 0

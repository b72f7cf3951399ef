from __future__ import annotations

import inspect
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run
from pydantic import ValidationError
from rich.console import Console
from safetensors.torch import load_file

from likewise import artifacts, distances
from likewise.config import cache_folder, read_yaml
from likewise.delivery import registry, tracking
from likewise.delivery.model import Model, load_trained
from likewise.learning import encoders, feeds, initialisers, losses, miners, optimisation, training
from likewise.learning.checkpoint import Checkpoints
from likewise.learning.member_losses import MemberLosses
from likewise.learning.memory import CrossBatchMemory
from likewise.learning.training import Epoch, Step
from likewise.stages import progress, resume, train, train_assembly, train_params
from tests.projects import ROOT
from tests.small import RULE, make, params

OUTPUTS = tuple(
    each.path for each in (artifacts.WEIGHTS, artifacts.MODEL, artifacts.HISTORY, artifacts.LAYERS, artifacts.TRAIN)
)
FEEDS: dict[str, dict[str, Any]] = {
    "classes": {},
    "pairs": {"feed": "pairs", "loss": "contrastive", "margin": None, "mining": None},
    "triplets": {"feed": "triplets", "mining": None},
}


@pytest.fixture
def project(tmp_path: Path, empty_store: Path) -> Path:
    root = make(tmp_path / "project")
    shutil.copy2(empty_store, root)
    return root


def output(root: Path) -> dict[str, bytes]:
    return {name: (root / name).read_bytes() for name in OUTPUTS}


def runs(root: Path) -> list[Run]:
    client = MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    return list(client.search_runs([e.experiment_id for e in client.search_experiments()]))


def steps(root: Path, run: Run) -> list[int]:
    history = MlflowClient(f"sqlite:///{root / 'mlflow.db'}").get_metric_history(run.info.run_id, "loss")
    return sorted(metric.step for metric in history)


def cut_short(monkeypatch: pytest.MonkeyPatch, *, after: int) -> Callable[[], None]:
    """End a training as a signal does, just before the checkpoint of epoch `after` would be written."""
    save = Checkpoints.save

    def interrupted(self: Checkpoints, state: dict[str, Any]) -> None:
        if len(state["history"]) == after:
            raise KeyboardInterrupt
        save(self, state)

    monkeypatch.setattr(Checkpoints, "save", interrupted)
    return lambda: monkeypatch.setattr(Checkpoints, "save", save)


@pytest.mark.parametrize("feed", FEEDS)
def test_every_feed_trains_and_writes_what_the_contract_says(feed: str, project: Path) -> None:
    train.run(params(project, "train", **FEEDS[feed]), project)
    history, told = artifacts.HISTORY.read(project), artifacts.TRAIN.read(project)
    assert history["epoch"].tolist() == [1, 2, 3]
    assert np.isfinite(history.to_numpy()).all()
    best = history[history["val_eer"] == history["val_eer"].min()].iloc[-1]
    assert (told["epochs"], told["best_epoch"], told["best_val_eer"]) == (3, best["epoch"], best["val_eer"])
    assert told["params"] == params(project, "train", **FEEDS[feed]).model_dump()
    encoder, distance = load_trained(project)
    assert distance == "euclidean"
    assert not encoder.training
    assert sorted(path.name for path in (project / "models/train").iterdir()) == sorted(
        Path(name).name for name in OUTPUTS
    )


def test_the_encoder_standardises_with_the_statistics_of_train_only(project: Path) -> None:
    train.run(params(project, "train", epochs=1), project)
    samples, (media, _) = artifacts.SAMPLES.read(project), artifacts.read_media(project)
    pixels = media[(samples["split"] == "train").to_numpy()]
    encoder, _ = load_trained(project)
    assert encoder.get_buffer("mean").item() == pytest.approx(pixels.mean())
    assert encoder.get_buffer("std").item() == pytest.approx(pixels.std())


@pytest.mark.parametrize("members", [1, 2])
def test_the_val_eer_is_that_of_the_delivered_encoder(members: int, project: Path) -> None:
    learnt = {"loss": "binary_l1", "distance": "manhattan", "margin": None, "mining": None}
    block = params(project, "train", members=members, **learnt)
    train.run(block, project)
    encoder, distance = load_trained(project)
    samples, (media, _) = artifacts.SAMPLES.read(project), artifacts.read_media(project)
    pairs = artifacts.PAIRS["val"].read(project)
    rows = samples.reset_index().set_index("id")["index"]
    with torch.no_grad():
        left, right = (encoder(torch.from_numpy(media[rows[pairs[side]]])) for side in ("left", "right"))
    scores = -distances.build(distance).paired(left, right).numpy()
    found = eer_by_hand(scores, pairs["same"].to_numpy())
    assert found == pytest.approx(artifacts.TRAIN.read(project)["best_val_eer"], abs=1e-4)
    assert encoder.scale.shape == (8 * members,)
    assert len(set(encoder.scale.tolist())) > members


def eer_by_hand(scores: np.ndarray[Any, Any], same: np.ndarray[Any, Any]) -> float:
    """FAR = FRR on the convex hull of the ROC, as the least of the greatest weighted errors."""
    thresholds = np.append(np.unique(scores), np.inf)
    far = np.array([(scores[same == 0] >= t).mean() for t in thresholds])
    frr = np.array([(scores[same == 1] < t).mean() for t in thresholds])
    return max(float((w * far + (1 - w) * frr).min()) for w in np.linspace(0, 1, 20_001))


def test_same_bytes_in_another_folder(project: Path, tmp_path: Path) -> None:
    other = tmp_path / "deeper" / "other"
    other.parent.mkdir()
    shutil.copytree(project, other, symlinks=True)
    for root in (project, other):
        train.run(params(root, "train"), root)
    assert output(project) == output(other)


def test_an_interrupted_training_goes_on_in_the_same_run_to_the_same_bytes(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(project, undisturbed, symlinks=True)
    block = params(project, "train", epochs=4)
    train.run(block, undisturbed)
    whole = cut_short(monkeypatch, after=3)
    with pytest.raises(KeyboardInterrupt):
        train.run(block, project)
    assert not (project / artifacts.WEIGHTS.path).exists()
    (run,) = runs(project)
    assert run.info.status == "KILLED"
    assert steps(project, run) == [1, 2]
    whole()
    train.run(block, project)
    assert "train: goes on after epoch 2" in capsys.readouterr().out
    assert output(project) == output(undisturbed)
    (again,) = runs(project)
    assert again.info.run_id == run.info.run_id
    assert again.info.status == "FINISHED"
    assert again.data.tags["likewise.resumed"] == "true"
    assert steps(project, again) == [1, 2, 3, 4]
    assert not list(Path(resume.checkpoint_url()).rglob("*.pt"))


def test_a_training_that_is_done_again_gets_a_run_of_its_own(project: Path) -> None:
    for _ in range(2):
        train.run(params(project, "train", epochs=1), project)
    assert [run.info.status for run in runs(project)] == ["FINISHED"] * 2
    assert len({run.data.tags[tracking.KEY_TAG] for run in runs(project)}) == 1


def test_a_training_that_diverges_says_what_to_try_and_writes_no_weights(project: Path) -> None:
    block = params(project, "train", optimizer="sgd", learning_rate=1e30, normalise=False, clip=0.0)
    with pytest.raises(ValueError, match=r"learning.rate"):
        train.run(block, project)
    assert not (project / "models").exists()
    assert [run.info.status for run in runs(project)] == ["FAILED"]
    for path in Path(resume.checkpoint_url()).rglob("*.pt"):
        weights = torch.load(path, weights_only=True)["weights"]
        assert all(torch.isfinite(value).all() for value in weights.values())


def test_a_server_that_is_down_costs_seconds_and_a_line_and_register_fills_it_in(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    start = time.monotonic()
    train.run(params(project, "train"), project)
    assert time.monotonic() - start < 10
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert told[0].startswith("train: MLflow cannot be reached (API request to http://127.0.0.1:9")
    assert "training goes on" in told[0]
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    finish(project)
    for _ in range(2):
        done = registry.register(project, name="likewise", rule=RULE)
        (run,) = runs(project)
        assert run.info.run_id == done.run_id
        assert run.data.tags["likewise.rebuilt"] == "true"
        assert steps(project, run) == [1, 2, 3]
        assert run.data.metrics["loss"] == artifacts.HISTORY.read(project)["loss"].iloc[-1]


def finish(root: Path) -> None:
    from likewise.stages import evaluate, export

    evaluate.run(params(root, "evaluate"), root)
    export.run(params(root, "export"), root)


@pytest.mark.parametrize(
    "uri",
    [
        "sqlite:///{folder}/junk.db",
        "postgresql://nobody@127.0.0.1:9/none",
        "mysql://a.driver@that.is/missing",
        "what://ever",
    ],
)
def test_a_store_that_is_broken_does_not_stop_training(
    uri: str, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "junk.db").write_text("this is no database" * 100, encoding="utf-8")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(folder=project))
    train.run(params(project, "train", epochs=1), project)
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert told[0].startswith("train: MLflow cannot be reached (")
    assert (project / artifacts.WEIGHTS.path).exists()


def test_two_trainings_of_the_same_thing_at_once_are_refused(project: Path) -> None:
    block = params(project, "train")
    key = resume.train_key(block.model_dump(), project / artifacts.CLASSES.path, project)
    other = Checkpoints(resume.checkpoint_url(), key, lock_folder=cache_folder() / "locks")
    with other.locked(), pytest.raises(TimeoutError, match="another process is training the same thing"):
        train.run(block, project)


def test_missing_inputs_are_said(tmp_path: Path) -> None:
    root = make(tmp_path / "project", data=False)
    with pytest.raises(artifacts.ArtifactError, match=r"classes/train\.parquet: missing; run `dvc repro`"):
        train.run(params(root, "train"), root)


def stage(root: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(root / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "likewise.stages.train"]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


def set_params(root: Path, *changes: tuple[str, str]) -> None:
    text = (root / "params.yaml").read_text(encoding="utf-8")
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    (root / "params.yaml").write_text(text, encoding="utf-8")


def test_two_processes_train_what_one_does(project: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    shutil.copytree(project, alone, symlinks=True)
    train.run(params(alone, "train"), alone)
    set_params(project, ("processes: 1 ", "processes: 2 "))
    done = stage(project)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line[:18] for line in done.stdout.splitlines()[:-1]] == [f"train: epoch   {e}/3" for e in (1, 2, 3)]
    ours, theirs = artifacts.HISTORY.read(project), artifacts.HISTORY.read(alone)
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-3, atol=1e-4)
    (run,) = runs(project)
    assert (run.info.status, run.data.params["train.processes"]) == ("FINISHED", "2")
    shared, plain = (load_file(root / artifacts.WEIGHTS.path) for root in (project, alone))
    for name, value in plain.items():
        torch.testing.assert_close(shared[name], value, rtol=1e-3, atol=1e-4)


def test_another_number_of_processes_than_the_params_say_is_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(
        ValueError, match=r"torchrun started 4 processes, but train\.processes is 1; make them the same"
    ):
        train.run(params(project, "train"), project)


def test_compiling_without_a_compiler_is_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(
        ValueError, match="compile: PyTorch needs a C\\+\\+ compiler, and there is no no-such-compiler here"
    ):
        train.run(params(project, "train", compile=True), project)


def test_what_the_params_say_reaches_the_training(project: Path) -> None:
    block = params(
        project, "train", encoder="conv", encoder_options={"width": 8}, memory=64, ema=0.5, warmup=1.0, accumulate=2
    )
    train.run(block, project)
    encoder, _ = load_trained(project)
    assert encoder.describe()["options"]["width"] == 8
    fit = train_assembly.set_up(block, project)
    assert isinstance(fit.loss, CrossBatchMemory)
    assert (fit.loss.size, fit._settings.ema, fit._settings.warmup, fit._settings.accumulate) == (64, 0.5, 1.0, 2)


def test_members_have_weights_losses_and_memories_of_their_own(project: Path) -> None:
    drawn = {"loss": "arcface", "distance": "cosine", "margin": None, "mining": None}
    fit = train_assembly.set_up(params(project, "train", members=3, **drawn), project)
    assert isinstance(fit.loss, MemberLosses)
    proxies = [tuple(weight.flatten().tolist()) for weight in fit.loss.parameters()]
    assert len(set(proxies)) == 3
    fit = train_assembly.set_up(params(project, "train", members=2, memory=64), project)
    assert isinstance(fit.loss, MemberLosses)
    assert [each.size for each in fit.loss.losses if isinstance(each, CrossBatchMemory)] == [64, 64]


def test_members_go_from_training_to_a_registered_model(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    block = params(project, "train", members=2, encoder_options={"width": 12}, whiten=1)
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(project, undisturbed, symlinks=True)
    train.run(block, undisturbed)
    whole = cut_short(monkeypatch, after=2)
    with pytest.raises(KeyboardInterrupt):
        train.run(block, project)
    whole()
    train.run(block, project)
    assert "train: kept epoch 3, its head fitted anew (whiten: 1): val EER" in capsys.readouterr().out
    assert output(project) == output(undisturbed)
    finish(project)
    registry.register(project, name="likewise", rule=RULE)
    (description,) = project.glob("mlartifacts/**/MLmodel")
    (out,) = json.loads(read_yaml(description)["signature"]["outputs"])
    assert out["tensor-spec"]["shape"] == [-1, 24]
    found = Model.from_folder(description.parent / "artifacts/model").embed(
        np.array(artifacts.read_media(project)[0][:3])
    )
    assert found.shape == (3, 24)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)


def test_features_too_many_to_whiten_are_refused_before_the_training(project: Path) -> None:
    block = params(project, "train", members=3, encoder_options={"width": 4096}, whiten=1)
    with pytest.raises(ValueError, match=r"^train\.whiten: 3 x 4,096 features make .* 8,192 are the most: lower train"):
        train_assembly.set_up(block, project)


def key_of(root: Path, **changes: Any) -> str:
    block = params(root, "train", **changes)
    return resume.train_key(block.model_dump(), root / train_assembly.FEEDS[block.feed].path, root)


def test_the_key_is_of_params_code_and_inputs_and_not_of_the_folder(tmp_path: Path) -> None:
    root = make(tmp_path / "project")
    key = key_of(root)
    assert key == key_of(root)
    shutil.copytree(root, tmp_path / "b" / "other", symlinks=True)
    assert key_of(tmp_path / "b" / "other") == key
    changed = [key_of(root, seed=1), key_of(root, threads=2), key_of(root, **FEEDS["pairs"])]
    for table in (artifacts.PAIRS["val"], artifacts.CLASSES, artifacts.SAMPLES):
        frame = table.read(root)
        table.write(frame.iloc[:-1], root)
        changed.append(key_of(root))
        table.write(frame, root)
    assert key_of(root) == key
    (root / "src").unlink()
    shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__"))
    assert key_of(root) == key
    code = root / "src/likewise/learning/training.py"
    code.write_text(code.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    changed.append(key_of(root))
    assert len({key, *changed}) == 1 + len(changed)


@pytest.mark.parametrize("feed", ["classes", "triplets"])
def test_a_feed_without_classes_is_refused_with_its_key(feed: str, tmp_path: Path) -> None:
    root = make(tmp_path / "project")
    for table in (artifacts.CLASSES, artifacts.TRIPLETS):
        table.write(table.read(root).iloc[:0], root)
    with pytest.raises(
        ValueError, match=rf"^train\.feed: {feed} needs classes, and no sample of train has one: set feed"
    ):
        train_assembly.set_up(params(root, "train", **FEEDS[feed]), root)


def test_pairs_without_classes_train(tmp_path: Path) -> None:
    root = make(tmp_path / "project")
    for table in (artifacts.CLASSES, artifacts.TRIPLETS):
        table.write(table.read(root).iloc[:0], root)
    train.run(params(root, "train", **FEEDS["pairs"]), root)
    with_classes = (root / artifacts.WEIGHTS.path).read_bytes()
    artifacts.SAMPLES.write(artifacts.SAMPLES.read(root).assign(**{"class": None}), root)
    train.run(params(root, "train", **FEEDS["pairs"]), root)
    assert (root / artifacts.WEIGHTS.path).read_bytes() == with_classes


def test_what_does_not_feed_the_network_leaves_the_key(tmp_path: Path) -> None:
    root = make(tmp_path / "project")
    key = key_of(root)
    for table in (artifacts.PAIRS["test"], artifacts.TRIPLETS):
        table.write(table.read(root).iloc[:-1], root)
    code = (root / "src").resolve()
    (root / "src").unlink()
    shutil.copytree(code, root / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "src/likewise/cli.py").write_text("", encoding="utf-8")
    assert key_of(root) == key


def test_checkpoints_go_where_the_variable_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert resume.checkpoint_url() == str(tmp_path / "cache" / "likewise" / "checkpoints")
    monkeypatch.setenv("LIKEWISE_CHECKPOINTS", "memory://bucket/x")
    assert resume.checkpoint_url() == "memory://bucket/x"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "likewise"


@pytest.mark.parametrize("name", losses.LOSSES)
def test_the_rules_are_those_of_the_losses(name: str) -> None:
    kind, rules = losses.LOSSES[name], train_params.LOSSES[name]
    taken = inspect.signature(kind).parameters
    assert set(rules.feeds) == set(kind.feeds)
    assert set(rules.options) == {option for option in train_params.OPTIONS if option in taken}
    assert set(rules.distances) == set(kind.distance_names)
    loss = losses.build(name, classes=3, embedding=4)
    assert rules.learns == any(True for _ in loss.parameters())
    if rules.remembers:
        loss.check_against()
    else:
        with pytest.raises(ValueError, match="does not compare with past embeddings"):
            loss.check_against()


@pytest.mark.parametrize("name", encoders.ENCODERS)
def test_the_options_are_those_of_the_encoders(name: str) -> None:
    defaults = encoders._options(encoders.ENCODERS[name])
    assert train_params.ENCODERS[name] == {option: type(value) for option, value in defaults.items()}


CHOICES: dict[str, Mapping[str, Any]] = {
    "feed": feeds.COLUMNS,
    "encoder": encoders.ENCODERS,
    "initialiser": initialisers.INITIALISERS,
    "distance": distances.DISTANCES,
    "loss": losses.LOSSES,
    "mining": miners.MINERS,
    "optimizer": optimisation.OPTIMIZERS,
    "schedule": optimisation.SCHEDULES,
}


@pytest.mark.parametrize("key", CHOICES)
def test_names_in_params_are_those_of_the_code(key: str) -> None:
    annotation = train_params.Params.model_fields[key].annotation
    literal = annotation if get_origin(annotation) is Literal else get_args(annotation)[0]
    assert set(get_args(literal)) == set(CHOICES[key])


def test_every_rule_is_of_a_loss_and_every_feed_of_a_table() -> None:
    assert set(train_params.LOSSES) == set(losses.LOSSES)
    assert set(train_assembly.FEEDS) == set(feeds.COLUMNS)
    assert set(train_params.ANY_DISTANCE) == set(distances.DISTANCES)
    settings = set(training.Settings.__annotations__)
    assert settings <= set(train_params.Params.model_fields)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_every_loss_can_be_set_up_by_its_rules(name: str, tmp_path: Path) -> None:
    rules = train_params.LOSSES[name]
    values = {"margin": 0.3, "mining": "all", "temperature": 0.2, "scale": 5.0}
    given = {option: values[option] if option in rules.options else None for option in train_params.OPTIONS}
    root = make(tmp_path / "project")
    for feed in rules.feeds:
        block = params(root, "train", loss=name, feed=feed, distance=rules.distances[0], **given)
        fit = train_assembly.set_up(block, root)
        assert isinstance(next(fit.run()), Step)
        for option in rules.options:
            if option in ("margin", "mining", "temperature"):
                assert getattr(fit.loss, option) == values[option]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"loss": "arcface"}, "loss arcface does not go with distance euclidean; allowed: cosine"),
        ({"feed": "pairs"}, "loss triplet does not go with feed pairs; allowed: classes, triplets"),
        (
            {"loss": "contrastive"},
            r"loss contrastive takes no mining: set mining: null \(it takes margin\)",
        ),
        (
            {"loss": "proxy_nca", "distance": "cosine", "mining": None},
            r"loss proxy_nca takes no margin: set margin: null \(it takes none of these keys\)",
        ),
        ({"loss_learning_rate": 0.1}, "loss triplet learns nothing of its own: set loss_learning_rate: null"),
        (
            {"loss": "supcon", "distance": "cosine", "margin": None, "mining": None, "memory": 64},
            "loss supcon compares with no memory: set memory: 0, or take one of contrastive, ",
        ),
        (
            {"loss": "contrastive", "mining": None, "feed": "pairs", "memory": 64},
            "a memory goes with feed classes, not pairs: set memory: 0",
        ),
        ({"mining": "hard", "memory": 64}, "a memory goes with mining all or semihard, not hard: set memory: 0"),
        (
            {"encoder": "conv", "encoder_options": {"widht": 8}},
            r"encoder conv takes no option widht; did you mean width\? \(known: width, side, norm\)",
        ),
        (
            {"encoder": "conv", "encoder_options": {"width": "wide"}},
            "encoder_options: width is 'wide', but must be a whole number",
        ),
        ({"encoder_options": {"norm": 3}, "encoder": "conv"}, "encoder_options: norm is 3, but must be a word"),
        (
            {"encoder": "conv", "encoder_options": {"norm": "batch"}, "processes": 2},
            "batch norm would see a part of the batch only: set processes: 1, or norm: group",
        ),
        (
            {"encoder": "conv", "encoder_options": {"norm": "batch"}, "accumulate": 2},
            "batch norm would see a part of the batch only: set accumulate: 1, or norm: group",
        ),
        (
            {"members": 32, "embedding": 512},
            "32 members of embedding 512 make embeddings of 16,384 numbers, and 8,192 are the most: lower members or ",
        ),
        (
            {"whiten": 1, "feed": "triplets", "mining": None},
            "whitening goes by classes, and the feed is triplets: set whiten: 0",
        ),
        (
            {"whiten": 1, "loss": "binary_l1", "distance": "manhattan", "margin": None, "mining": None},
            "the weights that loss binary_l1 learns are of the learnt head: set whiten: 0",
        ),
        (
            {"members": 2, "distance": "cosine", "normalise": False},
            "by the cosine distance the member with the longest embeddings would decide: set normalise: true, or ",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    root = make(tmp_path / "project", data=False)
    with pytest.raises(ValidationError, match=words):
        params(root, "train", **changes)


class TestProgress:
    EPOCH = Epoch(2, 0.125, 0.25, 0.5, 0.003, 1.0, 0.2)
    STEP = Step(2, 3, 10, 64, torch.tensor(0.1), torch.tensor(0.5))

    def test_a_log_gets_a_line_an_epoch(self, capsys: pytest.CaptureFixture[str]) -> None:
        times = iter([0.0, 1.0, 2.0])
        with progress.shown(12, clock=lambda: next(times)) as show:
            show(self.STEP)
            show(self.EPOCH)
        assert capsys.readouterr().out == (
            "train: epoch   2/12  loss 0.12500  val EER 25.000%  zero-loss  50.0%  learning rate 3.00e-03  "
            "32 samples/s  0:00:20 left\n"
        )

    def test_a_long_epoch_gets_a_line_every_half_minute(self, capsys: pytest.CaptureFixture[str]) -> None:
        times = iter([0.0, 20.0, 40.0, 40.0, 60.0])
        with progress.shown(3, clock=lambda: next(times)) as show:
            for step in (3, 4, 5):
                show(replace(self.STEP, step=step))
        # Two steps of 64 in 40 s; 0.4 of an epoch is done and 1.6 are left.
        assert capsys.readouterr().out == ("train: epoch   2/3  step 4/10  loss 0.10000  3 samples/s  0:02:40 left\n")

    def test_a_collapse_is_said_with_what_to_try(self, capsys: pytest.CaptureFixture[str]) -> None:
        with progress.shown(12) as show:
            show(replace(self.EPOCH, loss=0.1995, val_eer=0.48))
        first, second = capsys.readouterr().out.splitlines()
        assert first.startswith("train: epoch   2/12")
        assert second.startswith("train: the loss stands at 0.1995, what it would be if all embeddings were alike")
        assert "try a lower train.learning_rate" in second

    def test_a_terminal_gets_a_bar_too(self) -> None:
        console = Console(force_terminal=True, width=100, highlight=False)
        with console.capture() as captured, progress.shown(12, console=console) as show:
            show(self.STEP)
            show(self.EPOCH)
        shown = captured.get()
        assert "epoch 2" in shown
        assert "13/120" in shown
        assert "train: epoch   2/12  loss 0.12500" in shown


def test_the_weights_on_disk_are_plain_numbers(evaluated: Path) -> None:
    weights = load_file(evaluated / artifacts.WEIGHTS.path)
    assert all(torch.isfinite(value).all() for value in weights.values())
    told = json.loads((evaluated / artifacts.MODEL.path).read_text(encoding="utf-8"))
    assert told["weights_sha256"] == artifacts.file_sha256(evaluated / artifacts.WEIGHTS.path)
    for name in OUTPUTS:
        assert str(evaluated).encode() not in (evaluated / name).read_bytes()

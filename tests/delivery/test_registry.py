from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from likewise import artifacts
from likewise.delivery import card, checkout, labels, provenance, registry, tracking
from likewise.delivery.loading import download
from likewise.delivery.registry import Registered, RegistryError, flatten, register
from tests.imports import modules, reached
from tests.small import RULE, Fresh

Made = tuple[Path, Registered]


def client_of(root: Path) -> MlflowClient:
    return tracking.connect(f"sqlite:///{root / 'mlflow.db'}")


def version_of(made: Made) -> ModelVersion:
    root, done = made
    return client_of(root).get_model_version(done.name, str(done.version))


def versions(root: Path, name: str = "likewise") -> list[int]:
    return sorted(int(found.version) for found in client_of(root).search_model_versions(f"name = '{name}'"))


def change_metrics(root: Path, **changes: float) -> None:
    content = artifacts.METRICS.read(root)
    content["verification"] |= changes
    artifacts.METRICS.write(content, root)


@pytest.fixture(scope="module")
def delivered(registered: Made) -> Path:
    """The folder of the version's own artifacts."""
    root, _ = registered
    return delivered_in(root)


def delivered_in(root: Path) -> Path:
    """Return the folder of the only version in a project's registry."""
    (found,) = root.glob("mlartifacts/**/MLmodel")
    return found.parent


def test_the_first_version_is_champion(registered: Made) -> None:
    root, done = registered
    assert (done.name, done.version, done.aliases) == ("likewise", 1, ("champion",))
    client = client_of(root)
    for alias in done.aliases:
        assert int(client.get_model_version_by_alias("likewise", alias).version) == 1
    assert client.get_registered_model("likewise").description == card.MODEL


def test_again_finds_the_version_and_makes_nothing_and_another_name_is_another_model(fresh: Fresh) -> None:
    root = fresh()
    first, again = register(root, name="likewise", rule=RULE), register(root, name="likewise", rule=RULE)
    assert (first.created, again.created) == (True, False)
    assert (again.version, again.run_id, again.aliases) == (first.version, first.run_id, first.aliases)
    assert versions(root) == [1]
    assert len(list((root / "mlartifacts").rglob("MLmodel"))) == 1
    other = register(root, name="Other one.2", rule=RULE)
    assert (other.version, other.created, other.aliases) == (1, True, ("champion",))
    assert versions(root) == versions(root, "Other one.2") == [1]


def test_a_model_that_was_evaluated_anew_is_the_challenger_and_the_champion_stays(fresh: Fresh) -> None:
    root = fresh()
    first = register(root, name="likewise", rule=RULE)
    change_metrics(root, accuracy=0.25)
    second = register(root, name="likewise", rule=RULE)
    assert (second.version, second.created, second.aliases) == (2, True, ("challenger",))
    assert second.run_id == first.run_id
    client = client_of(root)
    assert int(client.get_model_version_by_alias("likewise", "champion").version) == 1
    # The run shows what was measured last, be it less.
    assert client.get_run(first.run_id).data.metrics["verification.accuracy"] == 0.25
    again = register(root, name="likewise", rule=RULE)
    assert (again.version, again.created, again.aliases) == (2, False, ("challenger",))
    history = client.get_metric_history(first.run_id, "verification.accuracy")
    assert [metric.value for metric in history] == [first.metrics["verification.accuracy"], 0.25]

    # An alias that a person moved stays where it is.
    client.set_registered_model_alias("likewise", "champion", "2")
    client.set_registered_model_alias("likewise", "challenger", "1")
    again = register(root, name="likewise", rule=RULE)
    assert (again.version, again.aliases) == (2, ("champion",))
    assert int(client.get_model_version_by_alias("likewise", "challenger").version) == 1
    client.delete_registered_model_alias("likewise", "champion")
    assert register(root, name="likewise", rule=RULE).aliases == ("champion",)


def test_the_version_carries_its_card_figures_and_where_it_came_from(registered: Made) -> None:
    root, done = registered
    found = version_of(registered)
    assert str(found.description).startswith(card.render(root).rstrip())
    assert str(found.description).endswith("- Against no champion: it became champion; there was no champion.\n")
    assert found.run_id == done.run_id
    tags = found.tags
    assert tags["likewise.identity"] == registry.identity(root)
    assert tags["likewise.train_key"] == artifacts.TRAIN.read(root)["train_key"]
    assert tags["likewise.weights_sha256"] == artifacts.file_sha256(root / artifacts.WEIGHTS.path)
    assert tags["likewise.data_hash"] == artifacts.sha256(root / artifacts.SAMPLES.path)
    assert len(tags["likewise.params_hash"]) == 64
    assert tags["likewise.git_parent"] == "none"
    assert "likewise.git_commit" not in tags
    told = flatten(artifacts.METRICS.read(root))
    assert done.metrics == told
    assert tags["likewise.gate"] == "promoted"
    headlines = {tag: told[name] for tag, name in provenance.HEADLINES.items()}
    assert {tag: float(tags[tag]) for tag in headlines} == pytest.approx(headlines, rel=1e-5)
    assert {name: tags[name] for name in ("source", "kind", "encoder", "loss")} == {
        "source": "digits",
        "kind": "image",
        "encoder": "mlp",
        "loss": "triplet",
    }
    assert tags["likewise.raw_hash"] == "none"
    assert len(tags) <= 24


def test_versions_are_found_by_their_tags_and_models_by_their_figures(registered: Made) -> None:
    root, done = registered
    client = client_of(root)
    (found,) = client.search_model_versions("name = 'likewise' AND tags.loss = 'triplet'")
    (model,) = client.search_logged_models(
        [client.get_run(done.run_id).info.experiment_id], filter_string="metrics.`verification.eer` <= 1"
    )
    assert {metric.key: metric.value for metric in model.metrics or []}.items() >= done.metrics.items()
    assert found.source == f"models:/{model.model_id}"


def test_the_version_keeps_what_it_can_be_made_again_from(registered: Made, delivered: Path) -> None:
    root, _ = registered
    kept = delivered / "artifacts/pipeline"
    assert sorted(path.name for path in kept.iterdir()) == ["card.md", "dvc.yaml", "metrics.json", "params.yaml"]
    for path in (artifacts.METRICS.path, "dvc.yaml", "params.yaml"):
        assert (kept / Path(path).name).read_bytes() == (root / path).read_bytes()
    assert (kept / "card.md").read_text(encoding="utf-8") == card.render(root, room=None)


def test_the_run_is_rebuilt_whole(registered: Made) -> None:
    root, done = registered
    client = client_of(root)
    run = client.get_run(done.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["likewise.rebuilt"] == "true"
    known_by = labels.of_project(root, artifacts.TRAIN.read(root)["train_key"])
    assert run.data.tags.items() >= known_by.tags.items()
    assert "likewise.git_parent" not in run.data.tags
    assert run.info.run_name == known_by.name
    assert known_by.dataset is not None
    assert run.inputs is not None
    assert [found.dataset.digest for found in run.inputs.dataset_inputs] == [known_by.dataset.digest]
    history = artifacts.HISTORY.read(root)
    logged = client.get_metric_history(done.run_id, "loss")
    assert [(metric.step, metric.value) for metric in sorted(logged, key=lambda m: m.step)] == list(
        zip(history["epoch"], history["loss"], strict=True)
    )
    assert {name: run.data.metrics[name] for name in done.metrics} == done.metrics
    assert run.data.params["train.loss"] == "triplet"
    assert run.data.params["ingest.split.by"] == "sample"
    reports = {Path(found.path).name for found in client.list_artifacts(done.run_id, "reports")}
    tables = {"roc.csv", "det.csv", "scores.csv", "reliability.csv", "history.csv"}
    assert reports == {"report.html", "metrics.json", "calibration.json"} | tables
    assert [found.path for found in client.list_artifacts(done.run_id, "pipeline")] == ["pipeline/params.yaml"]


def test_the_version_is_code_and_numbers_and_no_pickle(fresh: Fresh) -> None:
    # Not the one that others load: Python then leaves compiled code beside it, where it may.
    root = fresh()
    register(root, name="likewise", rule=RULE)
    delivered = delivered_in(root)
    files = [path.relative_to(delivered).as_posix() for path in delivered.rglob("*") if path.is_file()]
    assert not [name for name in files if name.endswith((".pkl", ".pickle", ".pt", ".pth", ".pyc", ".joblib"))]
    assert sorted(name for name in files if name.startswith("artifacts/model/")) == [
        "artifacts/model/calibration.json",
        "artifacts/model/encoder.safetensors",
        "artifacts/model/model.json",
    ]
    for name in files:
        content = (delivered / name).read_bytes()
        # Protocols 2 to 5 begin so; older ones cannot hold arrays shortly.
        assert not (content[:1] == b"\x80" and content[1:2] in b"\x02\x03\x04\x05"), name
    assert "code/likewise/delivery/model.py" in files


def test_requirements_are_pinned_to_what_is_installed(delivered: Path) -> None:
    lines = (delivered / "requirements.txt").read_text(encoding="utf-8").split()
    pinned = dict(line.split("==") for line in lines)
    assert set(pinned) >= set(registry.PINNED)
    assert {name: version(name) for name in registry.PINNED}.items() <= pinned.items()


def test_requirements_name_all_that_the_delivered_code_imports() -> None:
    known = modules()
    wanted = {name for module in reached("likewise.delivery.model") for name in top_level(known[module])}
    outside = wanted - set(sys.stdlib_module_names) - {"likewise"}
    # pydantic asks for its core by the exact version.
    names = {"PIL": "pillow", "faiss": "faiss-cpu", "ruamel": "ruamel.yaml", "pydantic_core": "pydantic"}
    assert {names.get(name, name) for name in outside} <= set(registry.PINNED)


def top_level(file: Path) -> Iterator[str]:
    """Yield the packages that a module imports when it is imported itself."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


ALONE = """
import sys
sys.path = [p for p in sys.path if not p.endswith("src")]
sys.meta_path = [f for f in sys.meta_path if "editable" not in repr(f).lower()]
import mlflow, numpy as np
model = mlflow.pyfunc.load_model(sys.argv[1])
import likewise
print(likewise.__file__)
print(model.predict({"sample": np.zeros((2, 1, 8, 8), dtype=np.uint8)}).shape)
"""


def test_the_version_runs_without_the_project(delivered: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(delivered)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    place, shape = done.stdout.split("\n")[:2]
    assert Path(place).is_relative_to(delivered)
    assert shape == "(2, 8)"


class TestCommit:
    @staticmethod
    def git(root: Path, *words: str) -> str:
        command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *words]
        return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.strip()

    def test_the_commit_is_tagged_once_a_clean_one_holds_the_lock(self, fresh: Fresh) -> None:
        root = fresh()
        assert (checkout.head(root), checkout.dirty(root), checkout.commit_with_lock(root)) == (None, False, None)
        self.git(root, "init", "-q")
        assert checkout.head(root) is None
        self.git(root, "add", "dvc.yaml", "params.yaml")
        self.git(root, "commit", "-qm", "Before")
        parent = self.git(root, "rev-parse", "HEAD")
        raw = "{path: data/raw, hash: md5, md5: abc.dir}"
        lock = f"schema: '2.0'\nstages: {{ingest: {{deps: [{{path: src/a.py, md5: b}}, {raw}]}}}}\n"
        (root / "dvc.lock").write_text(lock, encoding="utf-8")
        done = register(root, name="likewise", rule=RULE)
        tags = version_of((root, done)).tags
        assert tags["likewise.git_parent"] == parent
        assert tags["likewise.raw_hash"] == "abc.dir"
        assert "likewise.git_commit" not in tags
        self.git(root, "add", "dvc.lock")
        assert checkout.commit_with_lock(root) is None
        register(root, name="likewise", rule=RULE)
        assert "likewise.git_commit" not in version_of((root, done)).tags
        self.git(root, "commit", "-qm", "Locked")
        commit = self.git(root, "rev-parse", "HEAD")
        register(root, name="likewise", rule=RULE)
        assert version_of((root, done)).tags["likewise.git_commit"] == commit
        self.git(root, "commit", "-q", "--allow-empty", "-m", "Later")
        register(root, name="likewise", rule=RULE)
        assert version_of((root, done)).tags["likewise.git_commit"] == commit
        assert versions(root) == [1]
        pipeline = client_of(root).list_artifacts(done.run_id, "pipeline")
        assert sorted(found.path for found in pipeline) == ["pipeline/dvc.lock", "pipeline/params.yaml"]

    def test_a_changed_file_makes_it_dirty(self, tmp_path: Path) -> None:
        self.git(tmp_path, "init", "-q")
        (tmp_path / "dvc.lock").write_text("one", encoding="utf-8")
        self.git(tmp_path, "add", "dvc.lock")
        self.git(tmp_path, "commit", "-qm", "Locked")
        assert checkout.commit_with_lock(tmp_path) == checkout.head(tmp_path) is not None
        (tmp_path / "untracked").touch()
        assert not checkout.dirty(tmp_path)
        (tmp_path / "dvc.lock").write_text("two", encoding="utf-8")
        assert checkout.dirty(tmp_path)
        assert checkout.commit_with_lock(tmp_path) is None

    def test_without_git_there_is_none(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        assert checkout.head(tmp_path) is None
        assert checkout.commit_with_lock(tmp_path) is None


def test_the_same_model_registered_twice_at_once_is_one_version(fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    root = fresh()
    find, looks = registry._find, []

    def too_early(client: MlflowClient, name: str, wanted: str) -> ModelVersion | None:
        looks.append(name)
        return None if len(looks) == 1 else find(client, name, wanted)

    first = register(root, name="likewise", rule=RULE)
    monkeypatch.setattr(registry, "_find", too_early)
    second = register(root, name="likewise", rule=RULE)
    assert (second.version, second.created, second.aliases) == (first.version, False, ("champion",))
    assert versions(root) == [1]


@pytest.mark.parametrize("look", ["search_registered_models", "get_experiment_by_name"])
def test_what_another_process_makes_in_between_is_taken(
    fresh: Fresh, monkeypatch: pytest.MonkeyPatch, look: str
) -> None:
    root = fresh()
    first = register(root, name="likewise", rule=RULE)
    artifacts.METRICS.write(artifacts.METRICS.read(root) | {"again": 1}, root)
    find, looks = getattr(MlflowClient, look), []

    def too_early(self: MlflowClient, *words: Any, **named: Any) -> Any:
        looks.append(words)
        return None if len(looks) == 1 else find(self, *words, **named)

    monkeypatch.setattr(MlflowClient, look, too_early)
    second = register(root, name="likewise", rule=RULE)
    assert looks
    assert (second.version, second.created) == (first.version + 1, True)


def test_a_server_that_is_down_is_told_in_a_line(fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    root = fresh()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(
        RegistryError, match=r"^MLflow: API request to http://127\.0\.0\.1:9.*; run `likewise register`"
    ):
        register(root, name="likewise", rule=RULE)


def test_a_store_that_is_broken_is_told_in_a_line(fresh: Fresh) -> None:
    root = fresh()
    (root / "mlflow.db").write_text("this is no database" * 100, encoding="utf-8")
    with pytest.raises(RegistryError, match="file is not a database") as caught:
        register(root, name="likewise", rule=RULE)
    assert len(str(caught.value).splitlines()) == 1


def test_a_stage_that_has_not_run_is_said_before_anything_is_made(fresh: Fresh) -> None:
    root = fresh()
    (root / artifacts.METRICS.path).unlink()
    with pytest.raises(artifacts.ArtifactError, match=r"metrics\.json: missing"):
        register(root, name="likewise", rule=RULE)
    assert client_of(root).get_experiment_by_name(tracking.EXPERIMENT) is None


def test_numbers_are_flattened_and_the_rest_left_out() -> None:
    nested = {"a": {"b": {"c": 1, "d": None}, "e": "text", "f": True}, "g": 2.5, "h": [1, 2]}
    assert flatten(nested) == {"a.b.c": 1.0, "g": 2.5}


def test_the_identity_is_of_what_is_delivered_and_measured(fresh: Fresh) -> None:
    root = fresh()
    first = registry.identity(root)
    artifacts.HISTORY.write(artifacts.HISTORY.read(root).iloc[:1], root)
    assert registry.identity(root) == first
    change_metrics(root, accuracy=0.25)
    assert registry.identity(root) != first


def test_the_files_of_a_version_can_be_had_by_its_address(registered: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    root, _ = registered
    monkeypatch.chdir(root)
    folder = download("models:/likewise/1")
    assert {path.name for path in folder.iterdir()} == {Path(name).name for name in artifacts.DELIVERED}

"""The registered model: one version for each evaluated model, its metrics, tags, card and aliases."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likewise import artifacts
from likewise.config import PARAMS_FILE, SWEEP, read_yaml
from likewise.data import kinds
from likewise.delivery import card, checkout, labels, promotion, provenance, tracking
from likewise.delivery.gate import Rule
from likewise.delivery.provenance import COMMIT_TAG, IDENTITY_TAG, identity
from likewise.delivery.signature import input_example, signature_of
from likewise.delivery.store import CHALLENGER, RegistryError, in_turn

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import Model as MlflowModel

__all__ = ["Registered", "RegistryError", "flatten", "identity", "register"]

PINNED = (
    "numpy",
    "pandas",
    "pillow",
    "safetensors",
    "torch",
    "mlflow",
    "pydantic",
    "ruamel.yaml",
    "pyarrow",
    "pandera",
    "soundfile",
    "soxr",
    "faiss-cpu",
)
"""What the delivered code imports; the version's requirements name what is installed."""

REPORTS = tuple(
    file.path
    for file in (
        artifacts.REPORT,
        artifacts.METRICS,
        artifacts.CALIBRATION,
        artifacts.ROC,
        artifacts.DET,
        artifacts.SCORES,
        artifacts.RELIABILITY,
        artifacts.HISTORY,
    )
)


@dataclass(frozen=True)
class Registered:
    """A version in the registry.

    Attributes:
        name: the registered model.
        version: its number.
        aliases: the aliases that point to it.
        created: whether this call made it.
        run_id: the run it came from.
        metrics: flat names and values of `metrics.json`.
        decision: what the gate said, `promoted` or `kept` and why; empty where there was nothing to decide.
    """

    name: str
    version: int
    aliases: tuple[str, ...]
    created: bool
    run_id: str
    metrics: dict[str, float]
    decision: str = ""


def register(root: Path, *, name: str, rule: Rule, guard: str | None = None) -> Registered:
    """Put the evaluated model into the registry, once: the same model again finds its version.

    The run is the one that `train` tagged with its key; where the tracking store is a fresh one, it is rebuilt
    from the history and the metrics. The first version becomes `champion`; later ones have to pass the gate.

    Args:
        root: the project's root.
        name: of the registered model.
        rule: when the version takes the champion's place.
        guard: the column whose slices the gate guards; none by default.

    Raises:
        ArtifactError: when a stage's file is missing.
        RegistryError: when the tracking store or the registry cannot be reached.
    """
    metrics = flatten(artifacts.METRICS.read(root))
    with in_turn(root, again="likewise register") as client:
        run = _run(client, root, metrics)
        found = _find(client, name, identity(root))
        created = found is None
        if found is None:
            found, created = _only_one(client, root, _create(client, root, name, run, metrics))
        _tag_commit(client, root, found)
        if created:
            client.set_registered_model_alias(name, CHALLENGER, str(found.version))
        decision = promotion.decide(client, root, name, int(found.version), rule, guard=guard)
        aliases = tuple(client.get_model_version(name, found.version).aliases)
        told = "" if decision is None else f"{'promoted' if decision.promote else 'kept'}: {decision.reason}"
        return Registered(name, int(found.version), aliases, created, run.info.run_id, metrics, told)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return the numbers of nested objects under flat names, `a.b.c`; what is not a number is left out.

    Example:
        >>> flatten({"verification": {"eer": 0.01, "protocol": "pairs"}, "n": 2})
        {'verification.eer': 0.01, 'n': 2.0}
    """
    flat: dict[str, float] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            flat[f"{prefix}{key}"] = float(value)
    return flat


def _run(client: MlflowClient, root: Path, metrics: Mapping[str, float]) -> Run:
    """Return the run of this model, complete: found by its key, or rebuilt."""
    from mlflow.entities import Metric

    key = artifacts.TRAIN.read(root)["train_key"]
    experiment = tracking.experiment_id(client, root)
    run = tracking.find_run(client, experiment, key)
    if run is None:
        run = _rebuilt(client, root, experiment, key)
    run_id = run.info.run_id
    seen = tracking.records(artifacts.HISTORY.read(root), artifacts.LAYERS.read(root))
    tracking.log_history(client, run_id, seen, logged=tracking.logged_epochs(client, run_id))
    given = labels.flat({name: block for name, block in read_yaml(root / PARAMS_FILE).items() if name != SWEEP})
    params = {name: value for name, value in given.items() if name not in run.data.params}
    if any(run.data.metrics.get(name) != value for name, value in metrics.items()):
        # All at one time. Of one time MLflow keeps the largest, and a model may be evaluated anew with a lower figure.
        now = tracking.milliseconds()
        tracking.log_metrics(client, run_id, [Metric(k, v, now, 0) for k, v in metrics.items()])
    tracking.log_params(client, run_id, params)
    _log_files(client, root, run_id)
    if run.info.status != "FINISHED":
        client.set_terminated(run_id, "FINISHED")
    return client.get_run(run_id)


def _rebuilt(client: MlflowClient, root: Path, experiment: str, key: str) -> Run:
    """Make the run of a training that MLflow did not see: its commit is told where a clean one holds its lock."""
    known_by, commit = labels.of_project(root, key), checkout.commit_with_lock(root)
    tags = {"likewise.rebuilt": "true"} | ({"mlflow.source.git.commit": commit} if commit else {})
    run = tracking.create_run(client, experiment, key, known_by, **tags)
    tracking.log_dataset(client, run, known_by)
    return run


def _log_files(client: MlflowClient, root: Path, run_id: str) -> None:
    """Log the report, the figures and plots, the lock and the params: one call for all of them."""
    with tempfile.TemporaryDirectory() as temporary:
        lock = ("dvc.lock",) if (root / "dvc.lock").exists() else ()
        for folder, paths in {"reports": REPORTS, "pipeline": (*lock, PARAMS_FILE)}.items():
            (Path(temporary) / folder).mkdir()
            for path in paths:
                shutil.copy2(root / path, Path(temporary) / folder)
        client.log_artifacts(run_id, temporary)


def _find(client: MlflowClient, name: str, wanted: str) -> ModelVersion | None:
    versions = client.search_model_versions(f"name = '{name}' AND tags.`{IDENTITY_TAG}` = '{wanted}'")
    return min(versions, key=lambda version: int(version.version), default=None)


def _only_one(client: MlflowClient, root: Path, made: ModelVersion) -> tuple[ModelVersion, bool]:
    """Return the version that was made and whether it stays: not if another process made one of the same model before.

    Numbers are given one after the other, so that of two processes the later one always sees the earlier one's version.
    """
    first = _find(client, made.name, identity(root))
    if first is None or first.version == made.version:
        return made, True
    client.delete_model_version(made.name, made.version)
    return first, False


def _create(client: MlflowClient, root: Path, name: str, run: Run, metrics: Mapping[str, float]) -> ModelVersion:
    model = _logged(client, root, name, run, metrics)
    if not client.search_registered_models(f"name = '{name}'"):
        with tracking.unless_there():
            client.create_registered_model(name, description=card.MODEL)
    made = client.create_model_version(
        name,
        f"models:/{model}",
        run_id=run.info.run_id,
        model_id=model,
        tags=provenance.tags(root, metrics),
        description=card.render(root),
        await_creation_for=60,
    )
    # A server does so itself: the model's page then links to the version.
    versions = json.dumps([{"name": name, "version": int(made.version)}])
    client.set_logged_model_tags(model, {"mlflow.modelVersions": versions})
    return made


def _logged(client: MlflowClient, root: Path, name: str, run: Run, metrics: Mapping[str, float]) -> str:
    """Hand the model over to MLflow as an output of its run, with its figures, and return the id it got.

    `log_model` would do the same, and ask for the history of every metric of the run, one by one.
    """
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus, Metric
    from mlflow.models import Model

    run_id = run.info.run_id
    made = client.create_logged_model(
        # Of the names that a registered model may have, MLflow takes those without dots here.
        run.info.experiment_id,
        name=name.replace(".", "-"),
        source_run_id=run_id,
        params=run.data.params,
        model_type="pyfunc",
    )
    model = made.model_id
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "saved"
        about = Model(artifact_path=made.artifact_location, run_id=run_id, model_uuid=model, model_id=model)
        _save(root, folder, about)
        client.log_model_artifacts(model, str(folder))
    client.finalize_logged_model(model, LoggedModelStatus.READY)
    client.log_outputs(run_id, [LoggedModelOutput(model, step=0)])
    when = _measured_at(client, run_id, metrics)
    tracking.log_metrics(client, run_id, [Metric(k, v, when, 0, model_id=model) for k, v in metrics.items()])
    return model


def _save(root: Path, folder: Path, about: MlflowModel) -> None:
    import mlflow

    delivered = folder.with_name("model")
    delivered.mkdir()
    for path in artifacts.DELIVERED:
        shutil.copy2(root / path, delivered)
    told = artifacts.MODEL.read(root)
    width = told["encoder"]["embedding"] * told["encoder"].get("members", 1)
    mlflow.pyfunc.save_model(
        path=str(folder),
        mlflow_model=about,
        python_model=str(Path(__file__).with_name("pyfunc.py")),
        artifacts={"model": str(delivered), "pipeline": str(provenance.keep(root, folder.with_name("pipeline")))},
        code_paths=[str(Path(__file__).parents[1])],
        signature=signature_of(width),
        input_example=input_example(kinds.build(**told["preprocessing"])),
        pip_requirements=[f"{library}=={installed(library)}" for library in PINNED],
    )


def _measured_at(client: MlflowClient, run_id: str, metrics: Mapping[str, float]) -> int:
    """Return when the run's figures were logged: all of them at once, so one tells it for all."""
    name = next(iter(metrics))
    return max(metric.timestamp for metric in client.get_metric_history(run_id, name))


def _tag_commit(client: MlflowClient, root: Path, found: ModelVersion) -> None:
    commit = checkout.commit_with_lock(root)
    if commit is not None and COMMIT_TAG not in found.tags:
        client.set_model_version_tag(found.name, found.version, COMMIT_TAG, commit)

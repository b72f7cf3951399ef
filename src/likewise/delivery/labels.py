"""What a run is known by in MLflow: its name, its tags and its data set."""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from likewise import artifacts
from likewise.config import PARAMS_FILE, SWEEP
from likewise.delivery import checkout, dvc_lock

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

LIKE = 12
"""Params that are a recipe's but for so many keys are told as that recipe with changes."""

EXPERIMENT_TAG = "likewise.experiment"
"""Of a run: the DVC experiment that it is of."""

ELSEWHERE = "ingest.path"
"""Where the data lie is nobody's recipe."""

INGESTED = Path(artifacts.SAMPLES.path).parent.as_posix()
DIGEST = 36
"""Digits that MLflow has room for: what DVC calls a folder, its MD5 and `.dir`, fits exactly."""


@dataclass(frozen=True)
class Labels:
    """The name, the tags and the data set of a run; without any, the run is a bare one."""

    name: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    dataset: DataSet | None = None


@dataclass(frozen=True)
class DataSet:
    """The ingested data as MLflow shows a data set.

    Attributes:
        name: the path of the raw data, or the source's name where it is built in.
        digest: DVC's hash of the ingested folder where `dvc.lock` tells it, else the start of `samples.parquet`'s.
        digest_of: which of the two, in words.
        source: where the samples lie, and DVC's hash of the raw data.
        columns: of the table of samples.
        counts: of samples and classes, in all and in each split.
    """

    name: str
    digest: str
    digest_of: str
    source: Mapping[str, str]
    columns: tuple[str, ...]
    counts: Mapping[str, object]

    def as_input(self) -> DatasetInput:
        """Return it as MLflow takes it."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        fields = [{"name": name, "type": "string", "required": False} for name in self.columns]
        dataset = Dataset(
            name=self.name[:500],
            digest=self.digest,
            source_type="local",
            source=json.dumps(self.source),
            schema=json.dumps({"mlflow_colspec": fields}),
            profile=json.dumps(self.counts),
        )
        return DatasetInput(
            dataset, [InputTag("mlflow.data.context", "train"), InputTag("likewise.digest_of", self.digest_of)]
        )


def of_training(root: Path, key: str) -> Labels:
    """Return the labels of a training that begins now, in this working folder.

    Args:
        root: the project's root, where `ingest` has run.
        key: the train key.

    Raises:
        ArtifactError: when a file of `ingest` is missing.
    """
    labels, commit = of_project(root, key), checkout.head(root)
    if commit is None:
        return labels
    dirty = "true" if checkout.changed(root) else "false"
    tags = {"mlflow.source.git.commit": commit, "likewise.git_parent": commit, "likewise.git_dirty": dirty}
    return Labels(labels.name, {**labels.tags, **tags}, labels.dataset)


def of_project(root: Path, key: str) -> Labels:
    """Return what can be told at any time, without the commit, which may be a later one by now.

    Raises:
        ArtifactError: when a file of `ingest` is missing.
    """
    params, summary = _load((root / PARAMS_FILE).read_text(encoding="utf-8")), artifacts.SUMMARY.read(root)
    recipe, changes = nearest_recipe(root, flat(params))
    experiment = os.environ.get("DVC_EXP_NAME")
    tags = {
        "likewise.kind": summary["kind"],
        "likewise.recipe": recipe,
        "likewise.data_hash": artifacts.sha256(root / artifacts.SAMPLES.path),
        "mlflow.source.name": "likewise.stages.train",
        "mlflow.source.type": "LOCAL",
        "mlflow.user": _user(),
    }
    if changes:
        tags["likewise.recipe_changes"] = "; ".join(changes)
    if experiment:
        tags[EXPERIMENT_TAG] = experiment
    data, train = _data_name(params["ingest"]), params["train"]
    first = experiment or (Path(data).name if recipe == OWN else recipe)
    name = f"{first} {train['encoder']} {train['loss']} {key[:7]}"
    return Labels(name, tags, _data_set(root, data, summary, tags["likewise.data_hash"]))


OWN = "none"
"""What is said instead of a recipe where the params are like none."""


def nearest_recipe(root: Path, params: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return the recipe that the params were made from, and what was changed: `train.epochs: 40 for 12`.

    The nearest by keys that differ, `ingest.path` and the block `sweep` aside; `none` where the project has no recipes
    or all are far.

    Args:
        root: the project's root.
        params: flat names and values.
    """
    best: tuple[int, str, list[str]] = (LIKE + 1, OWN, [])
    for path in sorted((root / "recipes").glob("*.yaml")):
        recipe = flat(_load(path.read_text(encoding="utf-8")))
        names = sorted(name for name in {*params, *recipe} if name != ELSEWHERE and not name.startswith(f"{SWEEP}."))
        changes = [_change(name, params, recipe) for name in names if params.get(name, _NO) != recipe.get(name, _NO)]
        best = min(best, (len(changes), path.stem, changes))
    return best[1], best[2]


_NO = object()


def _change(name: str, params: Mapping[str, Any], recipe: Mapping[str, Any]) -> str:
    return f"{name}: {params.get(name, 'not there')} for {recipe.get(name, 'not there')}"


def flat(block: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return params by their names from the top of params.yaml, blocks inside blocks taken apart.

    Example:
        >>> flat({"epochs": 3, "augment": {"flip": 0.5}, "encoder_options": {}}, "train.")
        {'train.epochs': 3, 'train.augment.flip': 0.5, 'train.encoder_options': {}}
    """
    parts: dict[str, Any] = {}
    for name, value in block.items():
        inner = isinstance(value, Mapping) and value
        parts |= flat(value, f"{prefix}{name}.") if inner else {f"{prefix}{name}": value}
    return parts


def _load(text: str) -> Any:
    """Read YAML with the quick reader: equal texts give equal values, whatever version of YAML it takes them for."""
    return YAML(typ="safe").load(StringIO(text))


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def _data_name(ingest: Mapping[str, Any]) -> str:
    return str(ingest["source"] if ingest["path"] == "data/raw" else ingest["path"])


def _data_set(root: Path, name: str, summary: Mapping[str, Any], data_hash: str) -> DataSet:
    locked = _locked(root)
    of = (
        f"MD5 of {INGESTED} in dvc.lock" if INGESTED in locked else f"SHA-256 of samples.parquet, first {DIGEST} digits"
    )
    raw = {path: md5 for path, md5 in locked.items() if path != INGESTED}
    return DataSet(
        name=name,
        digest=locked.get(INGESTED, data_hash[:DIGEST]),
        digest_of=of,
        source={"uri": INGESTED, "sha256 of samples.parquet": data_hash, **{f"md5 of {k}": v for k, v in raw.items()}},
        columns=tuple(artifacts.SAMPLES.types.names),
        counts={"num_rows": summary["kept"], "kind": summary["kind"], "splits": summary["splits"]},
    )


def _locked(root: Path) -> dict[str, str]:
    """Return DVC's hashes of the raw data and of the ingested folder; none where the lock is of another folder."""
    path = root / dvc_lock.LOCK_FILE
    stage = dvc_lock.read(path, only="ingest").get("ingest") if path.is_file() else None
    out = next((out for out in stage.outs if out.path == INGESTED), None) if stage else None
    files = [file for file in (root / INGESTED).rglob("*") if file.is_file()]
    if stage is None or out is None or (out.files, out.size) != (len(files), sum(f.stat().st_size for f in files)):
        return {}
    return {item.path: item.md5 for item in (*stage.data, out) if item.md5 is not None}

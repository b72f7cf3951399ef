"""Commands around the pipeline: `likewise apply | augment | check | register | where`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from likewise.choices import choose
from likewise.commands.options import JsonFlag
from likewise.config import PARAMS_FILE, checked, load_params, project_root, read_yaml


def check() -> None:
    """Check the whole of params.yaml: exit 2 with one line for each mistake."""
    load_params(project_root())


def register(as_json: JsonFlag = False) -> None:
    """Put the evaluated model into the registry (once), and print its figures and where to look at it."""
    from likewise.config import in_experiment
    from likewise.delivery import summary
    from likewise.stages import register as stage

    root = project_root()
    if in_experiment():
        print("register: skipped, an experiment registers nothing")
        return
    done = stage.register(stage.Params.model_validate(load_params(root)["register"].model_dump()), root)
    print(json.dumps(summary.as_dict(done), indent=2) if as_json else summary.as_text(done, root))


def augment(
    show: Annotated[bool, typer.Option("--show", help="Write a contact sheet of what training sees.")] = False,
    out: Annotated[Path | None, typer.Option(help="The PNG file to write; reports/augment.png by default.")] = None,
    classes: Annotated[int, typer.Option(min=1, max=100, help="So many classes, a sample each.")] = 6,
    versions: Annotated[int, typer.Option(min=1, max=100, help="So many versions of each sample.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other samples and versions.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Say how samples are changed while training (train.augment); with --show, let a person look at it."""
    from likewise.stages import sheet
    from likewise.stages.train_params import Params

    root = project_root()
    params = Params.model_validate(load_params(root)["train"].model_dump())
    if not show:
        print(json.dumps(params.augment.model_dump()) if as_json else sheet.described(params.augment))
        return
    path = out or root / "reports" / "augment.png"
    sheet.write(params, root, path, classes=classes, versions=versions, seed=seed)
    print(json.dumps({"path": str(path)}) if as_json else path)


def apply(
    source: Annotated[str, typer.Argument(help="A file of settings, or where MLflow has one: runs:/ID/best.yaml.")],
    as_json: JsonFlag = False,
) -> None:
    """Write settings, such as the best of a sweep, into params.yaml; its comments and all else stay."""
    from ruamel.yaml import YAML

    from likewise.delivery import labels, tracking
    from likewise.files import replacing
    from likewise.stages import settings

    root = project_root()
    path = tracking.fetched(source, root)
    given = read_yaml(path)
    if not isinstance(given, dict):
        raise ValueError(f"{source}: expected blocks as in {PARAMS_FILE}, such as train: with keys below it")
    file = root / PARAMS_FILE
    wanted, before = labels.flat(given), labels.flat(read_yaml(file))
    text = settings.written(file.read_text(encoding="utf-8"), wanted)
    checked(YAML(typ="safe", pure=True).load(text))
    with replacing(file) as partial:
        partial.write_text(text, encoding="utf-8")
    changed = {key: [before.get(key), value] for key, value in wanted.items() if before.get(key) != value}
    if as_json:
        print(json.dumps(changed))
        return
    for key, (old, new) in changed.items():
        print(f"{key}: {settings.shown(old)} -> {settings.shown(new)}")
    print(f"{PARAMS_FILE}: {len(changed)} of {len(wanted)} settings changed; `make repro` runs what is stale now")


def where(what: Annotated[str, typer.Argument(help="tracking | report")]) -> None:
    """Print where something lies: the tracking store's address, or the report's path."""
    from likewise import artifacts
    from likewise.delivery.tracking import tracking_uri

    root = project_root()
    known: dict[str, Callable[[], Any]] = {
        "tracking": lambda: tracking_uri(root),
        "report": lambda: artifacts.REPORT.existing(root),
    }
    print(choose("place", what, known)())

"""The command line: `likewise augment | check | compare | promote | register | rollback | where`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from likewise.choices import choose
from likewise.config import load_params, project_root, wait_passively

app = typer.Typer(
    help="Are these two the same? Siamese networks from raw data to a registered model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


@app.callback()
def _commands() -> None:
    """Keep the sub-commands' names even where there is only one."""


@app.command()
def check() -> None:
    """Check the whole of params.yaml: exit 2 with one line for each mistake."""
    load_params(project_root())


@app.command()
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


@app.command()
def promote(
    version: Annotated[int, typer.Option(help="The version that becomes champion.")],
    reason: Annotated[str, typer.Option(help="Why; it is written on both versions.")],
    as_json: JsonFlag = False,
) -> None:
    """Make a version the champion whatever the gate said."""
    from likewise.delivery import promotion

    root = project_root()
    name = _registered_name(root)
    promotion.promote(root, name=name, version=version, reason=reason)
    print(json.dumps({"name": name, "champion": version}) if as_json else f"{name} {version} is the champion now")


@app.command()
def rollback(
    reason: Annotated[str, typer.Option(help="Why; it is written on both versions.")],
    as_json: JsonFlag = False,
) -> None:
    """Make the champion before this one the champion again."""
    from likewise.delivery import promotion

    root = project_root()
    name = _registered_name(root)
    version = promotion.rollback(root, name=name, reason=reason)
    print(json.dumps({"name": name, "champion": version}) if as_json else f"{name} {version} is the champion again")


@app.command()
def compare(
    left: Annotated[Path, typer.Argument(help="One sample: an image, a sound, a sequence or a text.")],
    right: Annotated[Path, typer.Argument(help="The other.")],
    model: Annotated[str, typer.Option(help="A folder, or an address in the registry.")] = "models:/likewise@champion",
    as_json: JsonFlag = False,
) -> None:
    """Tell whether two samples are the same, how far they are and how sure that is."""
    from dataclasses import asdict

    from likewise.delivery.loading import load

    answer = load(model).compare(left, right)
    if as_json:
        print(json.dumps(asdict(answer)))
        return
    print("same" if answer.same else "different")
    print(f"distance     {answer.distance:.4f}")
    print(f"score        {answer.score:.4f} (same from {answer.threshold:.4f})")
    print(f"probability  {answer.probability:.1%}")


@app.command()
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


@app.command()
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


def _registered_name(root: Path) -> str:
    return str(load_params(root)["register"].model_dump()["name"])


def main() -> None:
    """Run the command line; bad input ends with one line and exit code 2."""
    wait_passively()
    try:
        app()
    except (ValueError, OSError) as error:
        print(f"likewise: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()

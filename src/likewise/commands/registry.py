"""Commands on the registry: `likewise lineage | promote | rollback | verify`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from likewise.commands import output
from likewise.commands.options import JsonFlag
from likewise.config import ConfigError, load_params, project_root

Address = Annotated[str, typer.Argument(help="A version: 3, champion, likewise/3 or models:/likewise@champion.")]


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


def lineage(
    version: Address = "champion",
    data: Annotated[str | None, typer.Option(help="A hash of data: list the versions made from it.")] = None,
    commit: Annotated[str | None, typer.Option(help="A git commit: list the versions made from it.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Tell where a version came from and how to make it again; or which versions came from some data or commit."""
    from likewise.delivery import lineage as origins
    from likewise.delivery import lineage_text

    root = _root_if_any()
    if data is not None and commit is not None:
        raise ValueError("give --data or --commit, not both")
    if data is None and commit is None:
        found = origins.of_version(root, version, name=_meant(root))
        if as_json:
            print(json.dumps(asdict(found), indent=2, default=str))
        else:
            output.as_sections(lineage_text.sections(found), lineage_text.of_version(found))
        return
    made = origins.of_commit(root, commit) if commit is not None else origins.of_data(root, data or "")
    wanted = commit or data or ""
    if as_json:
        print(json.dumps({"versions": [asdict(each) for each in made]}, indent=2))
    else:
        output.as_sections(lineage_text.sections_of_versions(made), lineage_text.of_versions(made, wanted))


def verify(
    version: Address = "champion",
    rerun: Annotated[bool, typer.Option("--rerun", help="Run the stages anew, though DVC may have kept them.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Make a version again in a temporary folder and compare every byte: exit 0 if they are equal, 1 if not."""
    from likewise.delivery import reproduction

    root = project_root()
    verdict = reproduction.verify(
        root, version, name=_registered_name(root), rerun=rerun, say=lambda line: print(line, file=sys.stderr)
    )
    told = asdict(verdict) | {"equal": verdict.equal}
    print(json.dumps(told, indent=2) if as_json else reproduction.as_text(verdict))
    if not verdict.equal:
        raise typer.Exit(1)


def _root_if_any() -> Path | None:
    """Return the project's root, or None outside one: a registry elsewhere can be asked from anywhere."""
    try:
        return project_root()
    except ConfigError:
        return None


def _meant(root: Path | None) -> str:
    """Return the registered model that an address without a name means."""
    return "likewise" if root is None else _registered_name(root)


def _registered_name(root: Path) -> str:
    return str(load_params(root)["register"].model_dump()["name"])

"""Commands on the registry: `likewise promote | rollback`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from likewise.commands.options import JsonFlag
from likewise.config import load_params, project_root


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


def _registered_name(root: Path) -> str:
    return str(load_params(root)["register"].model_dump()["name"])

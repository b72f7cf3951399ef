"""Commands that use a model: `likewise compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from likewise.commands.options import JsonFlag


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

"""The model card: what a person reads on the version's page in the registry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from likewise import artifacts
from likewise.config import PARAMS_FILE, read_yaml

MODEL = """\
Tells whether two samples are of the same class: a Siamese encoder with its distance, threshold and calibration.

`champion` is the version in use, `challenger` the newest one that wants its place.
"""


def render(root: Path) -> str:
    """Return the card of the evaluated model, in Markdown.

    Raises:
        ArtifactError: when a stage's file is missing.
    """
    environment = Environment(
        loader=PackageLoader("likewise.delivery", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    environment.filters["percent"] = lambda value: "not measurable" if value is None else f"{value:.2%}"
    return environment.get_template("card.md").render(**_facts(root))


def _facts(root: Path) -> dict[str, Any]:
    return {
        "metrics": artifacts.METRICS.read(root),
        "calibration": artifacts.CALIBRATION.read(root),
        "model": artifacts.MODEL.read(root),
        "training": artifacts.TRAIN.read(root),
        "summary": artifacts.SUMMARY.read(root),
        "params": read_yaml(root / PARAMS_FILE),
    }

"""The model card: what a person reads on the version's page in the registry."""

from __future__ import annotations

import re
from collections.abc import Mapping
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
    environment.filters |= {"percent": percent, "with_interval": with_interval}
    return environment.get_template("card.md").render(**_facts(root))


def percent(value: float | None) -> str:
    """Return a share in per cent.

    Example:
        >>> percent(0.0042), percent(None)
        ('0.42%', 'not measurable')
    """
    return "not measurable" if value is None else f"{value:.2%}"


def with_interval(values: Mapping[str, Any], name: str) -> str:
    """Return a figure of metrics.json with the ends of its interval, where it has them.

    Example:
        >>> with_interval({"eer": 0.05, "eer_low": 0.04, "eer_high": 0.061}, "eer")
        '5.00% (4.00% to 6.10%)'
    """
    low, high = values[f"{name}_low"], values[f"{name}_high"]
    return percent(values[name]) + ("" if low is None else f" ({percent(low)} to {percent(high)})")


def numbered(values: Mapping[str, Any], pattern: str) -> dict[str, str]:
    r"""Return the keys that a pattern matches with the number in each, in the order of the numbers.

    Example:
        >>> numbered({"tar_at_far_1_percent": 0, "tar_at_far_0_1_percent": 0}, r"tar_at_far_(\w+)_percent")
        {'tar_at_far_0_1_percent': '0.1', 'tar_at_far_1_percent': '1'}
    """
    found = {key: match[1].replace("_", ".") for key in values if (match := re.fullmatch(pattern, key))}
    return dict(sorted(found.items(), key=lambda item: float(item[1])))


def _facts(root: Path) -> dict[str, Any]:
    metrics = artifacts.METRICS.read(root)
    return {
        "metrics": metrics,
        "rates": numbered(metrics["verification"], r"tar_at_far_(\w+)_percent"),
        "cutoffs": numbered(metrics["retrieval"], r"recall_at_(\d+)"),
        "calibration": artifacts.CALIBRATION.read(root),
        "model": artifacts.MODEL.read(root),
        "training": artifacts.TRAIN.read(root),
        "summary": artifacts.SUMMARY.read(root),
        "params": read_yaml(root / PARAMS_FILE),
    }

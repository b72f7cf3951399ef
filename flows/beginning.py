"""How the flows that run stages begin: on the commit that they are for, and with params that are right."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field

from flows import late_cancel, stages
from likewise.config import load_params, project_root

Commit = Annotated[str, Field(pattern="^([0-9a-f]{7,40})?$")]
Hours = Annotated[float, Field(gt=0, le=24 * 30)]


def begin(commit: str, sources: Mapping[str, str] | None = None) -> Path:
    """Return the project's root once it is seen to be what the run is for; from now on the run hears of its cancel.

    Args:
        commit: Git commit that the run is for; empty is any.
        sources: The .dvc files of the raw data to put there, by path.

    Raises:
        ConfigError: when params.yaml is wrong.
        StageError: when the code here is not that of the commit.
    """
    root = project_root()
    stages.say_own_lines()
    late_cancel.watch()
    here = stages.run(["git", "rev-parse", "HEAD"], root, quiet=True) if commit else ""
    if not here.startswith(commit):
        raise stages.StageError(f"this is commit {here[:10]}, the run is for {commit[:10]}", lasting=True)
    load_params(root)
    for name, text in (sources or {}).items():
        (root / name).write_text(text, encoding="utf-8")
    return root


def in_seconds(hours: float | None) -> float | None:
    """Return hours in seconds; None, which is any time, stays."""
    return None if hours is None else hours * 3600

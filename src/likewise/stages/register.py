"""register: the evaluated model becomes a version in the MLflow registry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from likewise.config import Block, in_experiment, run_stage

if TYPE_CHECKING:
    from likewise.delivery.registry import Registered


class Gate(Block):
    """When the newest version takes the champion's place."""

    metric: Literal["eer", "auc", "accuracy", "min_dcf", "min_cllr"]
    margin: float = Field(ge=0, allow_inf_nan=False)
    confidence: float = Field(gt=0.5, le=0.995)
    guard: str | None
    guard_limit: float = Field(ge=0, allow_inf_nan=False)
    seed: int = Field(ge=0)


class Params(Block):
    """The `register` block of params.yaml."""

    name: str = Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$")
    gate: Gate


def run(params: Params, root: Path) -> None:
    """Register the model; an experiment's model is not registered."""
    if in_experiment():
        print("register: skipped, an experiment registers nothing; apply it and repro to register", flush=True)
        return
    done = register(params, root)
    what = "new version" if done.created else "already there:"
    print(f"register: {what} {done.name} {done.version} ({', '.join(done.aliases) or 'no alias'})", flush=True)
    if done.decision:
        print(f"register: {done.decision}", flush=True)


def register(params: Params, root: Path) -> Registered:
    """Put the evaluated model into the registry, and let the gate decide who is champion."""
    from likewise.delivery import registry
    from likewise.delivery.gate import Rule

    gate = params.gate
    rule = Rule(gate.metric, gate.margin, gate.confidence, gate.guard_limit, gate.seed)
    return registry.register(root, name=params.name, rule=rule, guard=gate.guard)


if __name__ == "__main__":
    run_stage("register", Params, run)

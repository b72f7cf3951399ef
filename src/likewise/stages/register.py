"""register: the evaluated model becomes a version in the MLflow registry."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from likewise.config import Block, in_experiment, run_stage


class Params(Block):
    """The `register` block of params.yaml."""

    name: str = Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$")


def run(params: Params, root: Path) -> None:
    """Register the model; an experiment's model is not registered."""
    if in_experiment():
        print("register: skipped, an experiment registers nothing; apply it and repro to register", flush=True)
        return
    from likewise.delivery.registry import register

    done = register(root, name=params.name)
    what = "new version" if done.created else "already there:"
    print(f"register: {what} {done.name} {done.version} ({', '.join(done.aliases) or 'no alias'})", flush=True)


if __name__ == "__main__":
    run_stage("register", Params, run)

"""The command that looks whether all is in order: `likewise doctor`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

import typer

from likewise.commands import output
from likewise.commands.options import JsonFlag
from likewise.config import ConfigError, project_root
from likewise.delivery.examination import Finding


def doctor(as_json: JsonFlag = False) -> None:
    """Look at Python, libraries, GPU, disk, DVC, MLflow, Prefect, and say what to do; exit 1 if there is a problem."""
    from likewise.delivery import examination

    found = examination.examine(_checks(_root()))
    problems = sum(each.state == "problem" for each in found)
    if as_json:
        output.as_json({"problems": problems, "checks": [asdict(each) for each in found]})
    else:
        output.as_findings(found, examination.as_text(found))
    if problems:
        raise typer.Exit(1)


def _root() -> Path | None:
    try:
        return project_root()
    except ConfigError:
        return None


def _checks(root: Path | None) -> dict[str, Callable[[], Iterable[Finding]]]:
    from likewise.delivery import machine_checks, project_checks
    from likewise.stages.resume import checkpoint_url

    found: dict[str, Callable[[], Iterable[Finding]]] = {
        "python": lambda: machine_checks.python(root),
        "libraries": lambda: machine_checks.libraries(root),
        "gpu": machine_checks.gpu,
        "disk": lambda: machine_checks.disk(root),
        "checkpoints": lambda: machine_checks.checkpoints(checkpoint_url()),
        "prefect": project_checks.prefect,
    }
    if root is None:
        here = Finding("project", "note", "no dvc.yaml here or above", "go into a project to have it looked at, too")
        return found | {"project": lambda: [here]}
    return found | {
        "params": lambda: project_checks.params(root),
        "git": lambda: project_checks.git(root),
        "dvc": lambda: project_checks.dvc(root),
        "mlflow": lambda: project_checks.mlflow(root),
        "leftovers": lambda: project_checks.leftovers(root),
    }

"""What a run leaves behind for people: a Markdown summary of figures, decision and links, and the ROC as a picture."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path
from typing import Any

import pandas as pd
import requests
from prefect.artifacts import create_image_artifact, create_markdown_artifact

from likewise import artifacts

KEY = "retrain-summary"
ROC_KEY = "retrain-roc"

FIRST = ("verification.eer", "verification.auc", "verification.accuracy", "retrieval.recall_at_1")
"""The figures that a person looks for."""


def publish(done: dict[str, Any], root: Path, *, changed: str) -> None:
    """Put the summary and the picture on the server.

    Args:
        done: what `likewise register --json` says.
        root: the project's root.
        changed: why the run ran.
    """
    create_markdown_artifact(key=KEY, markdown=markdown(done, root, changed=changed), description="What retrain made")
    if changed:
        url = picture(artifacts.ROC.read(root))
        create_image_artifact(image_url=url, key=ROC_KEY, description="ROC on the test trials")


def markdown(done: dict[str, Any], root: Path, *, changed: str) -> str:
    """Return the summary: version, decision, links, figures with their intervals."""
    made = "new" if done["created"] else "already there"
    aliases = ", ".join(done["aliases"]) or "none"
    report = root / artifacts.REPORT.path
    lines = [
        f"# {done['name']} version {done['version']} ({made})",
        f"Why: {changed or 'nothing changed, so no stage ran'}. Aliases: {aliases}.",
        f"Decision: {done['decision']}." if done["decision"] else "Decision: none had to be made.",
        " · ".join(f"[{label}]({url})" for label, url in links(done).items())
        or "Browse: `make ui` in the project, for the registry is a file there.",
        f"Report: `{report}` on the worker.",
        table(done["metrics"]),
    ]
    return "\n\n".join(lines) + "\n"


def links(done: dict[str, Any]) -> dict[str, str]:
    """Return where MLflow shows the version and its run; nothing where no server does."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "").rstrip("/")
    if not uri.startswith("http"):
        return {}
    found = {"the version": f"{uri}/#/models/{done['name']}/versions/{done['version']}"}
    experiment = experiment_of(uri, done["run_id"])
    if experiment:
        run = f"{uri}/#/experiments/{experiment}/runs/{done['run_id']}"
        found |= {"its run": f"{run}?workflowType=machine_learning"}
        found |= {"the report among its artifacts": f"{run}/artifacts?workflowType=machine_learning"}
    return found


def experiment_of(uri: str, run: str) -> str:
    """Return the id of a run's experiment, or nothing where the server does not tell (mlflow takes seconds)."""
    try:
        answer = requests.get(f"{uri}/api/2.0/mlflow/runs/get", params={"run_id": run}, timeout=5)
        return str(answer.json()["run"]["info"]["experiment_id"]) if answer.ok else ""
    except requests.RequestException:
        return ""


def table(metrics: dict[str, float]) -> str:
    """Return the figures as a Markdown table, those that people look for first, each with its interval."""
    names = [name for name in metrics if not name.endswith(("_low", "_high"))]
    names.sort(key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name))
    rows = [f"| {name} | {metrics[name]:.4g} | {interval(metrics, name)} |" for name in names]
    return "\n".join(["| metric | value | 95 % interval |", "|---|---|---|", *rows])


def interval(metrics: dict[str, float], name: str) -> str:
    """Return the interval of a figure, or nothing where none was computed."""
    low, high = metrics.get(f"{name}_low"), metrics.get(f"{name}_high")
    return "" if low is None or high is None else f"{low:.4g} to {high:.4g}"


def picture(roc: pd.DataFrame) -> str:
    """Return the ROC as a picture inside a URL: every browser that sees the server sees it.

    Args:
        roc: the columns far and tar.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5, 4.0), layout="constrained")
    axes = figure.subplots()
    axes.plot(roc["far"], roc["tar"])
    axes.plot([0, 1], [0, 1], color="0.8", linewidth=1, zorder=0)
    axes.set(xlabel="false accepts", ylabel="true accepts", xlim=(0, 1), ylim=(0, 1.01), aspect="equal")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"

"""What a run leaves behind for people: a Markdown summary of figures, decision and links, and the ROC as a picture."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import requests
from prefect.artifacts import create_image_artifact, create_markdown_artifact

from likewise.evaluation import charts

if TYPE_CHECKING:
    import pandas as pd

KEY = "retrain-summary"
ROC_KEY = "retrain-roc"

FIRST = (
    "verification.eer",
    "verification.auc",
    "verification.accuracy",
    "verification.tar_at_far_1_percent",
    "verification.tar_at_far_0_1_percent",
    "retrieval.recall_at_1",
    "retrieval.map_at_r",
    "oneshot.accuracy",
    "openset.detection_rate_at_far_1_percent",
)
"""The figures that a person looks for."""

NEW = re.compile(r"^register: new version .*", re.MULTILINE)
DECIDED = re.compile(r"^register: ((?:promoted|kept): .*)", re.MULTILINE)
"""What the stage register says."""

URL_SAFE = " =:/;,'()"
"""What a URL with data may hold as it is."""

GRID = 400
"""The ROC's vertices are rounded to so many steps either way: finer ones are not seen, and make the URL long."""


def as_said(done: dict[str, Any], said: str) -> dict[str, Any]:
    """Return what the registry holds with what the stage register made and decided in this run, if it ran.

    Args:
        done: what `likewise register --json` says, for which a version that the stage has made is there already.
        said: what the stage said.
    """
    decided = DECIDED.search(said)
    made = {"created": True} if NEW.search(said) else {}
    return done | made | ({"decision": decided[1]} if decided else {})


def publish(done: dict[str, Any], root: Path, *, changed: str) -> None:
    """Put the summary and the picture on the server.

    Args:
        done: what `likewise register --json` says.
        root: the project's root.
        changed: why the run ran.
    """
    # Only here: pandas takes half a second, for which a run would seem not to have begun.
    from likewise import artifacts

    create_markdown_artifact(key=KEY, markdown=markdown(done, root, changed=changed), description="What retrain made")
    if changed:
        url = picture(artifacts.ROC.read(root))
        create_image_artifact(image_url=url, key=ROC_KEY, description="ROC on the test trials")


def in_a_line(done: dict[str, Any]) -> str:
    """Return which version there is now, and what was decided.

    Example:
        >>> in_a_line({"name": "likewise", "version": 3, "aliases": ["champion"], "decision": "promoted: better"})
        'likewise 3 (champion); promoted: better'
    """
    version = f"{done['name']} {done['version']} ({', '.join(done['aliases']) or 'no alias'})"
    return "; ".join(part for part in (version, done["decision"]) if part)


def markdown(done: dict[str, Any], root: Path, *, changed: str) -> str:
    """Return the summary: version, decision, links, figures with their intervals."""
    from likewise import artifacts

    made = "new" if done["created"] else "was there already"
    aliases = ", ".join(done["aliases"]) or "none"
    report = root / artifacts.REPORT.path
    lines = [
        f"# {done['name']} version {done['version']} ({made})",
        f"Why: {changed or 'nothing changed, so no stage ran'}. Aliases: {aliases}.",
        f"Decision: {done['decision']}." if done["decision"] else "Decision: none had to be made.",
        " · ".join(f"[{label}]({url})" for label, url in links(done).items())
        or "Browse: `make ui` in the project, for the registry is a file there.",
        f"Report: `{report}` on the worker.",
        tables(done["metrics"]),
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


def tables(metrics: dict[str, float]) -> str:
    """Return the figures that people look for as a Markdown table, and below it all others."""
    names = sorted(name for name in metrics if not name.endswith(("_low", "_high")))
    first, others = [name for name in FIRST if name in names], [name for name in names if name not in FIRST]
    return "\n\n".join([_table(metrics, first), *(["## All other figures", _table(metrics, others)] if others else [])])


def _table(metrics: dict[str, float], names: list[str]) -> str:
    rows = [f"| {name} | {number(metrics[name])} | {interval(metrics, name)} |" for name in names]
    return "\n".join(["| metric | value | 95 % interval |", "|---|---|---|", *rows])


def number(value: float) -> str:
    """Return a figure as a person reads it, counts in full.

    Example:
        >>> number(0.0123456), number(20_000.0), number(1.0)
        ('0.01235', '20,000', '1')
    """
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"


def interval(metrics: dict[str, float], name: str) -> str:
    """Return the interval of a figure, or nothing where none was computed."""
    low, high = metrics.get(f"{name}_low"), metrics.get(f"{name}_high")
    return "" if low is None or high is None else f"{low:.4g} to {high:.4g}"


def picture(roc: pd.DataFrame) -> str:
    """Return the ROC as a picture inside a URL: every browser that sees the server sees it.

    The page writes the URL out below the picture. So it is a short one, of an SVG, and has spaces to break lines at.

    Args:
        roc: the columns far and tar.
    """
    steps = (roc[["far", "tar"]] * GRID).round().drop_duplicates() / GRID
    share = charts.Axis("", (0.0, 0.25, 0.5, 0.75, 1.0), ("0", "25 %", "50 %", "75 %", "100 %"))
    svg = charts.draw(
        [charts.Line((0, 1), (0, 1), "thin"), charts.Line(steps["far"], steps["tar"], "one")],
        x=replace(share, label="false accepts"),
        y=replace(share, label="true accepts"),
        alternative="ROC on the test trials",
    )
    size = f'xmlns="http://www.w3.org/2000/svg" width="{1.5 * charts.WIDTH:g}" height="{1.5 * charts.HEIGHT:g}" '
    style = f"<style>{charts.STYLE}svg {{ background: #fff; }}</style>"
    whole = svg.replace("<svg ", f"<svg {size}", 1).replace(">", f">{style}", 1)
    return f"data:image/svg+xml,{quote(whole.replace(chr(34), chr(39)), safe=URL_SAFE)}"

"""What a person reads when a model has been registered: its figures, its version, where to look."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from likewise import artifacts
from likewise.config import main_checkout
from likewise.delivery.registry import Registered
from likewise.delivery.tracking import tracking_uri

ROWS = {
    "verification accuracy": "verification.accuracy",
    "EER": "verification.eer",
    "AUC": "verification.auc",
    "recall@1": "retrieval.recall_at_1",
}
PORT = 5000


def as_dict(done: Registered) -> dict[str, Any]:
    """Return the registered version as plain values."""
    return asdict(done)


def as_text(done: Registered, root: Path) -> str:
    """Return a short table and the commands that open the version's page and the report."""
    told = done.metrics
    rows = [(label, f"{told[key]:.2%}" if key in told else "not measured") for label, key in ROWS.items()]
    rows += [
        ("registered", f"{done.name} version {done.version}"),
        ("alias", ", ".join(done.aliases) or "none"),
    ]
    rows += [("gate", done.decision)] if done.decision else []
    width = max(len(label) for label, _ in rows)
    table = "\n".join(f"  {label:<{width}}  {value}" for label, value in rows)
    return f"\n{table}\n\n{_look(done, root)}"


def _look(done: Registered, root: Path) -> str:
    uri = tracking_uri(root)
    page = f"#/models/{done.name}/versions/{done.version}"
    if uri.startswith("http"):
        server, base = "", uri.rstrip("/")
    else:
        binary = main_checkout(root) / ".venv" / "bin" / "mlflow"
        program = str(binary) if binary.exists() else "mlflow"
        server, base = f"  {program} ui --backend-store-uri {uri} --port {PORT}\n", f"http://127.0.0.1:{PORT}"
    return (
        f"The version's page:\n{server}  python -m webbrowser '{base}/{page}'\n"
        f"The report:\n  python -m webbrowser '{(root / artifacts.REPORT.path).as_uri()}'"
    )

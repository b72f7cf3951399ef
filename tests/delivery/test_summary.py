from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from likewise.delivery import summary
from likewise.delivery.registry import Registered

METRICS = {
    "verification.accuracy": 0.98765,
    "verification.eer": 0.0123,
    "verification.auc": 0.999,
    "retrieval.recall_at_1": 0.9,
    "oneshot.accuracy": 0.5,
}
DONE = Registered("likewise", 3, ("challenger",), True, "abc", METRICS)


def test_the_table_and_the_commands_are_what_was_registered(tmp_path: Path) -> None:
    text = summary.as_text(DONE, tmp_path)
    rows = dict(line.strip().split("  ", 1) for line in text.split("\n\n")[0].strip().splitlines())
    assert {label: value.strip() for label, value in rows.items()} == {
        "verification accuracy": "98.77%",
        "EER": "1.23%",
        "AUC": "99.90%",
        "recall@1": "90.00%",
        "registered": "likewise version 3",
        "alias": "challenger",
    }
    assert f"  mlflow ui --backend-store-uri sqlite:///{tmp_path}/mlflow.db --port 5000\n" in text
    assert "python -m webbrowser 'http://127.0.0.1:5000/#/models/likewise/versions/3'" in text
    assert f"python -m webbrowser 'file://{tmp_path}/reports/evaluate/report.html'" in text


def test_what_the_data_do_not_show_is_said(tmp_path: Path) -> None:
    classless = {name: value for name, value in METRICS.items() if name.startswith("verification")}
    text = summary.as_text(replace(DONE, metrics=classless), tmp_path)
    assert re.search(r"recall@1 +not measured\n", text)


def test_a_server_needs_no_starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://there:5000/")
    text = summary.as_text(DONE, tmp_path)
    assert "'http://there:5000/#/models/likewise/versions/3'" in text
    assert "mlflow ui" not in text


def test_the_projects_own_program_is_named_where_there_is_one(tmp_path: Path) -> None:
    program = tmp_path / ".venv/bin/mlflow"
    program.parent.mkdir(parents=True)
    program.touch()
    assert f"  {program} ui --backend-store-uri" in summary.as_text(DONE, tmp_path)


def test_plain_values_for_a_program(tmp_path: Path) -> None:
    told = summary.as_dict(DONE)
    assert told == {
        "name": "likewise",
        "version": 3,
        "aliases": ("challenger",),
        "created": True,
        "run_id": "abc",
        "metrics": METRICS,
        "decision": "",
    }


def test_what_the_gate_said_is_told(tmp_path: Path) -> None:
    assert "\n  gate " not in summary.as_text(DONE, tmp_path)
    told = summary.as_text(replace(DONE, decision="kept: no better"), tmp_path)
    assert "kept: no better" in told

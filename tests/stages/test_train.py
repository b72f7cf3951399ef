from __future__ import annotations

from pathlib import Path
from tests.small import Fresh


def test_x(evaluated: Path) -> None:
    print((evaluated / "reports/evaluate/metrics.json").read_text())
    print((evaluated / "models/train/history.csv").read_text())


def test_y(registered) -> None:
    print(registered)

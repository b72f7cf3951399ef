"""The stage `evaluate` with its report on 1,000 test samples, against what it cannot save: importing its libraries.

python -m benchmarks.evaluation
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import timing

ROOT = Path(__file__).resolve().parents[1]
THREADS = 2
BEFORE = ("ingest", "pairs", "train")
IMPORTS = "import torch, pandas, pandera, sklearn.manifold, scipy.special, jinja2, PIL.Image"
CHANGES = {"    test: 0.25 ": "    test: 0.56 ", "    val: 0.15 ": "    val: 0.14 ", "  epochs: 12 ": "  epochs: 1 "}
"""Of the default params: 1,000 of the 1,797 digits are of test, and training takes seconds."""


def project(folder: Path) -> None:
    """Lay out a project of the digits whose model is trained."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    for old, new in CHANGES.items():
        if old not in text:
            raise SystemExit(f"params.yaml has no line with {old.strip()!r}: change benchmarks/evaluation.py with it")
        text = text.replace(old, new, 1)
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    (folder / "dvc.yaml").write_bytes((ROOT / "dvc.yaml").read_bytes())
    (folder / "src").symlink_to(ROOT / "src")
    (folder / "data" / "raw").mkdir(parents=True)
    (folder / "data" / "tasks.txt").write_bytes((ROOT / "data" / "tasks.txt").read_bytes())
    for stage in BEFORE:
        run(folder, "-m", f"likewise.stages.{stage}")


def run(folder: Path, *arguments: str) -> None:
    """Run this Python in the project."""
    own = {
        "PYTHONPATH": str(ROOT / "src"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "LIKEWISE_CHECKPOINTS": str(folder / "checkpoints"),
    }
    subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=os.environ | own, check=True, stdout=subprocess.DEVNULL
    )


def main() -> None:
    """Measure, print the figures and write `benchmarks/results/evaluation.json`."""
    parser = argparse.ArgumentParser(description="Time the stage evaluate as a process.")
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        project(folder)
        line = timing.compare(
            "evaluate, 1,000 test samples, with the report",
            "importing its libraries",
            lambda: run(folder, "-m", "likewise.stages.evaluate"),
            lambda: run(folder, "-c", IMPORTS),
            repeats=asked.repeats,
        )
    about = timing.machine("likewise", "numpy", "scikit-learn", "torch")
    timing.write("evaluation", [line], machine=about, threads=THREADS)


if __name__ == "__main__":
    main()

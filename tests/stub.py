"""A project whose stages take no time: the real flows and `dvc`, with stages that only write a line.

What is tested on it is what happens around the stages: workers, cancels, kills. Its training is as long as a test
wants (one that has seen enough makes a file), prints what the real one prints, and goes on from its own checkpoint.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from likewise.config import STAGES
from tests.prefect_server import PrefectServer
from tests.projects import Project, make_project

STAGE = '''
"""A stage that writes its name; train counts epochs, as many as params.yaml says, of `SECONDS` each."""
import os, pathlib, re, sys, time

name, out = sys.argv[1:]
with open(os.environ["STUB_LOG"], "a") as log:
    log.write(name + "\\n")
if name == "pairs" and pathlib.Path("poison.txt").read_text():
    print(name + ": poisoned.png: not an image; take it out", flush=True)
    sys.exit(2)
if name == "train":
    epochs = int(re.search(r"epochs: (\\d+)", pathlib.Path("params.yaml").read_text()).group(1))
    kept = pathlib.Path(os.environ["LIKEWISE_CHECKPOINTS"]) / f"{epochs}.txt"
    enough = kept.with_suffix(".enough")
    kept.parent.mkdir(parents=True, exist_ok=True)
    first = int(kept.read_text()) if kept.exists() else 0
    if first:
        print(f"train: goes on after epoch {first}", flush=True)
    epoch = first
    while epoch < epochs:
        time.sleep(float(os.environ.get("STUB_SECONDS", "0.3")))
        epoch = epochs if enough.exists() else epoch + 1
        kept.write_text(str(epoch))
        print(f"train: epoch {epoch:>3}/{epochs}  loss 0.{epoch:05}  val EER {50 / epoch:7.3f}%  zero-loss   0.0%"
              f"  learning rate 3.00e-03  1,000 samples/s  0:00:{epochs - epoch:02} left", flush=True)
    kept.unlink()
path = pathlib.Path(out)
path.parent.mkdir(parents=True, exist_ok=True)
# Of other data each stage makes something else, so that none after it is restored.
data = pathlib.Path("data.txt").read_text()
path.write_text(f"far,tar\\n0,0\\n0.{len(data)},1\\n1,1\\n" if name == "evaluate" else f"{name} {data}")
'''

REGISTER = '''
"""The command line of the stub: registers nothing, and says that it did."""
import json

def main() -> None:
    print(json.dumps({"name": "likewise", "version": 1, "aliases": ["champion"], "created": True, "run_id": "1",
                      "metrics": {"verification.eer": 0.0125, "verification.eer_low": 0.01,
                                  "verification.eer_high": 0.02}, "decision": "promoted: the first"}))
'''


@pytest.fixture(scope="session")
def stub_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project, once for all tests of this process: each runs a commit of its own."""
    return make_stub(tmp_path_factory.mktemp("stub"))


@pytest.fixture(scope="module")
def deployed(stub_project: Project, prefect_server: PrefectServer) -> Project:
    """The project, whose deployments the server has: other tests may have put others there."""
    prefect_server.deploy_once(stub_project)
    return stub_project


def make_stub(folder: Path, *, epochs: int = 3) -> Project:
    """Make the project in `folder`, commit it, and give it a DVC remote in `folder/remote`."""
    project = make_project(folder)
    root = project.root
    (root / "stub.py").write_text(STAGE, encoding="utf-8")
    (root / "src/likewise/cli.py").write_text(REGISTER, encoding="utf-8")
    lines = ["stages:"]
    before = "params.yaml"
    for stage in STAGES:
        out = "reports/evaluate/roc.csv" if stage == "evaluate" else f"data/{stage}.txt"
        params = "    params: [train.epochs]\n" if stage == "train" else ""
        lines.append(
            f"  {stage}:\n    cmd: python -S stub.py {stage} {out}\n    deps: [stub.py, {before}]\n{params}"
            f"    outs: [{out}]"
        )
        before = out
    for name in ("poison.txt", "data.txt"):
        (root / name).touch()
    # The first depends on the data, as the real one does.
    text = "\n".join(lines).replace("deps: [stub.py, params.yaml]", "deps: [stub.py, digits, data.txt]")
    text = text.replace("deps: [stub.py, data/ingest.txt]", "deps: [stub.py, data/ingest.txt, poison.txt]", 1)
    (root / "dvc.yaml").write_text(text + "\n", encoding="utf-8")
    (root / ".gitignore").write_text("/data\n/reports\n.venv\n__pycache__\n", encoding="utf-8")
    params = (root / "params.yaml").read_text(encoding="utf-8")
    (root / "params.yaml").write_text(params.replace("epochs: 4", f"epochs: {epochs}", 1), encoding="utf-8")
    project.run("git", "rm", "-q", "--cached", "-r", "data", ".venv", code=0)
    project.run("dvc", "remote", "add", "-q", "-d", "shelf", str(folder / "remote"))
    commit(project, "A stub")
    return project


def variant(project: Project, *, epochs: int, poison: str = "", data: str = "") -> str:
    """Commit another training, and return the commit.

    Args:
        project: the stub.
        epochs: how many train counts.
        poison: a stage refuses it, unless it is empty.
        data: other data for the first stage, so that no stage has run on them.
    """
    params = project.root / "params.yaml"
    text = re.sub(r"epochs: \d+", f"epochs: {epochs}", params.read_text(encoding="utf-8"), count=1)
    params.write_text(text, encoding="utf-8")
    (project.root / "poison.txt").write_text(poison, encoding="utf-8")
    (project.root / "data.txt").write_text(data, encoding="utf-8")
    return commit(project, f"{epochs} epochs {poison} {data}")


def commit(project: Project, message: str) -> str:
    """Commit everything, and return the commit."""
    who = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org")
    project.run(*who, "add", "-A")
    project.run(*who, "commit", "-qm", message)
    return project.run("git", "rev-parse", "HEAD").stdout.strip()


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return what the stub's stages need of a worker: where they say that they ran, and one checkpoint for all."""
    return {"STUB_LOG": str(folder / "ran.txt"), "LIKEWISE_CHECKPOINTS": str(folder / "checkpoints"), **more}


def ran(folder: Path) -> list[str]:
    """Return the stages that ran, in order."""
    path = folder / "ran.txt"
    return path.read_text(encoding="utf-8").split() if path.exists() else []

"""docs/using.md is what can be done: its Python, its commands, and its requests to a real scoring server."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import pytest

import likewise
from flows.servers import free_port
from likewise import artifacts
from likewise.delivery.registry import Registered
from tests.data.pictures import encoded
from tests.imports import ROOT, SOURCE

TEXT = (ROOT / "docs/using.md").read_text(encoding="utf-8")
PYTHON, SHELL = (re.findall(rf"```{kind}\n(.*?)```", TEXT, re.DOTALL) for kind in ("python", "sh"))
ADDRESS = "127.0.0.1:5001"


@pytest.fixture
def project(registered: tuple[Path, Registered], tmp_path: Path) -> Path:
    """A folder with a project's export and registry, and some files of one's own."""
    root = tmp_path / "project"
    root.mkdir()
    for name in ("data", "dvc.yaml", "params.yaml", "mlflow.db", "mlartifacts"):
        (root / name).symlink_to(registered[0] / name)
    media = np.array(artifacts.read_media(registered[0])[0])
    for place, name in ((0, "a"), (1, "b"), (10, "c"), (20, "d")):
        (root / f"{name}.png").write_bytes(encoded(media[place][0]))
    for name in ("a", "b"):
        (root / "photos" / name).mkdir(parents=True)
        shutil.copy2(root / f"{name}.png", root / "photos" / name)
    return root


def environment(root: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(SOURCE),
        "MLFLOW_TRACKING_URI": f"sqlite:///{root / 'mlflow.db'}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def test_its_python_runs(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project / 'mlflow.db'}")
    assert len(PYTHON) == 2
    for block in PYTHON:
        exec(compile(block, "docs/using.md", "exec"), {})
    assert likewise.Gallery.load("people.safetensors").people == ("ann", "bob")


def test_its_commands_run(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from likewise import cli

    monkeypatch.chdir(project)
    lines = [line.split("#")[0].split() for line in SHELL[0].splitlines()]
    assert len(lines) == 9
    for words in lines:
        monkeypatch.setattr(sys, "argv", words)
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        assert not ended.value.code, said.err
        if "--json" in words:
            assert isinstance(json.loads(said.out), dict)
    assert {"photos.npy", "photos.ids.txt", "people.safetensors"} <= {path.name for path in project.iterdir()}


@pytest.fixture
def server(project: Path) -> Iterator[str]:
    """The address of a scoring server, started by the command of the document."""
    port = str(free_port())
    command = SHELL[1].replace("5001", port).split()
    log = project / "server.log"
    with log.open("wb") as stream:
        running = subprocess.Popen(
            command, cwd=project, env=environment(project), stdout=stream, stderr=stream, start_new_session=True
        )
    try:
        until = time.monotonic() + 120
        while not _answers(f"http://127.0.0.1:{port}/ping"):
            assert running.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.2)
        yield f"127.0.0.1:{port}"
    finally:
        os.killpg(running.pid, signal.SIGTERM)
        running.wait(20)


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def test_its_requests_are_answered_by_a_real_server(project: Path, server: str) -> None:
    done = subprocess.run(
        ["bash", "-euc", SHELL[2].replace(ADDRESS, server)],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    embedded, compared, identified, searched = (each["predictions"] for each in _objects(done.stdout))
    model, files = likewise.load(project), [project / f"{name}.png" for name in "abc"]
    np.testing.assert_allclose(embedded, model.embed(files[:2]), atol=1e-6)
    _close(compared, [asdict(model.compare(*files[:2], far=0.1))])
    gallery = model.gallery_of([("ann", files[0]), ("bob", files[2])])
    _close(identified, [asdict(model.identify(files[1], gallery)) | {"id": identified[0]["id"]}])
    hits = model.search(files[1], 2, gallery)
    assert searched[0]["names"] == [hit.name for hit in hits]
    refused = _posted(server, {"dataframe_records": [{"sample": "file:a.png"}]})
    assert refused[0] == 400
    assert "names are not read here; where they may be, set LIKEWISE_FILES" in refused[1]
    refused = _posted(server, {"dataframe_records": [{"sample": "bm8gaW1hZ2U="}]})
    assert refused[0] == 400
    assert "image 1: not an image that Pillow can read" in refused[1]


def _objects(text: str) -> list[Any]:
    found, decoder = [], json.JSONDecoder()
    while text.strip():
        each, end = decoder.raw_decode(text.lstrip())
        found.append(each)
        text = text.lstrip()[end:]
    return found


def _close(found: list[Mapping[str, Any]], wanted: list[Mapping[str, Any]]) -> None:
    for one, other in zip(found, wanted, strict=True):
        assert set(one) == set(other)
        for key, value in other.items():
            assert one[key] == (pytest.approx(value, abs=1e-5) if isinstance(value, float) else value), key


def _posted(server: str, request: Mapping[str, Any]) -> tuple[int, str]:
    import requests

    answer = requests.post(f"http://{server}/invocations", json=request, timeout=30)
    return answer.status_code, answer.text

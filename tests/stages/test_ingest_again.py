"""ingest run again: after a run that ended, on more data, and after one that was interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from likewise import artifacts
from likewise.stages import ingest
from tests.data.pictures import class_folders, encoded, noise, put
from tests.projects import write_params
from tests.small import CHANGES, make
from tests.stages.test_ingest import OUTPUTS, block


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = make(tmp_path / "project", data=False)
    class_folders(root / "data/raw", each=60)
    return root


def outputs(root: Path) -> dict[str, bytes]:
    return {name: (root / name).read_bytes() for name in OUTPUTS}


def test_what_was_decoded_before_is_not_decoded_again_and_changes_nothing(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIKEWISE_DECODED", str(tmp_path / "decoded"))
    put(project / "data/raw/a/bad.png", b"damaged")
    ingest.run(block(project, path="data/raw"), project)
    first, told = outputs(project), capsys.readouterr().out
    assert "decoded before" not in told
    ingest.run(block(project, path="data/raw"), project)
    assert capsys.readouterr().out == f"ingest: 181 of 181 files were decoded before\n{told}"
    assert outputs(project) == first
    put(project / "data/raw/a/new.png", encoded(noise(7777)))
    ingest.run(block(project, path="data/raw"), project)
    assert capsys.readouterr().out.startswith("ingest: 181 of 182 files were decoded before\n")
    second = outputs(project)
    monkeypatch.setenv("LIKEWISE_DECODED", "off")
    ingest.run(block(project, path="data/raw"), project)
    assert "decoded before" not in capsys.readouterr().out
    assert outputs(project) == second


def test_another_preprocessing_decodes_anew(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest.run(block(project, path="data/raw"), project)
    ingest.run(block(project, path="data/raw", image=IMAGE | {"channels": 3}), project)
    assert "decoded before" not in capsys.readouterr().out
    assert artifacts.read_media(project)[0].shape == (180, 3, 8, 8)


IMAGE = {"height": 8, "width": 8, "channels": 1, "min_side": 4, "crop": None}

SLOW = """
import runpy, signal, time
from pathlib import Path
from likewise.data import images

# Whoever runs the tests in the background may have it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

decode = images.decode

def slow(content, spec, *, min_side):
    if len(list(Path("decoded").iterdir())) >= 100:
        Path("waiting").touch()
        time.sleep(60)
    (Path("decoded") / str(time.perf_counter_ns())).touch()
    return decode(content, spec, min_side=min_side)

images.decode = slow
runpy.run_module("likewise.stages.ingest", run_name="__main__")
"""


def started(project: Path) -> subprocess.Popen[str]:
    """Start the stage, and return once its processes are busy with files that take a minute each."""
    write_params(project, CHANGES | {"source: digits": "source: folder"})
    (project / "decoded").mkdir()
    child = subprocess.Popen(
        [sys.executable, "-c", SLOW],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 30
    while not (project / "waiting").exists():
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return child


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("whole_group", [True, False])
def test_interrupted_it_says_one_line_and_leaves_nothing(project: Path, number: int, whole_group: bool) -> None:
    with started(project) as child:
        (os.killpg if whole_group else os.kill)(child.pid, number)
        told, mistakes = child.communicate(timeout=20)
    assert child.returncode == 130
    assert mistakes == "ingest: interrupted; run the same command again to go on\n"
    assert told == ""
    assert [path.name for path in (project / "data/ingest").iterdir()] == []
    assert not alive(child.pid)


def test_killed_it_leaves_no_process(project: Path) -> None:
    with started(project) as child:
        child.kill()
    deadline = time.monotonic() + 10
    while alive(child.pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)

"""The retrain flow, run as a user runs it, with no server; and the process it runs stages in."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from flows import arguments, process
from tests.projects import Project, over

PYTHON = sys.executable


def lines(code: str, folder: Path) -> list[str]:
    return list(process.lines([PYTHON, "-c", code], folder=folder, environment=process.environment()))


def test_output_comes_a_line_at_a_time(tmp_path: Path) -> None:
    code = "import sys, time; print('one'); time.sleep(60)"
    stream = process.lines([PYTHON, "-c", code], folder=tmp_path, environment=process.environment())
    begin = time.monotonic()
    assert next(iter(stream)) == "one"
    assert time.monotonic() - begin < 30


def test_both_streams_and_a_last_line_without_end(tmp_path: Path) -> None:
    code = "import sys; print('out', flush=True); print('err', file=sys.stderr, flush=True); print('rest', end='')"
    assert lines(code, tmp_path) == ["out", "err", "rest"]


def test_a_failure_quotes_the_last_lines_and_the_code(tmp_path: Path) -> None:
    with pytest.raises(process.ProcessError, match="line 49") as caught:
        lines("import sys\nfor i in range(50): print('line', i)\nsys.exit(3)", tmp_path)
    assert caught.value.code == 3
    assert "line 20" not in str(caught.value)


def test_a_silent_failure_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(process.ProcessError, match="exit code 4"):
        lines("raise SystemExit(4)", tmp_path)


def test_no_child_survives_its_caller(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(300)\n"
    )
    stream = process.lines([PYTHON, "-c", code], folder=tmp_path, environment=process.environment())
    grandchild = psutil.Process(int(next(stream)))
    begin = time.monotonic()
    stream.close()  # what a cancelled caller's generator goes through
    assert time.monotonic() - begin < 10
    assert over(grandchild)


def test_the_grace_is_for_the_whole_group(tmp_path: Path) -> None:
    tidy = (
        "import pathlib, signal, sys, time\n"
        "def tidy(*_): time.sleep(0.3); pathlib.Path('tidied').touch(); sys.exit()\n"
        "signal.signal(signal.SIGTERM, tidy)\n"
        "print('ready', flush=True); time.sleep(300)\n"
    )
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {tidy!r}])"
    stream = process.lines([PYTHON, "-c", code], folder=tmp_path, environment=process.environment())
    assert next(stream) == "ready"
    stream.close()
    assert (tmp_path / "tidied").exists()


def test_a_child_that_ignores_the_signal_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE_SECONDS", 0.2)
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(300)"
    )
    stream = process.lines([PYTHON, "-c", code], folder=tmp_path, environment=process.environment())
    assert next(stream) == "deaf"
    begin = time.monotonic()
    stream.close()
    assert time.monotonic() - begin < 5


@pytest.fixture(scope="module")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Settings of a Prefect of the tests' own, whose database is made once."""
    return {"PREFECT_HOME": str(tmp_path_factory.mktemp("prefect"))}


def test_retrain_runs_without_a_server(copy_of_finished: Callable[[], Project], prefect_home: dict[str, str]) -> None:
    project = copy_of_finished()
    log = project.run(PYTHON, "-m", "flows.retrain", environment=prefect_home).stdout
    assert "nothing changed: no stage ran" in log
    assert "Stage '" not in log
    assert "nothing changed since version 1" in log
    assert (project.root / "mlflow.db").exists()


def test_retrain_runs_what_changed_and_says_that_nothing_is_pushed(
    copy_of_finished: Callable[[], Project], prefect_home: dict[str, str]
) -> None:
    project = copy_of_finished()
    params = project.root / "params.yaml"
    params.write_text(params.read_text(encoding="utf-8").replace("count: 400", "count: 410"), encoding="utf-8")
    log = project.run(PYTHON, "-m", "flows.retrain", environment=prefect_home).stdout
    assert re.findall(r"Running stage '(\w+)'", log) == ["triplets"]
    for stage in ("ingest", "pairs", "train", "evaluate", "export", "register"):
        assert f"Stage '{stage}' didn't change" in log
    assert "no DVC remote is set up: nothing is pushed" in log
    assert "To track the changes with git" not in log


def test_a_refused_stage_is_not_retried_and_shows_its_own_last_line(
    copy_of_finished: Callable[[], Project], prefect_home: dict[str, str]
) -> None:
    project = copy_of_finished()
    params = project.root / "params.yaml"
    params.write_text(params.read_text(encoding="utf-8").replace("train: 400", "train: 900000"), encoding="utf-8")
    log = project.run(PYTHON, "-m", "flows.retrain", code=1, environment=prefect_home).stdout
    assert log.count("pairs: pairs.train: ") >= 1
    assert "Awaiting Retry" not in log
    assert "Traceback" not in log
    assert "Running stage 'train'" not in log


def test_a_terminated_flow_leaves_no_process_of_a_shared_training_behind(
    copy_of_finished: Callable[[], Project], prefect_home: dict[str, str]
) -> None:
    project = copy_of_finished()
    params = project.root / "params.yaml"
    text = params.read_text(encoding="utf-8").replace("epochs: 4", "epochs: 4000")
    params.write_text(text.replace("processes: 1 ", "processes: 2 "), encoding="utf-8")
    with project.start(PYTHON, "-m", "flows.retrain", environment=prefect_home) as flow:
        assert flow.stdout is not None
        for line in flow.stdout:
            if "train: epoch   2/" in line:
                break
        children = psutil.Process(flow.pid).children(recursive=True)
        trainers = [child for child in children if "likewise.stages.train" in " ".join(child.cmdline())]
        # The stage, and the two that torchrun made of it.
        assert len(trainers) >= 3
        os.kill(flow.pid, signal.SIGTERM)
        assert flow.wait(timeout=60) != 0
        # The temporary server among them.
        _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive


def test_ctrl_c_ends_a_flow_and_its_server_in_a_moment_and_a_line(
    copy_of_finished: Callable[[], Project], prefect_home: dict[str, str]
) -> None:
    nap = """
import signal, time
from prefect import flow
from flows import arguments
signal.signal(signal.SIGINT, signal.default_int_handler)

@flow(name="nap")
def nap() -> None:
    print("asleep", flush=True)
    time.sleep(600)

arguments.call(nap)
"""
    project = copy_of_finished()
    with project.start(PYTHON, "-c", nap, environment=prefect_home | {"PYTHONPATH": str(project.root)}) as child:
        assert child.stdout is not None
        said = list(iter(child.stdout.readline, "asleep\n"))
        begin = time.monotonic()
        # As a terminal does: everything of the group gets it.
        os.killpg(child.pid, signal.SIGINT)
        said += child.stdout.readlines()
        code = child.wait(timeout=60)
    took = time.monotonic() - begin
    assert code == arguments.INTERRUPTED
    assert said[-1] == "nap: stopped\n"
    assert not [line for line in said if "Traceback" in line]
    assert took < 20
    print(f"Ctrl-C: ended after {took:.1f} s")

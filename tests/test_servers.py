"""`make up`: all servers by one command, and none of them left after Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
import requests

from flows import process, servers
from flows.servers import free_port
from tests.projects import Project

PYTHON = sys.executable


@pytest.fixture
def bare(tmp_path: Path) -> Project:
    """A folder that counts as a project: the servers need no more."""
    (tmp_path / "dvc.yaml").touch()
    return Project(tmp_path, tmp_path / "checkpoints")


def test_up_answers_and_ctrl_c_leaves_nothing(bare: Project) -> None:
    prefect, mlflow = free_port(), free_port()
    command = (PYTHON, "-m", "flows.servers", "--prefect-port", str(prefect), "--mlflow-port", str(mlflow))
    root = str(Path(__file__).parents[1])
    path = os.pathsep.join([root, f"{root}/src"])
    with bare.start(*command, environment={"PYTHONPATH": path}) as up:
        watchdog = threading.Timer(200, up.kill)
        watchdog.start()
        assert up.stdout is not None
        said = ""
        for line in up.stdout:
            said += line
            if line.startswith("next"):
                break
        assert f"MLflow   http://127.0.0.1:{mlflow}" in said, said
        assert requests.get(f"http://127.0.0.1:{mlflow}/health", timeout=10).ok
        pools = requests.post(f"http://127.0.0.1:{prefect}/api/work_pools/filter", json={}, timeout=10).json()
        assert {pool["name"]: pool["status"] for pool in pools} == {"cpu": "READY", "gpu": "READY"}
        started = psutil.Process(up.pid).children(recursive=True)
        assert len(started) >= 4
        up.send_signal(signal.SIGINT)
        assert up.wait(timeout=60) == 0
        assert "all ended" in up.stdout.read()
        watchdog.cancel()
        _, alive = psutil.wait_procs(started, timeout=5)
    assert not alive


def test_a_port_in_use_is_one_line(bare: Project) -> None:
    with socket.socket() as taken:
        taken.bind((servers.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(servers.ServerError) as caught,
            servers.running(bare.root, prefect_port=free_port(), mlflow_port=port),
        ):
            pass
    assert str(caught.value) == (
        f"MLflow: port {port} of 127.0.0.1 cannot be used (Address already in use); stop what listens there, or choose "
        f"another: make up MLFLOW_PORT={port + 1}"
    )


def test_a_server_that_ends_is_told_with_its_last_lines(bare: Project) -> None:
    code = "import sys; print('no such database'); sys.exit(3)"
    server = servers.start("mlflow", [PYTHON, "-c", code], bare.root, process.environment())
    with pytest.raises(servers.ServerError, match=r"no such database\nmlflow ended with code 3"):
        servers.wait([server], "mlflow", lambda: False)
    servers.end([server])


@pytest.mark.parametrize("alone", [False, True], ids=["in the group", "in a group of its own"])
def test_a_killed_caller_leaves_nothing_behind(alone: bool, tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time; from pathlib import Path; from flows import process\n"
        "sleep = \"import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', "
        f"'import time; time.sleep(300)'], start_new_session={alone}); print('up', flush=True); child.wait()\"\n"
        "for line in process.lines([sys.executable, '-c', sleep], folder=Path(), environment=process.environment()):\n"
        "    print(line, flush=True)\n"
    )
    root = Path(__file__).parents[1]
    caller = subprocess.Popen([PYTHON, "-c", code], cwd=root, stdout=subprocess.PIPE, text=True)
    with caller:
        assert caller.stdout is not None
        assert caller.stdout.readline() == "up\n"
        started = psutil.Process(caller.pid).children(recursive=True)
        caller.kill()
    _, alive = psutil.wait_procs(started, timeout=10)
    assert len(started) >= 3
    assert not [each for each in alive if each.status() != psutil.STATUS_ZOMBIE]

"""Real servers of the tests' own: PostgreSQL, MLflow's server on it; on this machine, on free ports."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from flows.servers import free_port

STARTS_WITHIN = 180
"""Seconds; a server imports its libraries twice, and the machine may be busy."""
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "DO_NOT_TRACK": "1"}


@dataclass
class Server:
    """A server as a process group of its own, which can be killed and started again on the same port."""

    command: Sequence[str]
    address: str
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self, *, health: str) -> None:
        """Start it, and wait until it answers at `health`."""
        with self.log.open("ab") as log:
            kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "PREFECT_"))}
            self.process = subprocess.Popen(
                self.command,
                env=kept | QUIET | dict(self.environment),
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.log.parent,
                start_new_session=True,
            )
        self.health = health
        give_up = time.monotonic() + STARTS_WITHIN
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > give_up:
                self.signal(signal.SIGKILL)
                pytest.fail(f"{self.command[0]} did not start:\n{self.log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.1)

    def answers(self) -> bool:
        """Tell whether it is there."""
        try:
            with urllib.request.urlopen(self.address + self.health, timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def signal(self, number: int) -> None:
        """Send the whole group a signal; after SIGKILL it is gone."""
        assert self.process is not None
        os.killpg(self.process.pid, number)
        if number == signal.SIGKILL:
            self.process.wait()


@contextmanager
def running(server: Server, *, health: str) -> Iterator[Server]:
    """Give the server while it runs, and let nothing of it survive."""
    server.start(health=health)
    try:
        yield server
    finally:
        if server.process is not None and server.process.poll() is None:
            server.signal(signal.SIGKILL)


def postgresql_programs() -> Path:
    """Return where PostgreSQL's programs are; without them the test fails in CI, and is left out elsewhere."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    elsewhere = shutil.which("initdb")
    if places:
        return places[-1]
    if elsewhere:
        return Path(elsewhere).resolve().parent
    why = "no PostgreSQL here (Debian: apt-get install postgresql)"
    if os.environ.get("CI"):
        pytest.fail(f"{why}; .ci/run should have installed it")
    pytest.skip(why)


def as_user() -> tuple[list[str], int | None]:
    """Return what a command is begun with that root may not run, and whose it then is: PostgreSQL refuses root."""
    if os.getuid() != 0:
        return [], None
    names = {entry.pw_name: entry.pw_uid for entry in pwd.getpwall()}
    name = "postgres" if "postgres" in names else "nobody"
    return ["runuser", "-u", name, "--"], names[name]


@contextmanager
def postgresql() -> Iterator[str]:
    """Give the address of an empty database of a PostgreSQL that runs as long as the block."""
    programs, (begin, owner), port = postgresql_programs(), as_user(), free_port()
    with tempfile.TemporaryDirectory(prefix="likewise-postgresql-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if owner is not None:
            os.chown(folder, owner, -1)

        def run(program: str, *words: str) -> None:
            command = [*begin, str(programs / program), *words]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"

        run("initdb", "-D", f"{folder}/data", "-A", "trust", "-U", "likewise", "--no-sync")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        run("pg_ctl", "-D", f"{folder}/data", "-w", "-l", f"{folder}/log", "-o", options, "start")
        try:
            run("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "likewise", "store")
            yield f"postgresql://likewise@127.0.0.1:{port}/store"
        finally:
            run("pg_ctl", "-D", f"{folder}/data", "-m", "immediate", "stop")


def mlflow(store: str, folder: Path) -> Server:
    """Return an MLflow server that is still to be started, with its artifacts in `folder`."""
    port = free_port()
    place = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    kept = ["--backend-store-uri", store, "--artifacts-destination", str(folder / "artifacts"), "--serve-artifacts"]
    command = [sys.executable, "-m", "mlflow", "server", *kept, *place]
    return Server(command, f"http://127.0.0.1:{port}", folder / "mlflow.log")


@pytest.fixture(scope="session")
def database() -> Iterator[str]:
    """Return the address of a database of a PostgreSQL that the session's tests share."""
    with postgresql() as address:
        yield address


@pytest.fixture(scope="session")
def tracking_server(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return an MLflow server on PostgreSQL that the session's tests share, and leave running."""
    with running(mlflow(database, tmp_path_factory.mktemp("mlflow")), health="/health") as server:
        yield server

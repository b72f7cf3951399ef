"""All servers of a project by one command, on loopback: MLflow, Prefect and a worker a pool; Ctrl-C ends them.

What they keep lies in the project (`mlflow.db`, `mlartifacts/`, `.likewise/prefect/`), unless the servers' own
variables say otherwise (docs/deployment.md).
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import requests
import typer

from flows import process, worker
from likewise.config import ConfigError, project_root

HOST = "127.0.0.1"
POOLS = ("cpu", "gpu")
PATIENCE_SECONDS = 180.0
"""How long a server may take to answer: its first start makes its tables, on a machine that may be busy."""

LOOK_SECONDS = 0.2
STATE = Path(".likewise")


@dataclass
class Server:
    """One of the programs that run, and where its output goes."""

    name: str
    group: process.Group
    log: Path

    @property
    def ended(self) -> bool:
        """Whether it runs no more."""
        return self.group.child.poll() is not None


class ServerError(RuntimeError):
    """A server that did not start, or ended; with its own last lines."""


@contextmanager
def running(root: Path, *, prefect_port: int, mlflow_port: int, pools: Sequence[str] = POOLS) -> Iterator[list[Server]]:
    """Start all servers, wait until each answers, give them, and end them with all that they started.

    Raises:
        ServerError: when a port is in use, or a server does not answer or ends.
    """
    check_port(mlflow_port, "MLflow", "MLFLOW_PORT")
    check_port(prefect_port, "Prefect", "PREFECT_PORT")
    shared = worker.environment(root) | addresses(prefect_port=prefect_port, mlflow_port=mlflow_port)
    shared.setdefault("PREFECT_HOME", str(root / STATE / "prefect"))
    # Jobs that judge language models: seven more processes, of no use here.
    shared.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    servers: list[Server] = []
    with ExitStack() as stack:
        stack.callback(lambda: end(servers))
        servers.append(start("mlflow", mlflow_command(root, mlflow_port), root, shared))
        servers.append(start("prefect", prefect_command(prefect_port), root, shared))
        wait(servers, "mlflow", lambda: answers(f"{shared['MLFLOW_TRACKING_URI']}/health"))
        wait(servers, "prefect", lambda: answers(f"{shared['PREFECT_API_URL']}/health"))
        for pool in pools:
            servers.append(start(f"worker-{pool}", worker.command(pool), root, shared))
        for pool in pools:
            wait(servers, f"worker-{pool}", lambda pool=pool: online(shared["PREFECT_API_URL"], pool))  # type: ignore[misc]
        yield servers


def addresses(*, prefect_port: int, mlflow_port: int) -> dict[str, str]:
    """Return the variables by which everything else finds the servers."""
    return {
        "PREFECT_API_URL": f"http://{HOST}:{prefect_port}/api",
        "MLFLOW_TRACKING_URI": f"http://{HOST}:{mlflow_port}",
    }


def mlflow_command(root: Path, port: int) -> list[str]:
    """Return the command of the MLflow server: on the project's own store, unless MLflow's variables name others."""
    own = {
        "MLFLOW_BACKEND_STORE_URI": ("--backend-store-uri", f"sqlite:///{root / 'mlflow.db'}"),
        "MLFLOW_ARTIFACTS_DESTINATION": ("--artifacts-destination", (root / "mlartifacts").as_uri()),
    }
    options = [word for name, words in own.items() for word in words if name not in os.environ]
    return [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1", *options]


def prefect_command(port: int) -> list[str]:
    """Return the command of the Prefect server."""
    return [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)]


def free_port() -> int:
    """Return a port of this machine that nothing listens at."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def check_port(port: int, name: str, variable: str) -> None:
    """Raise ServerError when something listens at a port already."""
    with socket.socket() as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            own.bind((HOST, port))
        except OSError as error:
            raise ServerError(
                f"{name}: port {port} of {HOST} cannot be used ({error.strerror}); stop what listens there, or choose "
                f"another: make up {variable}={port + 1}"
            ) from None


def start(name: str, command: Sequence[str], root: Path, environment: Mapping[str, str]) -> Server:
    """Start one server, its output in a file of its own."""
    log = root / STATE / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        return Server(name, process.Group(command, folder=root, environment=environment, output=output), log)


def wait(servers: Sequence[Server], name: str, ready: Callable[[], bool]) -> None:
    """Wait until a server is ready.

    Raises:
        ServerError: when it takes too long, or one of the servers ends.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not ready():
        check(servers)
        if time.monotonic() > deadline:
            raise ServerError(
                f"{name}: no answer after {PATIENCE_SECONDS:g} seconds; its log is .likewise/logs/{name}.log"
            )
        time.sleep(LOOK_SECONDS)


def check(servers: Sequence[Server]) -> None:
    """Raise ServerError when one of the servers has ended, with its last lines."""
    for server in servers:
        if server.ended:
            lines = server.log.read_text(encoding="utf-8", errors="replace").splitlines()[-8:]
            code = server.group.child.returncode
            raise ServerError("\n".join([*lines, f"{server.name} ended with code {code}; its log is {server.log}"]))


def answers(url: str) -> bool:
    """Tell whether a server answers at a URL."""
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False


def online(api: str, pool: str) -> bool:
    """Tell whether a worker of a pool has said that it is there."""
    try:
        answer = requests.post(f"{api}/work_pools/{pool}/workers/filter", json={}, timeout=2)
    except requests.RequestException:
        return False
    return answer.ok and any(each["status"] == "ONLINE" for each in answer.json())


def end(servers: Sequence[Server]) -> None:
    """End the servers, the workers first, and the runs that the workers started, which are groups of their own."""
    for server in reversed(servers):
        server.group.end()


def main(
    prefect_port: Annotated[int, typer.Option(help="Port of the Prefect server.")] = 4200,
    mlflow_port: Annotated[int, typer.Option(help="Port of the MLflow server.")] = 5000,
) -> None:
    """Run the servers until Ctrl-C."""
    # A shell that starts it in the background lets it ignore the one.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        root = project_root()
        print("starting MLflow, Prefect and a worker a pool", flush=True)
        with running(root, prefect_port=prefect_port, mlflow_port=mlflow_port) as servers:
            print(said(prefect_port=prefect_port, mlflow_port=mlflow_port), flush=True)
            while True:
                check(servers)
                time.sleep(1)
    except KeyboardInterrupt:
        print("\nall ended", flush=True)
    except (ServerError, ConfigError) as error:
        sys.exit(f"up: {error}")


def said(*, prefect_port: int, mlflow_port: int) -> str:
    """Return what a person is told once everything runs."""
    where = addresses(prefect_port=prefect_port, mlflow_port=mlflow_port)
    ports = "" if prefect_port == 4200 else f" PREFECT_PORT={prefect_port}"
    return (
        f"MLflow   {where['MLFLOW_TRACKING_URI']}\n"
        f"Prefect  http://{HOST}:{prefect_port}\n"
        f"workers  {', '.join(POOLS)}; logs in {STATE / 'logs'}/\n"
        f"next, in another terminal: make deploy{ports}, then make run{ports} FLOW=retrain; Ctrl-C here ends all"
    )


if __name__ == "__main__":
    typer.run(main)

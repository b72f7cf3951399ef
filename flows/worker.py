"""A worker of one pool: takes runs from the Prefect server and starts each in a checkout of its own.

`python -m flows.worker --pool gpu`, in a clone of the project, on any machine that reaches the server, the tracking
server, the git URL and the DVC remote.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from flows import process
from likewise.config import project_root

QUERY_SECONDS = "1"
"""How often a worker asks for work; Prefect's own 10 s would be most of a small run."""

HEARTBEAT_SECONDS = "30"
"""How often a run says that it lives; the shortest that Prefect allows."""

NO_SERVER = "no Prefect server: set PREFECT_API_URL, or start one with `make up`"


def environment(root: Path) -> dict[str, str]:
    """Return a worker's environment: what its runs need, and how often it asks for them."""
    code = [str(root), str(root / "src"), os.environ.get("PYTHONPATH", "")]
    return {
        "PREFECT_WORKER_QUERY_SECONDS": QUERY_SECONDS,
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": HEARTBEAT_SECONDS,
        **process.environment(),
        "PYTHONPATH": os.pathsep.join(part for part in code if part),
    }


def command(pool: str, *, name: str = "", limit: int | None = None) -> list[str]:
    """Return the command that starts a worker of a pool, which is made where it is missing.

    Args:
        pool: the work pool.
        name: the worker's name; by default the host's and the pool's.
        limit: how many runs it takes at once; by default as many as the pool allows.
    """
    name = name or f"{socket.gethostname()}-{pool}"
    most = [] if limit is None else ["--limit", str(limit)]
    return [
        sys.executable,
        "-m",
        "prefect",
        "worker",
        "start",
        "--type",
        "process",
        "--pool",
        pool,
        "--name",
        name,
        *most,
    ]


def main(
    pool: Annotated[str, typer.Option(help="The work pool: cpu or gpu.")],
    name: Annotated[str, typer.Option(help="The worker's name; by default HOST-POOL.")] = "",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Runs at once; by default as many as the pool allows.")
    ] = None,
) -> None:
    """Be a worker until a signal ends it."""
    if not os.environ.get("PREFECT_API_URL"):
        sys.exit(f"worker: {NO_SERVER}")
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        sys.exit("worker: set MLFLOW_TRACKING_URI, or every checkout has a registry of its own")
    order = command(pool, name=name, limit=limit)
    os.execve(order[0], order, environment(project_root()))


if __name__ == "__main__":
    typer.run(main)

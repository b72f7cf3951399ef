"""A real Prefect server on loopback, started once a session, and process workers that run what is deployed to it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from flows import process, servers, temporary, worker
from tests.projects import ROOT, Project

PYTHON = sys.executable
PATIENCE_SECONDS = 240.0
"""A run that is made of many processes takes minutes where others use the machine too."""


def patient() -> requests.Session:
    """Return what asks again, as Prefect's own client does, where the server's database is busy."""
    session = requests.Session()
    again = Retry(total=8, status_forcelist=[503], allowed_methods=None, backoff_factor=0.2, raise_on_status=False)
    session.mount("http://", HTTPAdapter(max_retries=again))
    return session


def wait_until(true: Callable[[], Any], what: str, *, seconds: float = PATIENCE_SECONDS) -> Any:
    """Return what `true` returns once it is anything; the test fails when that takes too long."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, f"not in {seconds:g} seconds: {what}"
        time.sleep(0.2)
    return found


class PrefectServer:
    """The server of this session: its API, and the settings of whoever talks to it.

    Args:
        port: where it listens.
        home: the folder with its database.
    """

    def __init__(self, port: int, home: Path) -> None:
        self.port, self.home = port, home
        self.api = f"http://{servers.HOST}:{port}/api"
        self._deployed: tuple[Path, dict[str, str]] | None = None

    def begin(self) -> None:
        """Start the server, and wait until it answers."""
        settings = process.environment() | {
            "PREFECT_HOME": str(self.home),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
            # How long a run waits before it asks again for the place of another; 30 by default.
            "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "2",
            "PREFECT_SERVER_UI_API_URL": self.api,
        }
        settings.pop("PREFECT_API_URL", None)
        with (self.home / "server.log").open("ab") as output:
            command = servers.prefect_command(self.port)
            self._group = process.Group(command, folder=self.home, environment=settings, output=output)
        wait_until(lambda: servers.answers(f"{self.api}/health"), f"the Prefect server answers ({self.home})")

    def end(self) -> None:
        """End the server."""
        self._group.end()

    def restart(self) -> None:
        """End the server and start it on the same port and database."""
        self.end()
        self.begin()

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a client of this server."""
        return {"PREFECT_API_URL": self.api, "PREFECT_HOME": str(self.home), "DO_NOT_TRACK": "1"}

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Return the API's answer to a body posted to a path."""
        answer = patient().post(f"{self.api}/{path}", json=body or {}, timeout=20)
        assert answer.ok, answer.text
        return answer.json() if answer.content else None

    def get(self, path: str) -> Any:
        """Return what the API has at a path."""
        answer = patient().get(f"{self.api}/{path}", timeout=20)
        assert answer.ok, answer.text
        return answer.json()

    def deploy(self, project: Project, **variables: str) -> str:
        """Deploy a project's prefect.yaml, as `make deploy` does with these variables, and return what it says."""
        said = project.run(PYTHON, "-m", "flows.deploy", environment=self.environment | variables).stdout
        self._deployed = (project.root, variables)
        return said

    def deploy_once(self, project: Project, **variables: str) -> None:
        """Deploy a project unless it is what was deployed last: that takes ten seconds."""
        if self._deployed != (project.root, variables):
            self.deploy(project, **variables)

    def start(self, deployment: str, parameters: dict[str, Any] | None = None) -> str:
        """Start a run of a deployment, called `flow/name`, and return its id."""
        found = self.get(f"deployments/name/{deployment}")
        run = self.post(f"deployments/{found['id']}/create_flow_run", {"parameters": parameters or {}})
        return str(run["id"])

    def run(self, run: str) -> dict[str, Any]:
        """Return a flow run."""
        found: dict[str, Any] = self.get(f"flow_runs/{run}")
        return found

    def ended(self, run: str, *, seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """Return a flow run once it has ended."""
        final = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
        try:
            wait_until(lambda: self.run(run)["state_type"] in final, f"{run} ends", seconds=seconds)
        except AssertionError as error:
            error.add_note(f"{self.run(run)['state']}\n{self.log(run)}")
            raise
        return self.run(run)

    def cancel(self, run: str) -> None:
        """Cancel a run, as the button in the UI does."""
        self.post(f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})

    def log(self, run: str) -> str:
        """Return the log of a run and of its tasks."""
        wanted = {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC", "limit": 200}
        lines: list[dict[str, Any]] = []
        while page := self.post("logs/filter", wanted | {"offset": len(lines)}):
            lines += page
        return "\n".join(line["message"] for line in lines)

    def tasks(self, run: str) -> list[dict[str, Any]]:
        """Return the task runs of a run."""
        found: list[dict[str, Any]] = self.post("task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})
        return found

    def artifacts(self, run: str) -> dict[str, dict[str, Any]]:
        """Return the artifacts of a run by their keys."""
        found = self.post("artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}}})
        return {each["key"]: each for each in found}


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """Start a Prefect server on a free port; with pytest-xdist one a process, so that no test sees another's runs."""
    server = PrefectServer(servers.free_port(), tmp_path_factory.mktemp("prefect-server"))
    server.begin()
    try:
        yield server
    finally:
        temporary.say_the_rest(seconds=PATIENCE_SECONDS)
        server.end()


@dataclass
class Worker:
    """A running worker, whose checkouts and caches are its own: as on another machine."""

    group: process.Group
    folder: Path

    @property
    def pid(self) -> int:
        """The worker's process."""
        return self.group.child.pid

    @property
    def log(self) -> str:
        """What it has said."""
        return (self.folder / "worker.log").read_text(encoding="utf-8")


@contextmanager
def working(
    server: PrefectServer,
    pool: str,
    folder: Path,
    *,
    environment: dict[str, str] | None = None,
    limit: int | None = None,
) -> Iterator[Worker]:
    """Run a worker of a pool, which keeps all that it has in `folder`; it ends with the block, and its runs too."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{folder.name}-{pool}"
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "DVC_", "LIKEWISE_", "PREFECT_"))}
    settings = worker.environment(ROOT) | {
        **server.environment,
        "LIKEWISE_WORKSPACES": str(folder / "workspaces"),
        "LIKEWISE_CHECKPOINTS": str(folder / "checkpoints"),
        "LIKEWISE_DECODED": str(folder / "decoded"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder.parent / 'mlflow.db'}",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "PREFECT_WORKER_QUERY_SECONDS": "1",
    }
    with (folder / "worker.log").open("ab") as output:
        group = process.Group(
            worker.command(pool, name=name, limit=limit),
            folder=folder,
            environment=kept | settings | (environment or {}),
            output=output,
        )
        one = servers.Server(name, group, folder / "worker.log")
        try:
            wait_until(lambda: online(server, pool, name), f"worker {name} is there")
            yield Worker(group, folder)
        finally:
            servers.end([one])


def online(server: PrefectServer, pool: str, name: str) -> bool:
    """Tell whether a worker has said that it is there."""
    answer = requests.post(f"{server.api}/work_pools/{pool}/workers/filter", json={}, timeout=20)
    return answer.ok and any(each["name"] == name and each["status"] == "ONLINE" for each in answer.json())

"""What the flow `retrain` adds to a stage beside a bare `dvc repro`, and how soon an idle worker takes a run.

python -m benchmarks.flows

A real Prefect server on loopback, a real worker, real `dvc`; the stages are those of the tests' stub, which take no
time. The server's start is not counted; the start of the flow's own process is, and its calls of the registry.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks import timing
from flows.servers import free_port
from flows.worker import QUERY_SECONDS
from likewise.config import STAGES
from tests import stub
from tests.prefect_server import PYTHON, PrefectServer, working

MADE = ("dvc.lock", "data", "reports", ".dvc/cache", ".dvc/tmp")
"""What a run leaves in the project: without it the next one starts from nothing."""

BARE, FLOW = ("dvc", "repro"), (PYTHON, "-m", "flows.retrain")
BY_HAND = ("sh", "-c", " && ".join(f"dvc repro --pull -s {name} && dvc push --run-cache" for name in STAGES))
RETRAIN = "retrain/retrain"
ADDED = f"what retrain adds to each of {len(STAGES)} stages that take no time"


class Bench:
    """The stub project beside a server.

    Args:
        folder: where the project is made.
        server: a server that runs.
    """

    def __init__(self, folder: Path, server: PrefectServer) -> None:
        self.folder, self.server = folder, server
        self.project = stub.make_stub(folder / "stub", epochs=1)
        self.config = self.project.root / ".dvc/config"
        self.pushes = self.config.read_text(encoding="utf-8")
        self.environment = server.environment | stub.environment(folder, STUB_SECONDS="0")
        self.environment["PYTHONPATH"] = str(self.project.root / "src")

    def seconds(self, *command: str, remote: bool = False) -> float:
        """Run a command as if nothing had ever run here, with a DVC remote or without one, and return its seconds."""
        self.config.write_text(self.pushes if remote else self.pushes.replace("remote = shelf", ""), encoding="utf-8")
        made = [self.project.root / name for name in MADE]
        for path in (*made, self.folder / "stub/remote", self.folder / "ran.txt"):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        taken = timing.seconds(lambda: self.project.run(*command, environment=self.environment))
        if sorted(stub.ran(self.folder)) != sorted(STAGES):
            raise SystemExit(f"{' '.join(command)} ran {stub.ran(self.folder)}, not every stage once")
        return taken

    def added(self, *, repeats: int) -> list[dict[str, Any]]:
        """Return what the flow adds to a stage: the difference to the peer in the same turn."""
        turns = [self.turn() for _ in range(repeats + 1)][1:]
        return [
            _line("nothing pushed", "dvc repro, a stage", [(flow, bare) for bare, _, flow, _ in turns]),
            _line("each pushed", "dvc repro, a stage", [(flow, bare) for bare, _, _, flow in turns]),
            _line(
                "each pushed", "dvc repro and dvc push by hand, a stage", [(flow, hand) for _, hand, _, flow in turns]
            ),
        ]

    def turn(self) -> tuple[float, float, float, float]:
        """Return the seconds of dvc repro, of dvc stage by stage with a push each, and of the flow without and with."""
        return (
            self.seconds(*BARE),
            self.seconds(*BY_HAND, remote=True),
            self.seconds(*FLOW),
            self.seconds(*FLOW, remote=True),
        )

    def picked_up(self, *, repeats: int) -> list[dict[str, Any]]:
        """Return how long a run waits for a worker that has nothing to do, and for its own process."""
        self.config.write_text(self.pushes, encoding="utf-8")
        self.server.deploy(self.project)
        variables = stub.environment(self.folder) | {"PREFECT_WORKER_QUERY_SECONDS": QUERY_SECONDS}
        with working(self.server, "cpu", self.folder / "worker", environment=variables):
            waits = [self.waits() for _ in range(repeats + 1)][1:]
        until = ("an idle worker takes a run that was made", "the flow of that run has begun")
        return [
            {"work": f"until {what}", "peer_name": "-", "ours": timing.summary([each[number] for each in waits])}
            for number, what in enumerate(until)
        ]

    def waits(self) -> tuple[float, float]:
        """Return how long after it was made a run was taken by the worker, and ran."""
        run = self.server.start(RETRAIN)
        made = datetime.fromisoformat(self.server.ended(run)["created"])
        states = self.server.get(f"flow_run_states/?flow_run_id={run}")
        at = {state["name"]: (datetime.fromisoformat(state["timestamp"]) - made).total_seconds() for state in states}
        return at["Pending"], at["Running"]


def _line(how: str, peer: str, pairs: list[tuple[float, float]]) -> dict[str, Any]:
    """Return a line about the difference of each pair of times, and the second of them, a stage."""
    return {
        "work": f"{ADDED}, {how}",
        "peer_name": peer,
        "ours": timing.summary([(flow - other) / len(STAGES) for flow, other in pairs]),
        "peer": timing.summary([other / len(STAGES) for _, other in pairs]),
    }


def main() -> None:
    """Measure, print the figures and write `benchmarks/results/flows.json`."""
    parser = argparse.ArgumentParser(description="Time retrain against dvc repro, and a worker.")
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    load = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "server").mkdir()
        server = PrefectServer(free_port(), folder / "server")
        server.begin()
        try:
            bench = Bench(folder, server)
            lines = bench.added(repeats=asked.repeats) + bench.picked_up(repeats=asked.repeats)
        finally:
            server.end()
    load.append(os.getloadavg()[0])
    about = timing.machine("likewise", "dvc", "prefect")
    timing.write("flows", lines, machine=about, threads=1, load=load)


if __name__ == "__main__":
    main()

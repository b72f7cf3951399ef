"""The pipeline and the registry against real servers: MLflow's on PostgreSQL, killed and hung meanwhile; Prefect's."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from likewise import artifacts
from likewise.config import PARAMS_FILE, read_yaml
from likewise.delivery import card, dvc_lock, promotion, provenance, tracking
from likewise.delivery.registry import flatten, register
from likewise.delivery.tracker import Tracker
from tests.prefect_server import PrefectServer
from tests.projects import Project
from tests.servers import Server, database, tracking_server
from tests.small import RULE, Fresh, empty_store, evaluated, fresh, isolated
from tests.test_pipeline import stages_run

__all__ = ["database", "empty_store", "evaluated", "fresh", "isolated", "tracking_server"]

# Servers and stages import their libraries for a minute where others use the machine too.
pytestmark = pytest.mark.timeout(900)

EPOCHS = 40
GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org")


@pytest.fixture
def server(tracking_server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Return the session's MLflow server, alive, as the tracking server of this process too."""
    if not tracking_server.answers():
        tracking_server.start(health="/health")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_server.address)
    return tracking_server


def named(project: Project, name: str, **changes: str) -> Project:
    """Give the project's model a name of its own, and change other lines of its params."""
    params = project.root / "params.yaml"
    text = params.read_text(encoding="utf-8")
    for old, new in {"  name: likewise": f"  name: {name}", **changes}.items():
        assert old in text
        text = text.replace(old, new, 1)
    params.write_text(text, encoding="utf-8")
    return project


def run_of(client: MlflowClient, name: str) -> Run:
    return client.get_run(str(client.get_model_version(name, "1").run_id))


def runs(client: MlflowClient, *, but: Sequence[Run] = ()) -> list[Run]:
    """Return all runs that the server has, but those."""
    known = {run.info.run_id for run in but}
    found = client.search_runs([each.experiment_id for each in client.search_experiments()])
    return [run for run in found if run.info.run_id not in known]


def steps(client: MlflowClient, run: Run, name: str = "loss") -> list[int]:
    return sorted(metric.step for metric in client.get_metric_history(run.info.run_id, name))


def test_a_server_that_is_killed_in_mid_training_costs_no_epoch_and_register_alone_is_run_again(
    copy_of_finished: Callable[[], Project], server: Server
) -> None:
    project = named(copy_of_finished(), "killed", **{"epochs: 4": f"epochs: {EPOCHS}"})
    at_server = {"MLFLOW_TRACKING_URI": server.address}
    client = MlflowClient(server.address)
    before = runs(client)
    with project.start("dvc", "repro", environment=at_server) as child:
        assert child.stdout is not None
        lines, killed = [], False
        for line in child.stdout:
            lines.append(line)
            # As soon as it has an epoch: what the machine did meanwhile is known to nobody else.
            if not killed and line.startswith("train: epoch"):
                killed = any(steps(client, run) for run in runs(client, but=before))
                if killed:
                    server.signal(signal.SIGKILL)
        child.wait(timeout=120)
    log = "".join(lines)
    assert child.returncode != 0
    assert stages_run(log) == ["train", "evaluate", "export", "register"]
    assert log.count("train: MLflow cannot be reached (") == 1
    epochs = artifacts.HISTORY.read(project.root)["epoch"].tolist()
    assert len(epochs) > 4
    (told,) = [line for line in lines if line.startswith("register: ")]
    assert told.startswith("register: MLflow: ")
    assert told.endswith("; run `likewise register` again\n")
    assert "Traceback" not in log

    server.start(health="/health")
    again = project.run("dvc", "repro", environment=at_server).stdout
    assert stages_run(again) == ["register"]
    run = run_of(client, "killed")
    assert run.info.status == "FINISHED"
    assert "likewise.rebuilt" not in run.data.tags
    assert steps(client, run) == epochs
    assert steps(client, run, "val_eer") == epochs
    check_run(client, run, project.root)


def check_run(client: MlflowClient, run: Run, root: Path) -> None:
    """Check that the run tells what a person compares runs by, and that the server has its files."""
    assert run.info.run_name.startswith("digits conv triplet ")
    tags = run.data.tags
    assert (tags["likewise.kind"], tags["likewise.git_dirty"]) == ("image", "true")
    assert tags["likewise.data_hash"] == artifacts.sha256(root / artifacts.SAMPLES.path)
    assert tags["mlflow.source.git.commit"]
    assert run.data.params["train.loss"] == "triplet"
    assert 1 in steps(client, run, "system/process_memory_usage_megabytes")
    assert run.inputs is not None
    (data,) = run.inputs.dataset_inputs
    locked = dvc_lock.read(root / "dvc.lock", only="ingest")["ingest"]
    assert data.dataset.digest == next(out.md5 for out in locked.outs if out.path == "data/ingest")
    assert run.info.artifact_uri is not None
    assert run.info.artifact_uri.startswith("mlflow-artifacts:")
    assert {found.path for found in client.list_artifacts(run.info.run_id, "reports")} >= {"reports/report.html"}


def test_a_server_that_hangs_in_mid_training_costs_less_than_ten_seconds_in_all(
    tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    history = [{"epoch": epoch, "loss": 1 / epoch} for epoch in range(1, 13)]
    with Tracker(tmp_path, "hung", params={}) as tracker:
        tracker.log_epochs(history[:1])
        assert tracker._ask(wait=30)
        server.signal(signal.SIGSTOP)
        start = time.monotonic()
        for done in range(2, 13):
            tracker.log_epochs(history[:done])
        in_between = time.monotonic() - start
    assert in_between < 1
    assert time.monotonic() - start < 10
    assert len(capsys.readouterr().err.splitlines()) == 1
    server.signal(signal.SIGCONT)
    client = tracking.connect(server.address)
    run = tracking.find_run(client, tracking.experiment_id(client, tmp_path), "hung")
    assert run is not None
    with Tracker(tmp_path, "hung", params={}) as tracker:
        tracker.log_epochs(history)
    assert steps(client, run) == list(range(1, 13))
    assert client.get_run(run.info.run_id).info.status == "FINISHED"


def test_a_fresh_registry_is_filled_from_a_clone_with_its_lock(
    copy_of_finished: Callable[[], Project], server: Server, tmp_path: Path
) -> None:
    project = named(copy_of_finished(), "cloned")
    project.run("dvc", "commit", "-f", "register")
    project.run(*GIT, "add", "dvc.lock", "params.yaml")
    project.run(*GIT, "commit", "-qm", "Locked")
    clone = Project(tmp_path / "clone", tmp_path / "checkpoints")
    project.run("git", "clone", "-q", str(project.root), str(clone.root))
    clone.run("dvc", "cache", "dir", "--local", str(project.root / ".dvc/cache"))
    clone.run("dvc", "checkout")
    at_server = {"MLFLOW_TRACKING_URI": server.address}
    assert stages_run(clone.run("dvc", "repro", environment=at_server).stdout) == []
    # Nothing else is printed, to neither stream.
    made = json.loads(clone.run("likewise", "register", "--json", environment=at_server).stdout)
    assert (made["version"], made["created"], made["aliases"]) == (1, True, ["champion"])
    client = MlflowClient(server.address)
    run, version = run_of(client, "cloned"), client.get_model_version("cloned", "1")
    commit = clone.run("git", "rev-parse", "HEAD").stdout.strip()
    assert run.data.tags["likewise.rebuilt"] == "true"
    assert run.data.tags["mlflow.source.git.commit"] == version.tags["likewise.git_commit"] == commit
    told = provenance.tags(clone.root, flatten(artifacts.METRICS.read(clone.root)))
    assert told.items() <= version.tags.items()
    assert str(version.description).startswith(card.render(clone.root).rstrip() + "\n\n## ")
    assert steps(client, run) == [1, 2, 3, 4]
    assert run.inputs is not None
    assert run.inputs.dataset_inputs[0].dataset.digest.endswith(".dir")


def test_what_is_longer_than_the_columns_of_postgresql_is_cut_and_registers(fresh: Fresh, server: Server) -> None:
    root, name = fresh(), "long" + "g" * 196
    params = read_yaml(root / PARAMS_FILE)
    params["ingest"]["split"]["hold_out"] = [f"Größe {number}" for number in range(2000)]
    (root / PARAMS_FILE).write_text(json.dumps(params), encoding="utf-8")
    metrics = artifacts.METRICS.read(root)
    for number in (1, 2):
        artifacts.METRICS.write(metrics | {"again": number}, root)
        assert register(root, name=name, rule=RULE).version == number
    reasons = [f"{number} " + "ü" * 6000 for number in range(4)]
    for number, reason in enumerate(reasons):
        reigns = int(MlflowClient(server.address).get_model_version_by_alias(name, "champion").version)
        promotion.promote(root, name=name, version=3 - reigns, reason=reason)
        version = MlflowClient(server.address).get_model_version(name, str(3 - reigns))
        assert version.tags["likewise.gate.reason"].startswith(f"by hand: {number} üü")
        assert len(version.tags["likewise.gate.reason"]) == promotion.TAG
        page = str(version.description)
        assert page.startswith(card.render(root).rstrip())
        assert f"by hand: {number} üü" in page
        assert len(page) <= card.PAGE


REGISTER = """
import sys
from pathlib import Path
from likewise.delivery.registry import RegistryError, register
from tests.small import RULE
try:
    done = register(Path(sys.argv[1]), name="both", rule=RULE)
except RegistryError as error:
    sys.exit(f"refused: {error}")
print(done.version)
"""


def test_of_two_registrations_at_once_the_second_is_judged_against_the_first_or_told_to_come_again(
    fresh: Fresh, server: Server, tmp_path: Path
) -> None:
    roots = [fresh(), tmp_path / "other"]
    shutil.copytree(roots[0], roots[1], symlinks=True)
    metrics = artifacts.METRICS.read(roots[1])
    metrics["verification"]["accuracy"] = 0.25
    artifacts.METRICS.write(metrics, roots[1])
    children = [run_python(REGISTER, str(root)) for root in roots]
    ended = [child.communicate(timeout=240) for child in children]
    for child, (output, error) in zip(children, ended, strict=True):
        assert child.returncode == 0 or "another process" in error, output + error
    assert any(child.returncode == 0 for child in children)
    for child, root in zip(children, roots, strict=True):
        if child.returncode != 0:
            repeated = run_python(REGISTER, str(root))
            assert repeated.communicate(timeout=240)[1] == ""
            assert repeated.returncode == 0
    client = MlflowClient(server.address)
    found = {int(each.version): each for each in client.search_model_versions("name = 'both'")}
    assert sorted(found) == [1, 2]
    against = {number: each.tags["likewise.gate.against"] for number, each in found.items()}
    first = next(number for number, other in against.items() if other == "none")
    assert against[3 - first] == str(first)
    champion = client.get_model_version_by_alias("both", "champion")
    assert int(champion.version) == (first if found[3 - first].tags["likewise.gate"] == "kept" else 3 - first)


def run_python(code: str, *words: str, **environment: str) -> subprocess.Popen[str]:
    """Start a piece of Python that knows the tests, too."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        cwd=Path(__file__).parents[1],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


HOLD = """
import sys, time
from pathlib import Path
from likewise.delivery import turns
with turns.one_at_a_time(Path(sys.argv[1]), shared=True):
    print(time.time(), flush=True)
    time.sleep(1.5)
    print(time.time(), flush=True)
"""


def test_where_servers_are_shared_prefects_limit_lets_one_decide_after_the_other(
    tmp_path: Path, prefect_server: PrefectServer
) -> None:
    # Two checkouts, as on two machines: their file locks do not know each other.
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    children = [run_python(HOLD, str(tmp_path / name), **prefect_server.environment) for name in ("one", "other")]
    ended = [child.communicate(timeout=120) for child in children]
    limit = prefect_server.get("v2/concurrency_limits/likewise-registry")
    assert [error for _, error in ended] == ["", ""]
    held = sorted(tuple(map(float, output.split())) for output, _ in ended)
    assert held[0][1] <= held[1][0]
    assert (limit["limit"], limit["active_slots"], limit["active"]) == (1, 0, True)

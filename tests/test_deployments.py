"""prefect.yaml: what a person sees of each deployment, and what `make deploy` makes of it on a real server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prefect import Flow, State, flow
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from prefect.flows import load_flow_from_entrypoint
from prefect.logging import get_run_logger
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Failed
from prefect.utilities.callables import parameter_schema

from flows import deploy, monitor, run
from flows.temporary import say_the_rest
from likewise.config import read_yaml
from likewise.evaluation.drift import Finding
from tests.prefect_server import PATIENCE_SECONDS, PYTHON, PrefectServer, wait_until
from tests.projects import ROOT, Project, make_project

DEPLOYMENTS: list[dict[str, Any]] = read_yaml(ROOT / "prefect.yaml")["deployments"]
NAMES = [str(each["name"]) for each in DEPLOYMENTS]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=NAMES)
def test_every_parameter_has_a_description(deployment: dict[str, Any]) -> None:
    flow: Flow[..., Any] = load_flow_from_entrypoint(str(ROOT / deployment["entrypoint"]), use_placeholder_flow=False)
    assert flow.name == deployment["name"]
    assert deployment["work_pool"]["name"] in deploy.POOLS
    assert deployment["description"]
    assert "likewise" in deployment["tags"]
    for name, described in parameter_schema(flow.fn).properties.items():
        assert described.get("description"), f"{deployment['name']}: {name} is not in the docstring"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_project(tmp_path_factory.mktemp("deployments"))


@pytest.fixture(scope="module")
def said(prefect_server: PrefectServer, project: Project) -> str:
    """Return what deploying the project says."""
    return prefect_server.deploy(project)


def test_deploy_makes_pools_forms_schedules_and_automations(
    prefect_server: PrefectServer, project: Project, said: str
) -> None:
    assert str(project.root) in said
    retrain = prefect_server.get("deployments/name/retrain/retrain")
    assert retrain["global_concurrency_limit"]["limit"] == 1
    assert retrain["concurrency_options"]["collision_strategy"] == "ENQUEUE"
    assert [each["schedule"]["cron"] for each in retrain["schedules"]] == ["0 2 * * *"]
    form = retrain["parameter_openapi_schema"]["properties"]
    assert form["train_on"]["enum"] == ["auto", "gpu", "here"]
    assert "Git commit to run" in form["commit"]["description"]
    pools = {pool["name"]: pool["concurrency_limit"] for pool in prefect_server.post("work_pools/filter")}
    assert pools == {"cpu": None, "gpu": 1}
    prefect_server.deploy(project)
    automations = prefect_server.post("automations/filter")
    assert sorted((each["name"], each["enabled"]) for each in automations) == [
        ("likewise: crashed without heartbeat", True),
        ("likewise: start crashed runs again", True),
        ("likewise: tell the webhook", False),
        ("retrain on drift", True),
    ]


def test_drift_starts_retrain(prefect_server: PrefectServer, said: str) -> None:
    @flow(name="monitor", persist_result=False)
    def drifted() -> None:
        finding = Finding("embeddings as a whole", 0.2, 0.005, 0.001, drifted=True)
        monitor.tell([finding], Path("drift.html"), name="likewise")

    deployment = prefect_server.get("deployments/name/retrain/retrain")["id"]
    wanted = {"deployments": {"id": {"any_": [deployment]}}}

    def started() -> list[dict[str, Any]]:
        runs = prefect_server.post("flow_runs/filter", wanted | {"limit": 200})
        return [run for run in runs if not run["auto_scheduled"]]

    before = {run["id"] for run in started()}
    with temporary_settings({PREFECT_API_URL: prefect_server.api}):
        drifted()
    (new,) = wait_until(lambda: [run for run in started() if run["id"] not in before], "retrain is to run", seconds=60)
    assert new["state_type"] == "SCHEDULED"
    assert new["parameters"] == {"why": "drift"}
    assert new["created_by"]["type"] == "AUTOMATION"
    assert new["created_by"]["display_value"] == "retrain on drift"
    prefect_server.cancel(new["id"])


def test_a_parameter_outside_its_range_is_refused(prefect_server: PrefectServer, said: str) -> None:
    with pytest.raises(AssertionError, match="Validation failed"):
        prefect_server.start("retrain/retrain", {"commit": "not a commit"})


def test_without_a_server_it_is_one_line(project: Project) -> None:
    said = project.run(PYTHON, "-m", "flows.deploy", code=1).stdout
    assert said == "deploy: no Prefect server: set PREFECT_API_URL, or start one with `make up`\n"
    nobody = {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
    said = project.run(PYTHON, "-m", "flows.deploy", code=1, environment=nobody).stdout
    assert said.startswith("deploy: no Prefect server answers at http://127.0.0.1:9/api")
    assert said.count("\n") == 1


def test_a_run_from_a_terminal_tells_its_log_and_its_end(
    prefect_server: PrefectServer, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "LAST_WORDS_SECONDS", 0.0)

    @flow(name="below", flow_run_name="train abc", persist_result=False)
    def below() -> None:
        get_run_logger().info("train: epoch 1")

    @flow(name="retrain", persist_result=False)
    def above(why: str, stage_hours: float) -> State[None]:
        get_run_logger().info("train: on pool gpu")
        below()
        return Failed(message="train: poisoned.png: not an image")

    with temporary_settings({PREFECT_API_URL: prefect_server.api}), get_client(sync_client=True) as client:
        started = run.start(client, "retrain", ["why=7", "stage_hours=2"])
        assert started.parameters == {"why": "7", "stage_hours": 2}
        # A worker's part.
        run_flow(above, flow_run=started, return_type="state")
        say_the_rest(seconds=PATIENCE_SECONDS)
        assert not run.follow(client, started)
        told = capsys.readouterr().out
        with pytest.raises(ValueError, match="unknown deployment 'retran'; known: retrain, "):
            run.start(client, "retran", [])
        with pytest.raises(ValueError, match="unknown parameter 'comit'; known: commit, "):
            run.start(client, "retrain", ["comit=1"])
        with pytest.raises(run.RunError, match="Validation failed for field 'commit'"):
            run.start(client, "retrain", ["commit=not a commit"])
    lines = told.splitlines()
    page = f"{prefect_server.api.removesuffix('/api')}/runs/flow-run/{started.id}"
    assert lines[0] == lines[-1] == page
    assert [line[10:] for line in lines[2:4]] == ["train: on pool gpu", "train abc | train: epoch 1"]
    assert lines[4:6] == [f"Failed: {started.name}", "  train: poisoned.png: not an image"]
    assert len(lines) == 7

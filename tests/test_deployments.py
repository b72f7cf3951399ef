"""prefect.yaml: what a person sees of each deployment, and what `make deploy` makes of it on a real server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prefect import Flow, flow
from prefect.flows import load_flow_from_entrypoint
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.utilities.callables import parameter_schema

from flows import deploy, monitor
from likewise.config import read_yaml
from likewise.evaluation.drift import Finding
from tests.prefect_server import PYTHON, PrefectServer, wait_until
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
    (run,) = wait_until(lambda: [run for run in started() if run["id"] not in before], "retrain is to run", seconds=60)
    assert run["state_type"] == "SCHEDULED"
    assert run["parameters"] == {"why": "drift"}
    assert run["created_by"]["type"] == "AUTOMATION"
    assert run["created_by"]["display_value"] == "retrain on drift"
    prefect_server.cancel(run["id"])


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

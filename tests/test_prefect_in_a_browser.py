"""What a person sees of the flows in Prefect's own pages: a deployment's form and its runs, and what a run leaves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from prefect import State, flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.flow_engine import run_flow
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.utilities.callables import parameter_schema

from flows import monitor, progress, summary
from flows.embed import embed, embed_shard
from flows.gc import gc
from flows.retrain import retrain
from flows.sweep import sweep
from flows.temporary import say_the_rest
from flows.train import train
from flows.trial import trial
from likewise import artifacts
from likewise.evaluation.drift import Finding
from tests.browser import Page, chromium
from tests.prefect_server import PATIENCE_SECONDS, PrefectServer

DONE = {
    "name": "likewise",
    "version": 3,
    "aliases": ["champion"],
    "created": True,
    "run_id": "abc",
    "metrics": {"verification.eer": 0.0125, "verification.eer_low": 0.01, "verification.eer_high": 0.02, "n": 20_000.0},
    "decision": "promoted: better by 0.004",
}
FINDING = Finding("unknown rate", 0.2, 0.05, 1e-9, drifted=True, reference=0.01, new=0.21)
LINE = "train: epoch   {}/4  loss 0.12500  val EER   1.250%  zero-loss  12.0%  1,234 samples/s  0:00:40 left"


@flow(name="seen", persist_result=False)
def seen(root: str) -> State[None]:
    """Leave on the server what retrain and monitor leave."""
    progress.Shown()(LINE.format(3))
    summary.publish(DONE, Path(root), changed="data changed")
    return monitor.tell([FINDING], Path(root) / "drift.html", name="likewise")


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("browser")) as page:
        yield page.size(1400, 1400)


@pytest.fixture(scope="module")
def run(prefect_server: PrefectServer, tmp_path_factory: pytest.TempPathFactory) -> FlowRun:
    """Return a run of a deployment that has left everything."""
    root = tmp_path_factory.mktemp("seen")
    artifacts.ROC.write(pd.DataFrame({"far": [0.0, 0.0, 0.1, 1.0], "tar": [0.0, 0.6, 1.0, 1.0]}), root)
    with (
        pytest.MonkeyPatch.context() as patch,
        temporary_settings({PREFECT_API_URL: prefect_server.api}),
        get_client(sync_client=True) as client,
    ):
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        deployment = client.create_deployment(client.create_flow(seen), "seen")
        started = client.create_flow_run_from_deployment(deployment, parameters={"root": str(root)})
        run_flow(seen, flow_run=started, parameters={"root": str(root)}, return_type="state")
        say_the_rest(seconds=PATIENCE_SECONDS)
        return client.read_flow_run(started.id)


def show(page: Page, server: PrefectServer, place: str, words: str, picture: Path) -> str:
    """Open a place of Prefect's pages, wait until it has these words, and return all that can be read."""
    page.open(f"{server.api.removesuffix('/api')}/{place}")
    page.until(f"document.body && document.body.innerText.includes({words!r})", seconds=60)
    page.picture(picture)
    return page.text()


def artifact(server: PrefectServer, run: FlowRun, key: str) -> str:
    return f"artifacts/artifact/{server.artifacts(str(run.id))[key]['id']}"


def test_the_form_describes_each_parameter_and_refuses_what_does_not_fit(
    opened: Page, prefect_server: PrefectServer, tmp_path: Path
) -> None:
    # The last is filled in below.
    for each in (embed, embed_shard, gc, monitor.monitor, sweep, train, trial, retrain):
        schema = parameter_schema(each.fn)
        with temporary_settings({PREFECT_API_URL: prefect_server.api}), get_client(sync_client=True) as client:
            made = client.create_deployment(
                client.create_flow(each),
                "form",
                parameter_openapi_schema=schema.model_dump(exclude_none=True),
                enforce_parameter_schema=True,
            )
        text = show(opened, prefect_server, f"deployments/deployment/{made}/run", "Validate", tmp_path / "form.png")
        for name, described in schema.properties.items():
            needed = "" if name in (schema.required or ()) else " (Optional)"
            assert f"{name}{needed}\n{described['description']}" in text
    fill = "t => { t.value = 'xyz'; t.dispatchEvent(new Event('input', {bubbles: true})); }"
    opened.evaluate(f"({fill})(document.querySelector('textarea'))")
    opened.evaluate("[...document.querySelectorAll('button')].find(b => b.innerText.trim() == 'Submit').click()")
    opened.until("document.body.innerText.includes(\"Validation failed for field 'commit'\")")


def test_a_deployment_shows_its_runs_with_what_came_of_them(
    opened: Page, prefect_server: PrefectServer, run: FlowRun, tmp_path: Path
) -> None:
    place = f"deployments/deployment/{run.deployment_id}"
    text = show(opened, prefect_server, place, "monitor likewise: drift: unknown rate", tmp_path / "deployment.png")
    assert "Completed" in text


def test_the_summary_shows_decision_links_and_figures(
    opened: Page, prefect_server: PrefectServer, run: FlowRun, tmp_path: Path
) -> None:
    place = artifact(prefect_server, run, summary.KEY)
    text = show(opened, prefect_server, place, "likewise version 3 (new)", tmp_path / "summary.png")
    for words in ("data changed", "Aliases: champion", "promoted: better by 0.004", "All other figures"):
        assert words in text
    rows = opened.evaluate("[...document.querySelectorAll('table tr')].map(r => [...r.cells].map(c => c.innerText))")
    assert rows[:2] == [["metric", "value", "95 % interval"], ["verification.eer", "0.0125", "0.01 to 0.02"]]
    assert ["n", "20,000", ""] in rows
    assert not [line for line in text.splitlines() if line.startswith(("|", "#"))]
    links = opened.evaluate("[...document.querySelectorAll('a')].map(a => a.href)")
    assert "http://127.0.0.1:9/#/models/likewise/versions/3" in links


def test_the_roc_is_a_picture_and_its_address_stays_in_its_column(
    opened: Page, prefect_server: PrefectServer, run: FlowRun, tmp_path: Path
) -> None:
    show(
        opened, prefect_server, artifact(prefect_server, run, summary.ROC_KEY), "ROC on the test", tmp_path / "roc.png"
    )
    picture = "document.querySelector('img[src^=data]')"
    opened.until(f"{picture} && {picture}.complete && {picture}.naturalWidth > 400")
    links = "[...document.querySelectorAll('a')].filter(a => a.href.startsWith('data:'))"
    edges = opened.evaluate(f"{links}.map(a => a.getBoundingClientRect().right)")
    assert 0 < max(edges) < 1200


def test_drift_is_a_table_of_words_and_progress_says_how_far_it_is(
    opened: Page, prefect_server: PrefectServer, run: FlowRun, tmp_path: Path
) -> None:
    text = show(opened, prefect_server, artifact(prefect_server, run, "drift"), "unknown rate", tmp_path / "drift.png")
    assert "drift: unknown rate" in text
    rows = opened.evaluate("[...document.querySelectorAll('table tr')].map(r => [...r.cells].map(c => c.innerText))")
    assert rows[0] == ["what", "reference", "new", "difference", "matters from", "p, corrected", "drifted"]
    assert rows[1] == ["unknown rate", "1.0%", "21.0%", "0.200", "0.05", "below 0.0001", "yes"]
    place = artifact(prefect_server, run, progress.KEY)
    text = show(opened, prefect_server, place, "epoch 3 of 4", tmp_path / "progress.png")
    assert "epoch 3 of 4: loss 0.12500, val EER 1.250%, 1,234 samples/s, 0:00:40 left" in text
    assert "75%" in text

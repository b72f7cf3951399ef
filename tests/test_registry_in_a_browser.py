"""The registry's pages as a person opens them: from a real MLflow server, in a real browser."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flows.servers import free_port
from likewise import artifacts
from likewise.delivery import tracking
from likewise.delivery.registry import register
from tests.browser import Page, chromium
from tests.small import RULE, empty_store, evaluated, set_apart

__all__ = ["empty_store", "evaluated"]

START_SECONDS = 120.0


@contextmanager
def server(store: str) -> Iterator[str]:
    """Give the address of an MLflow server of a store, on loopback, for as long as the block lasts."""
    port = free_port()
    words = ["--backend-store-uri", store, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    with subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", *words],
        env=environment | {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"},
        cwd=Path(store.removeprefix(tracking.SQLITE)).parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as own:
        try:
            yield _up(own, f"http://127.0.0.1:{port}")
        finally:
            os.killpg(own.pid, signal.SIGKILL)


def _up(own: subprocess.Popen[Any], address: str) -> str:
    deadline = time.monotonic() + START_SECONDS
    while True:
        assert own.poll() is None, "the MLflow server ended"
        assert time.monotonic() < deadline, "the MLflow server did not start"
        try:
            urllib.request.urlopen(f"{address}/health", timeout=5).close()
        except OSError:
            time.sleep(0.3)
        else:
            return address


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, evaluated: Path, empty_store: Path) -> Path:
    """Return a project with a champion and a challenger that was kept out."""
    root = tmp_path_factory.mktemp("browsed") / "project"
    shutil.copytree(evaluated, root, symlinks=True)
    shutil.copy2(empty_store, root)
    with set_apart(root.parent):
        register(root, name="likewise", rule=RULE)
        metrics = artifacts.METRICS.read(root)
        metrics["verification"]["accuracy"] = 0.25
        artifacts.METRICS.write(metrics, root)
        register(root, name="likewise", rule=RULE)
    return root


@pytest.fixture(scope="module")
def opened(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Page, str]]:
    with server(tracking.tracking_uri(project)) as address, chromium(tmp_path_factory.mktemp("browser")) as page:
        yield page.size(1400, 1000), address


def show(opened: tuple[Page, str], place: str, words: str, picture: Path) -> str:
    """Open a place of MLflow's page, wait until it has these words, and return all that can be read."""
    page, address = opened
    # A change after the # alone loads nothing.
    page.open("about:blank").open(f"{address}/#{place}")
    page.until(f"document.body && document.body.innerText.includes({words!r})", seconds=90)
    page.picture(picture)
    return page.text()


def test_the_versions_page_shows_its_card_aliases_and_decisions(
    opened: tuple[Page, str], project: Path, tmp_path: Path
) -> None:
    text = show(opened, "/models/likewise/versions/1", "are these two images the same?", tmp_path / "version.png")
    verification = artifacts.METRICS.read(project)["verification"]
    for words in ("Version 1", "champion", "Thresholds", "Hardest errors", "How to load it", "Decisions"):
        assert words in text
    assert f"{verification['eer']:.2%}" in text
    assert "It kept its place against version 2" in text
    # Tables are tables and code is code: no Markdown is left to be read.
    assert not [line for line in text.splitlines() if line.startswith(("|", "#", "```"))]
    assert opened[0].evaluate("document.querySelectorAll('table').length") >= 4
    assert "likewise.train_key" in text
    assert "verification.dcf_rare" not in text


def test_the_models_page_lists_versions_with_their_aliases(opened: tuple[Page, str], tmp_path: Path) -> None:
    text = show(opened, "/models/likewise", "Version 2", tmp_path / "model.png")
    for words in ("Version 1", "champion", "challenger", "Tells whether two samples are of the same class"):
        assert words in text


def test_the_models_of_the_experiment_show_all_figures(opened: tuple[Page, str], project: Path, tmp_path: Path) -> None:
    client = tracking.connect(tracking.tracking_uri(project))
    version = client.get_model_version("likewise", "1")
    experiment = client.get_run(str(version.run_id)).info.experiment_id
    model = str(version.source).removeprefix("models:/")
    place = f"/experiments/{experiment}/models/{model}?workflowType=machine_learning"
    text = show(opened, place, "verification.eer", tmp_path / "figures.png")
    assert "verification.dcf_rare" in text
    assert "Not registered" not in text
    text = show(
        opened, f"/experiments/{experiment}/models?workflowType=machine_learning", "Ready", tmp_path / "models.png"
    )
    assert "likewise" in text


def test_the_experiment_opens_in_the_mode_that_shows_runs(
    opened: tuple[Page, str], project: Path, tmp_path: Path
) -> None:
    client = tracking.connect(tracking.tracking_uri(project))
    run = client.get_run(str(client.get_model_version("likewise", "1").run_id))
    place = f"/experiments/{run.info.experiment_id}?workflowType=machine_learning"
    text = show(opened, place, str(run.info.run_name), tmp_path / "runs.png")
    assert "matching run" in text

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from likewise.delivery import store, turns
from likewise.delivery.store import RegistryError
from likewise.delivery.turns import one_at_a_time


def test_one_of_a_checkout_waits_for_the_other_and_an_experiment_for_its_project(tmp_path: Path) -> None:
    came: list[str] = []
    experiment = tmp_path / ".dvc/tmp/exps/tmpabc"
    experiment.mkdir(parents=True)

    def other() -> None:
        with one_at_a_time(experiment, shared=False):
            came.append("other")

    with one_at_a_time(tmp_path, shared=False):
        thread = threading.Thread(target=other)
        thread.start()
        time.sleep(0.3)
        came.append("one")
    thread.join(10)
    assert came == ["one", "other"]


@pytest.mark.parametrize("shared", [True, False])
def test_prefect_is_asked_for_where_the_registry_is_shared_and_it_is_set(
    shared: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(turns, "_hold_limit", asked.append)
    with one_at_a_time(tmp_path, shared=shared):
        assert not asked
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    with one_at_a_time(tmp_path, shared=shared):
        assert len(asked) == shared


def test_a_prefect_that_is_not_there_is_said_and_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/api"
    monkeypatch.setenv("PREFECT_API_URL", address)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    with one_at_a_time(tmp_path, shared=True):
        (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"Prefect at {address} cannot be reached (")
    assert line.endswith("; if one decides at the same time, one of the two is told so")


class Limit:
    """In place of Prefect's: does not come, or breaks when it is let go."""

    def __init__(self, *, come: Exception | None = None, go: Exception | None = None) -> None:
        self.come, self.go, self.options = come, go, {}  # type: ignore[var-annotated]

    def __call__(self, name: str, **options: Any) -> Limit:
        self.options = options | {"name": name}
        return self

    def __enter__(self) -> None:
        if self.come:
            raise self.come

    def __exit__(self, *_: object) -> None:
        if self.go:
            raise self.go


def hold(limit: Limit, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.concurrency import sync

    monkeypatch.setenv("PREFECT_API_URL", "http://there/api")
    monkeypatch.setattr(turns, "_make_limit", lambda: None)
    monkeypatch.setattr(sync, "concurrency", limit)


def test_a_turn_that_does_not_come_is_one_line_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = Limit(come=TimeoutError("slots"))
    hold(limit, monkeypatch)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with (
        pytest.raises(
            RegistryError, match=r"likewise-registry for 10 minutes; .*; then run `likewise register` again$"
        ),
        store.in_turn(tmp_path, again="likewise register"),
    ):
        pytest.fail("it was not our turn")
    assert (limit.options["name"], limit.options["strict"]) == ("likewise-registry", True)


def test_a_prefect_that_goes_away_meanwhile_does_not_undo_what_was_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hold(Limit(go=RuntimeError("gone")), monkeypatch)
    done = []
    with one_at_a_time(tmp_path, shared=True):
        done.append(1)
    assert done
    assert capsys.readouterr().err.startswith("Prefect at http://there/api cannot be reached (gone)")

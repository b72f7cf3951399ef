"""Trials on a pool as the sweep sees them: what a run shows and how it ends, told to the study. No server here."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState
from prefect.states import AwaitingRetry, Cancelled, Completed, Crashed, Failed, Running

from flows import study as studies
from flows import sweep_pool, trial
from likewise.stages import sweep_params

PARAMS: dict[str, Any] = {
    "trials": 9,
    "seed": 0,
    "random": 4,
    "prune_after": 1,
    "prune_epoch": 2,
    "space": {"margin": {"low": 0.1, "high": 0.9}},
    "variants": [],
}


class Server:
    """A Prefect server with one run: its state, and the tables that it shows."""

    def __init__(self) -> None:
        self.state: Any = Running()
        self.tables: dict[str, list[dict[str, float]]] = {}
        self.asked: list[Any] = []

    def read_flow_run(self, _: UUID) -> Any:
        return SimpleNamespace(state=self.state)

    def read_artifacts(self, **_: Any) -> list[Any]:
        return [SimpleNamespace(type="table", key=key, data=json.dumps(rows)) for key, rows in self.tables.items()]

    def set_flow_run_state(self, _: UUID, state: Any) -> None:
        self.asked.append(state)


class Recorded:
    """Keeps what is said of trials to MLflow."""

    def __init__(self) -> None:
        self.said: list[tuple[int, str]] = []

    def trial(self, number: int, *, pruned: str = "") -> None:
        self.said.append((number, pruned))


class Watched:
    """A study with one whole trial, whose EER was 0.2, 0.15 and 0.1, and a second that runs on the server."""

    def __init__(self) -> None:
        params = sweep_params.Params.model_validate(PARAMS)
        self.study = studies.Study(params, {"margin": 0.2}, key="k", storage=InMemoryStorage())
        first, second = self.study.ask(9), self.study.ask(9)
        assert first is not None
        assert second is not None
        for epoch, val_eer in enumerate((0.2, 0.15, 0.1), 1):
            self.study.report(first.number, epoch, val_eer)
        self.study.complete(first.number, 0.1)
        self.number = second.number
        self.server, self.record = Server(), Recorded()
        self.one = sweep_pool.Running(SimpleNamespace(id=uuid4(), name="trial"))  # type: ignore[arg-type]

    def shows(self, *course: float) -> None:
        self.server.tables[trial.COURSE] = [{"epoch": i, "val_eer": eer} for i, eer in enumerate(course, 1)]

    def look(self) -> bool:
        return sweep_pool.look(self.server, self.study, self.record, self.number, self.one)  # type: ignore[arg-type]

    @property
    def trial(self) -> Any:
        return self.study.trial(self.number)


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_a_whole_trial(watched: Watched) -> None:
    assert not watched.look()
    watched.shows(0.1)
    assert not watched.look()
    watched.shows(0.1, 0.08)
    watched.server.tables[trial.RESULT] = [{"val_eer": 0.0712, "epoch": 3}]
    watched.server.state = Completed()
    assert watched.look()
    assert (watched.trial.state, watched.trial.value) == (TrialState.COMPLETE, 0.0712)
    assert watched.trial.intermediate_values == {1: 0.1, 2: 0.08}
    assert watched.server.asked == []
    assert watched.record.said == [(1, ""), (1, "")], "once when it shows itself, once at its end"


def test_a_hopeless_trial_is_cancelled_once(watched: Watched) -> None:
    watched.shows(0.9)
    assert not watched.look()
    watched.shows(0.9, 0.3)
    assert not watched.look()
    assert [state.type for state in watched.server.asked] == ["CANCELLING"]
    watched.shows(0.9, 0.3, 0.2)
    assert not watched.look()
    assert len(watched.server.asked) == 1
    watched.server.state = Cancelled()
    assert watched.look()
    assert watched.trial.state == TrialState.PRUNED
    assert watched.trial.user_attrs[studies.REASON].startswith("ended after epoch 2: EER on val 30.000%")
    assert watched.record.said[-1][1].startswith("ended after epoch 2")


def test_a_trial_that_was_whole_before_the_cancel_came_is_whole(watched: Watched) -> None:
    watched.shows(0.9, 0.3)
    watched.look()
    watched.server.tables[trial.RESULT] = [{"val_eer": 0.25, "epoch": 3}]
    watched.server.state = Completed()
    assert watched.look()
    assert (watched.trial.state, watched.trial.value) == (TrialState.COMPLETE, 0.25)


def test_a_crashed_trial_may_be_started_again(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("flows.sweep_pool.time.monotonic", lambda: now[0])
    watched.server.state = Crashed()
    assert not watched.look()
    now[0] = 40.0
    assert not watched.look()
    watched.server.state = AwaitingRetry()
    assert not watched.look()
    watched.server.state = Crashed(message="no heartbeat")
    now[0] = 90.0
    assert not watched.look(), "it has its minute again"
    now[0] = 151.0
    assert watched.look()
    assert watched.trial.state == TrialState.FAIL
    assert watched.trial.user_attrs[studies.REASON] == "the run trial ended as Crashed: no heartbeat"


@pytest.mark.parametrize("state", [Failed(message="out of memory"), Cancelled(message="by hand")])
def test_what_ended_badly_is_told_with_its_reason(state: Any, watched: Watched) -> None:
    watched.server.state = state
    assert watched.look()
    assert watched.trial.state == TrialState.FAIL
    assert state.message in watched.trial.user_attrs[studies.REASON]

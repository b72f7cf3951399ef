"""A run looks for its own cancel, and its commands are ended only when nobody else has done that for a while."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from prefect.states import Cancelled, Cancelling, Completed, Running

from flows import late_cancel, process


class Server:
    """Answers with one state after another; an error is a server that is away."""

    def __init__(self, *answers: Any) -> None:
        self.answers = iter(answers)
        self.said: list[str] = []

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read_flow_run(self, _: object) -> Any:
        answer = next(self.answers)
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(state=answer)

    def set_flow_run_state(self, _: object, state: Any, *, force: bool) -> None:
        assert force
        self.said.append(state.type.value)


@pytest.mark.parametrize(
    ("answers", "ends"),
    [
        ([Running(), Cancelling(), Cancelling()], True),
        ([OSError("away"), Cancelling(), OSError("away"), Cancelling(), Cancelling()], True),
        ([Cancelling(), Cancelled()], False),
        ([Cancelling(), Running(), Cancelling(), Completed()], False),
    ],
)
def test_a_cancel_counts_as_missed_after_two_looks(
    answers: list[Any], ends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(*answers)
    monkeypatch.setattr(late_cancel, "get_client", lambda **_: server)
    monkeypatch.setattr(late_cancel, "_missed", threading.Event())
    late_cancel.follow(uuid4(), seconds=0)
    assert bool(late_cancel.missed()) == ends
    assert server.said == (["CANCELLED"] if ends else [])


def test_a_silent_command_is_ended_with_the_reason(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(300)"]
    lines = process.lines(command, folder=tmp_path, environment=process.environment(), stop=lambda: "cancelled, late")
    with pytest.raises(process.ProcessError, match="cancelled, late") as caught:
        list(lines)
    assert caught.value.code == process.STOPPED


def test_a_run_without_a_worker_has_nobody_who_cancels_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_cancel, "follow", lambda _: threading.Event().wait())
    late_cancel.watch()
    assert "late-cancel" not in {thread.name for thread in threading.enumerate()}

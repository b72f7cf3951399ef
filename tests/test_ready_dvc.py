"""DVC that is imported once: what a command is, is what it is in a process of its own (real DVC, stages of a line)."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from flows import process, ready_dvc
from flows.ready_dvc import ReadyDvc
from tests.projects import over

STAGES = {
    "says": "echo $GIVEN; printf rest",
    "reads": "cat",
    "refuses": "echo said; exit 2",
    "leaves": "sleep 300 >/dev/null 2>&1 & echo $!",
    "waits": "echo $$; sleep 300",
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DVC project whose stages are never up to date."""
    folder = tmp_path_factory.mktemp("project")
    subprocess.run(["dvc", "init", "-q", "--no-scm"], cwd=folder, env=process.environment(), check=True)
    stages = "".join(f"  {name}:\n    cmd: '{cmd}'\n    always_changed: true\n" for name, cmd in STAGES.items())
    (folder / "dvc.yaml").write_text(f"stages:\n{stages}", encoding="utf-8")
    return folder


@pytest.fixture
def dvc(root: Path) -> Iterator[ReadyDvc]:
    one = ReadyDvc(root)
    yield one
    one.end()


def program(dvc: ReadyDvc) -> psutil.Process:
    assert dvc._group is not None
    return psutil.Process(dvc._group.child.pid)


def stage(name: str) -> list[str]:
    return ["repro", "--single-item", name]


def test_each_command_says_what_it_says_alone(dvc: ReadyDvc, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIVEN", "first")
    # The first of all makes dvc.lock, and says so.
    _, alone = (
        list(process.lines(["dvc", *stage("says")], folder=root, environment=process.environment())) for _ in "12"
    )
    assert list(dvc.lines(stage("says"))) == alone
    assert "first" in alone
    by = program(dvc)
    monkeypatch.setenv("GIVEN", "second")
    assert "second" in list(dvc.lines(stage("says")))
    assert program(dvc) == by, "one program does both"


def test_a_stage_does_not_read_the_commands_after_it(dvc: ReadyDvc) -> None:
    for _ in range(2):
        assert "> cat" in list(dvc.lines(stage("reads"), seconds=60))


def test_a_command_that_fails_quotes_its_last_lines_and_the_next_is_done(dvc: ReadyDvc) -> None:
    with pytest.raises(process.ProcessError, match=r"(?s)said.*exited with 2") as caught:
        list(dvc.lines(stage("refuses")))
    assert caught.value.code == 255
    with pytest.raises(process.ProcessError, match=r"ERROR: .*nothing\.dvc' does not exist") as caught:
        list(dvc.lines(["checkout", "nothing.dvc"]))
    assert caught.value.code == 255
    assert "rest" in " ".join(dvc.lines(stage("says")))


def test_a_program_that_was_killed_is_started_again(dvc: ReadyDvc) -> None:
    list(dvc.lines(stage("says")))
    program(dvc).kill()
    program(dvc).wait(10)
    assert "rest" in " ".join(dvc.lines(stage("says")))


def test_nothing_that_a_stage_leaves_behind_outlives_it(dvc: ReadyDvc) -> None:
    said = list(dvc.lines(stage("leaves")))
    left = next(int(line) for line in said if line.isdigit())
    assert not psutil.pid_exists(left) or over(psutil.Process(left))


def test_a_command_that_is_no_longer_wanted_is_ended_with_its_stage(dvc: ReadyDvc) -> None:
    stream = dvc.lines(stage("waits"))
    shell = psutil.Process(next(int(line) for line in stream if line.isdigit()))
    begin = time.monotonic()
    stream.close()
    assert time.monotonic() - begin < 10
    assert over(shell)


def test_a_command_that_takes_too_long_is_ended_and_says_so(dvc: ReadyDvc) -> None:
    with pytest.raises(process.ProcessError, match="dvc repro --single-item waits: ended after 3 seconds") as caught:
        list(dvc.lines(stage("waits"), seconds=3))
    assert caught.value.code == process.TIMED_OUT


def test_it_is_for_the_commands_of_dvc_in_its_project_and_ends_with_the_block(root: Path, tmp_path: Path) -> None:
    def children() -> list[psutil.Process]:
        return [each for each in psutil.Process().children() if "dvc_forks.py" in " ".join(each.cmdline())]

    with ready_dvc.ready(root):
        assert list(ready_dvc.lines(["echo", "said"], root)) == ["said"]
        with pytest.raises(process.ProcessError, match="not inside of a DVC repository"):
            list(ready_dvc.lines(["dvc", *stage("says")], tmp_path))
        assert children() == []
        assert "rest" in " ".join(ready_dvc.lines(["dvc", *stage("says")], root))
        assert len(children()) == 1
    assert children() == []
    assert "rest" in " ".join(ready_dvc.lines(["dvc", *stage("says")], root))
    assert children() == []


def test_where_a_fork_is_not_safe_each_command_is_a_process(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    with ready_dvc.ready(root):
        assert "rest" in " ".join(ready_dvc.lines(["dvc", *stage("says")], root))
        assert ready_dvc._ready == []

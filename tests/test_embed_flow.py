"""The embed flow: in this process and side by side against a real server, killed in the middle, and by words."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import arguments, embed, shards
from likewise.delivery import arrivals, parts
from likewise.delivery.loading import load
from tests import small
from tests.data.pictures import encoded
from tests.delivery.untrained import picture, write_model
from tests.prefect_server import PrefectServer
from tests.projects import ROOT

PATHS = os.pathsep.join([str(ROOT), str(ROOT / "src")])


@pytest.fixture
def project(tmp_path: Path, prefect_server: PrefectServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project with a model in `model` and 40 new files in `data/new`, two of them copies and one no picture."""
    root = small.make(tmp_path / "project", data=False)
    write_model(root / "model")
    new = root / "data/new"
    new.mkdir(parents=True)
    for number in range(37):
        (new / f"{number:02}.png").write_bytes(encoded(picture(number)))
    for name, content in {"37.png": picture(0), "38.png": picture(1)}.items():
        (new / name).write_bytes(encoded(content))
    (new / "39.png").write_bytes(b"no picture")
    monkeypatch.chdir(root)
    monkeypatch.setenv("PYTHONPATH", PATHS)
    with temporary_settings({PREFECT_API_URL: prefect_server.api}):
        yield root


def rows(root: Path) -> pd.DataFrame:
    (folder,) = (root / "data/embed").glob("model=*")
    return pd.concat([pd.read_parquet(file) for file in (folder / "parts").glob("*.parquet")])


def test_each_content_once_by_two_processes_and_nothing_new_after(project: Path, prefect_server: PrefectServer) -> None:
    state = embed.embed(model="model", shards=2, files_per_part=8, return_state=True)
    assert state.message == "40 files: 39 embedded (37 different), 0 known already, 1 in quarantine"
    found = rows(project)
    assert len(found) == found["hash"].nunique() == 37
    shown = prefect_server.artifacts(str(state.state_details.flow_run_id))
    assert "| embedded now | 39 |" in shown["embed-summary"]["data"]
    assert "39.png" in shown["embed-quarantine"]["data"]
    name = prefect_server.run(str(state.state_details.flow_run_id))["name"]
    assert name == "embed: 39 new of 40 files"
    (folder,) = (project / "data/embed").glob("model=*")
    assert load(folder / "index").search(project / "data/new/07.png", 1)[0].id == "07.png"
    again = embed.embed(model="model", shards=2, return_state=True)
    assert (again.name, again.is_completed()) == ("Completed", True)
    assert again.message == "40 files: nothing new, 39 known already, 1 in quarantine"


def test_a_shard_that_fails_is_told_and_the_others_are_kept(project: Path) -> None:
    order = shards.Order("data/new", "data/embed", "model", shards=2, files_per_part=4)
    found = arrivals.scan(embed.opened(order), arrivals.seen_before(Path(order.out)))
    arrivals.remember(found, Path(order.out))
    bad = shards.Order("data/gone", "data/embed", "model", number=1, shards=2)
    failed = shards.side_by_side([order, bad], project, watch=lambda: None)
    assert failed == ["embed: data/gone does not exist: put the data there, or give the path of the data"]
    (folder,) = (project / "data/embed").glob("model=*")
    assert len(parts.Pile(folder, parts.EMBEDDED).hashes(staged=True)) > 4


def test_shards_end_with_their_caller(project: Path) -> None:
    """A run that is killed leaves no process; what its shards had staged is not embedded again."""
    order = shards.Order("data/new", "data/embed", "model", files_per_part=1)
    arrivals.remember(arrivals.scan(embed.opened(order), arrivals.seen_before(Path(order.out))), Path(order.out))
    code = "from pathlib import Path; from flows.shards import Order, side_by_side; side_by_side([{}], {}, watch=int)"
    command = [sys.executable, "-c", code.format(order, "Path.cwd()")]
    child = os.spawnve(os.P_NOWAIT, sys.executable, command, {**os.environ})
    deadline = time.monotonic() + 120
    while not list(project.glob("data/embed/model=*/staged/*/*.parquet")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    state = embed.embed(model="model", return_state=True)
    assert state.is_completed()
    found = rows(project)
    assert len(found) == found["hash"].nunique() == 37


def test_a_second_run_at_once_a_missing_folder_and_a_missing_model_are_one_line(project: Path) -> None:
    with embed.alone(project / "data/embed"):
        state = embed.embed(model="model", return_state=True)
    assert state.is_failed()
    assert str(state.message).endswith("data/embed: another run embeds into it; wait for its end")
    state = embed.embed(path="data/gone", model="model", return_state=True)
    assert "data/gone does not exist" in str(state.message)
    state = embed.embed(model="nowhere", return_state=True)
    assert "nowhere/model.json: missing" in str(state.message)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["shards"], "embed: given 'shards'; each parameter is name=value: path, out, table"),
        (["shard=2"], "embed: unknown parameter 'shard'; known: shards, "),
        (["shards=0"], "greater than or equal to 1"),
    ],
)
def test_what_is_wrong_on_the_command_line_is_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        arguments.call(embed.embed, words)
    assert caught.value.code == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("embed: ")]
    assert len(error) == 1
    assert said in error[0]


def test_the_words_reach_the_flow(project: Path) -> None:
    arguments.call(embed.embed, ["model=model", "files_per_part=16", "out=data/elsewhere"])
    assert len(list(project.glob("data/elsewhere/model=*/parts/*.parquet"))) == 3

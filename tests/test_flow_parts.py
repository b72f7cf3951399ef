"""The parts of the flows that need no server: what changed, progress, the summary, checkouts."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import pandas as pd
import pytest
from rich.console import Console

from flows import changes, progress, remote, stages, summary, workspace
from likewise.learning.training import Epoch
from likewise.stages import progress as stage_progress

OUTPUTS = ["data/ingest", "models/train"]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({}, ""),
        ({"ingest": [{"changed deps": {"data/raw": "modified"}}]}, "data changed"),
        ({"faces.zip.dvc": [{"changed deps": {"https://host/faces.zip": "update available"}}]}, "data changed"),
        ({"ingest": [{"changed deps": {"params.yaml": "new", "src/likewise/config.py": "modified"}}]}, "first run"),
        ({"train": [{"changed deps": {"params.yaml": {"train.epochs": "modified"}}}]}, "params changed: train.epochs"),
        (
            {"train": [{"changed deps": {"params.yaml": {f"train.{key}": "modified" for key in "dcba"}}}]},
            "params changed: train.a, train.b, train.c ...",
        ),
        (
            {
                "train": [{"changed deps": {"src/likewise/runtime.py": "modified", "data/ingest": "modified"}}],
                "ingest": [{"changed deps": {"faces": "modified"}}, {"changed outs": {"data/ingest": "modified"}}],
            },
            "data and code changed",
        ),
        ({"train": [{"changed outs": {"models/train": "deleted"}}]}, "outputs missing"),
        ({"evaluate": [{"changed deps": {"models/train": "deleted"}}]}, "outputs missing"),
    ],
)
def test_why_a_run_runs(found: dict[str, Any], said: str) -> None:
    assert changes.reason(found, OUTPUTS) == said


@pytest.mark.parametrize(("code", "lasting"), [(1, False), (2, True), (247, False), (-9, False)])
def test_only_what_was_refused_would_fail_again(tmp_path: Path, code: int, lasting: bool) -> None:
    said = f"failed to run: python -m likewise.stages.pairs, exited with {code}"
    with pytest.raises(stages.StageError, match=said) as caught:
        stages.run(["sh", "-c", f"echo '{said}'; exit 1"], tmp_path, quiet=True)
    assert caught.value.lasting == lasting


def test_an_error_has_no_words_for_a_person_at_a_terminal(tmp_path: Path) -> None:
    full = "ERROR: unexpected error - [Errno 28] No space left on device"
    with pytest.raises(stages.StageError) as caught:
        stages.run(["sh", "-c", f"printf '{full}\n\nHaving any troubles? Ask.\n'; exit 255"], tmp_path, quiet=True)
    assert str(caught.value) == full


class Moves(progress.Shown):
    """Keeps what would be shown."""

    def __init__(self, times: list[float]) -> None:
        super().__init__(clock=iter(times).__next__)
        self.shown: list[tuple[float, str]] = []

    def _show(self, percent: float, description: str) -> None:
        self.shown.append((percent, description))


def line(epoch: int, epochs: int) -> str:
    """Return what the stage prints, by its own code."""
    console = Console(width=400, highlight=False)
    with console.capture() as captured, stage_progress.shown(epochs, console=console) as show:
        show(Epoch(epoch, 0.125, 0.25, 0.5, 0.003, 1.0, 0.2))
    return captured.get()


def test_progress_moves_with_the_lines_of_the_stage() -> None:
    moves = Moves([0.0, 0.0, 0.5, 2.0, 2.0, 2.1])
    moves("Running stage 'train':")
    moves(line(1, 4))
    moves(line(2, 4))  # too soon after the other
    moves("train: epoch   3/4  step 5/10  loss 0.10000  1,234 samples/s  0:02:40 left")
    moves(line(4, 4))  # the last is always shown
    assert [percent for percent, _ in moves.shown] == [25.0, 62.5, 100.0]
    assert moves.shown[0][1].startswith("epoch 1 of 4: loss 0.12500, val EER 25.000%, 0 samples/s, ")
    assert moves.shown[1][1] == "epoch 3 of 4: loss 0.10000, val EER 25.000%, 1,234 samples/s, 0:02:40 left"


DONE: dict[str, Any] = {
    "name": "likewise",
    "version": 3,
    "aliases": ["champion"],
    "created": True,
    "run_id": "abc",
    "metrics": {"a.b": 0.5, "verification.eer": 0.01234, "verification.eer_low": 0.01, "verification.eer_high": 0.02},
    "decision": "promoted: better by 0.004",
}


def test_the_summary_tells_version_decision_and_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    text = summary.markdown(DONE, tmp_path, changed="data changed")
    assert text.startswith("# likewise version 3 (new)\n\nWhy: data changed. Aliases: champion.\n\n")
    assert "Decision: promoted: better by 0.004." in text
    assert "|\n| verification.eer | 0.01234 | 0.01 to 0.02 |\n\n## All other figures\n\n| metric " in text
    assert text.endswith("| a.b | 0.5 |  |\n")
    assert "make ui" in text


def test_the_summary_links_to_a_tracking_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9/")
    text = summary.markdown(DONE, tmp_path, changed="")
    assert "[the version](http://127.0.0.1:9/#/models/likewise/versions/3)" in text
    assert "nothing changed, so no stage ran" in text


def test_the_roc_is_a_picture_inside_its_url() -> None:
    url = summary.picture(pd.DataFrame({"far": [0.0, 0.0, 1.0], "tar": [0.0, 1.0, 1.0]}))
    kind, data = url.split(",", 1)
    assert kind == "data:image/svg+xml"
    assert not set(data) & set('<>"#\n')
    svg = ElementTree.fromstring(unquote(data))
    (curve,) = (each for each in svg if each.get("class") == "line one")
    corners = [tuple(map(float, each.split(","))) for each in str(curve.get("points")).split()]
    (left, bottom), (_, top), (right, _) = corners
    assert left < right
    assert top < bottom
    assert corners[1] == (left, top)


def test_the_summary_has_what_the_stage_decided_before_the_registry_was_asked() -> None:
    there = DONE | {"created": False, "decision": ""}
    said = "Running stage 'register':\nregister: new version likewise 3 (champion)\nregister: promoted: no champion\n"
    done = summary.as_said(there, said)
    assert (done["created"], done["decision"]) == (True, "promoted: no champion")
    assert summary.as_said(there, "") == there
    assert summary.as_said(DONE, "register: already there: likewise 3 (champion)")["decision"] == DONE["decision"]


def test_params_are_told_by_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "params.yaml").write_text("train: {epochs: 6, margin: 0.2, seed: 1}\n", encoding="utf-8")
    lock = "stages:\n  train:\n    cmd: x\n    params:\n      params.yaml:\n        train: {epochs: 12, margin: 0.2}\n"
    (tmp_path / "dvc.lock").write_text(lock, encoding="utf-8")
    told = '{"train": [{"changed deps": {"params.yaml": {"train": "modified"}, "data/ingest": "deleted"}}, "command"]}'
    monkeypatch.setattr("flows.stages.run", lambda *_, **__: told)
    found = changes.status(tmp_path)
    assert found["train"][0]["changed deps"]["data/ingest"] == "deleted"
    assert changes.reason(found, OUTPUTS) == "params changed: train.epochs, train.seed"


def test_two_runs_at_once_get_two_checkouts_and_a_free_one_is_used_again(tmp_path: Path) -> None:
    hold = f"from flows import workspace; from pathlib import Path; print(workspace.claim(Path({str(tmp_path)!r})).name"
    root = Path(__file__).parents[1]

    def claim(then: str) -> subprocess.Popen[str]:
        code = f"{hold}, flush=True); {then}"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        return subprocess.Popen([sys.executable, "-c", code], cwd=root, text=True, **pipes)  # type: ignore[call-overload,no-any-return]

    # The first becomes another program, as Prefect's does, and keeps its checkout.
    with claim("import os; os.execv('/bin/cat', ['cat'])") as first, claim("input()") as second:
        assert first.stdout is not None
        assert second.stdout is not None
        assert {first.stdout.readline(), second.stdout.readline()} == {"1\n", "2\n"}
        first.communicate("")
        second.communicate("\n")
    with claim("pass") as third:
        assert third.communicate()[0] == "1\n"


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    return subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def test_a_checkout_gets_the_commit_and_keeps_what_dvc_knows(tmp_path: Path) -> None:
    origin, folder = tmp_path / "origin", tmp_path / "1"
    origin.mkdir()
    git(origin, "init", "-q", "-b", "main")
    for text in ("one", "two"):
        (origin / "code.py").write_text(text, encoding="utf-8")
        (origin / "dvc.lock").write_text(f"committed {text}", encoding="utf-8")
        git(origin, "add", "-A")
        git(origin, "commit", "-qm", text)
    first = git(origin, "rev-parse", "HEAD~1")
    workspace.update(folder, str(origin), "main", "")
    assert (folder / "code.py").read_text(encoding="utf-8") == "two"
    (folder / "dvc.lock").write_text("what is on disk here", encoding="utf-8")
    (folder / "code.py").write_text("left by a killed run", encoding="utf-8")
    (folder / "rubbish").touch()
    workspace.update(folder, str(origin), "main", first)
    assert (folder / "code.py").read_text(encoding="utf-8") == "one"
    assert (folder / "dvc.lock").read_text(encoding="utf-8") == "what is on disk here"
    assert not (folder / "rubbish").exists()


@pytest.mark.parametrize(
    ("moved", "branch", "commit", "said"),
    [
        (False, "main", "deadbeef", "has no commit deadbeef; was it pushed?"),
        (False, "mian", "", "origin has no branch mian"),
        (True, "main", "", "git ls-remote .*origin main: .*does not appear to be a git repository"),
    ],
)
def test_what_is_wrong_elsewhere_costs_no_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: bool, branch: str, commit: str, said: str
) -> None:
    monkeypatch.setenv("LIKEWISE_WORKSPACES", str(tmp_path / "places"))
    monkeypatch.delenv("LIKEWISE_DVC_REMOTE", raising=False)
    origin = tmp_path / "origin"
    (origin / ".dvc").mkdir(parents=True)
    (origin / ".dvc/config").touch()
    git(origin, "init", "-q", "-b", "main")
    git(origin, "add", "-A")
    git(origin, "commit", "-qm", "one")
    claimed = workspace.places_of(str(origin)) / "1"
    monkeypatch.setattr(workspace, "claim", lambda places: places.mkdir(parents=True, exist_ok=True) or claimed)
    folder = workspace.check_out(str(origin), "main", "")
    (folder / "dvc.lock").touch()
    if moved:
        origin.rename(tmp_path / "elsewhere")
    with pytest.raises(workspace.WantedError, match=said):
        workspace.check_out(str(origin), branch, commit)
    assert (folder / "dvc.lock").exists()
    # What git left half done does cost it.
    if not moved:
        (folder / ".git/index.lock").touch()
        assert not (workspace.check_out(str(origin), "main", "") / "dvc.lock").exists()


def test_checkouts_of_another_repository_lie_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LIKEWISE_WORKSPACES", str(tmp_path))
    one, other = (workspace.places_of(f"https://host/{who}/likewise.git") for who in ("a", "b"))
    assert one != other
    assert one.parent == tmp_path
    assert one.name.startswith("likewise-")
    assert os.fspath(workspace.places_of("https://host/a/likewise.git")) == os.fspath(one)


def test_an_error_of_ours_is_said_once_and_without_a_stack() -> None:
    def record(message: str, error: Exception | None = None) -> logging.LogRecord:
        caught = None if error is None else (type(error), error, None)
        return logging.LogRecord("prefect.flow_runs", logging.ERROR, "file", 1, message, (), caught)

    ours = stages.StageError("pairs: a.png: not an image")
    first = record(f"Encountered exception during execution: {ours!r}", ours)
    last = record(
        "Finished in state Failed('Flow run encountered an exception: StageError: pairs: a.png: not an image')"
    )
    other = record("Encountered exception during execution: KeyError('a')", KeyError("a"))
    for each in (first, last, other):
        assert stages.OwnLines().filter(each)
    assert (first.getMessage(), first.exc_info) == ("pairs: a.png: not an image", None)
    assert last.getMessage() == "Finished in state Failed"
    assert other.exc_info is not None
    assert "KeyError" in other.getMessage()


def test_the_remote_is_named_without_a_password(tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    config, local = tmp_path / ".dvc/config", tmp_path / ".dvc/config.local"
    config.write_text("[core]\n    analytics = false\n['remote \"spare\"']\n    url = /spare\n", encoding="utf-8")
    assert not remote.is_set(tmp_path)
    config.write_text("[core]\n    remote = shelf\n['remote \"shelf\"']\n    url = /shelf\n", encoding="utf-8")
    assert remote.is_set(tmp_path)
    assert remote.name(tmp_path) == "shelf (/shelf)"
    local.write_text("[core]\n    remote = own\n['remote \"own\"']\n    url = https://me:pw@host/a\n", encoding="utf-8")
    said = remote.complaint("push to", tmp_path, "ERROR: failed to transfer 'x' - Forbidden")
    assert said == "push to the DVC remote own (https://host/a) failed: Forbidden"


def test_what_is_owed_to_the_remote_is_remembered_until_it_is_pushed(tmp_path: Path) -> None:
    assert not remote.owes(tmp_path)
    remote.owe(tmp_path)
    assert remote.owes(tmp_path)
    remote.paid(tmp_path)
    remote.paid(tmp_path)
    assert not remote.owes(tmp_path)


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "4000"])
def test_seconds_between_tries_are_seconds(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIKEWISE_RETRY_SECONDS", raising=False)
    assert remote.retry_seconds() == 2.0
    monkeypatch.setenv("LIKEWISE_RETRY_SECONDS", text)
    with pytest.raises(ValueError, match=f"LIKEWISE_RETRY_SECONDS is '{text}'"):
        remote.retry_seconds()

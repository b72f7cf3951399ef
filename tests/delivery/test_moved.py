from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from likewise.delivery import moved, tracking
from likewise.delivery.loading import download
from likewise.delivery.registry import Registered, register
from tests.small import RULE


@pytest.fixture
def elsewhere(registered: tuple[Path, Registered], tmp_path: Path) -> Path:
    """A registered project that was moved."""
    root = tmp_path / "moved"
    shutil.copytree(registered[0], root, symlinks=True)
    return root


def test_a_moved_store_is_noticed_and_put_right(
    registered: tuple[Path, Registered], elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = (registered[0] / "mlartifacts").as_uri()
    uri = tracking.tracking_uri(elsewhere)
    assert moved.left_behind(uri) == old
    assert moved.left_behind(tracking.tracking_uri(registered[0])) is None
    assert moved.put_right(uri) == old
    assert moved.left_behind(uri) is None
    assert moved.put_right(uri) is None
    with sqlite3.connect(elsewhere / "mlflow.db") as base:
        assert str(registered[0]) + "/" not in "\n".join(base.iterdump()).replace("mlflow.source.name", "")
    assert download("models:/likewise/1", elsewhere).is_dir()


def test_register_puts_it_right_and_finds_the_version(
    registered: tuple[Path, Registered], elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in (registered[0] / "mlartifacts").rglob("*")}
    done = register(elsewhere, name="likewise", rule=RULE)
    assert (done.version, done.created, done.run_id) == (1, False, registered[1].run_id)
    assert "the store was moved here from" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in (registered[0] / "mlartifacts").rglob("*")} == before


@pytest.mark.parametrize("uri", ["http://there:5000", "sqlite:////nowhere/mlflow.db", "postgresql://there/x"])
def test_only_a_store_in_a_file_is_looked_at(uri: str) -> None:
    assert moved.left_behind(uri) is None
    assert moved.put_right(uri) is None


def test_a_store_whose_artifacts_are_not_beside_it_is_left_alone(elsewhere: Path) -> None:
    shutil.rmtree(elsewhere / "mlartifacts")
    assert moved.left_behind(tracking.tracking_uri(elsewhere)) is None


def test_names_that_only_begin_alike_are_left_alone(elsewhere: Path) -> None:
    uri = tracking.tracking_uri(elsewhere)
    other = f"{moved.left_behind(uri)}-2/1/artifacts"
    with sqlite3.connect(elsewhere / "mlflow.db") as base:
        base.execute("UPDATE runs SET artifact_uri = ?", (other,))
    moved.put_right(uri)
    with sqlite3.connect(elsewhere / "mlflow.db") as base:
        assert base.execute("SELECT artifact_uri FROM runs").fetchall() == [(other,)]

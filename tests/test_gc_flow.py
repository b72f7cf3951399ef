"""The gc flow: nothing that a kept version needs is lost, and nothing at all by default."""

from __future__ import annotations

import importlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import gc
from likewise.delivery import tracking
from tests.delivery.stores import root
from tests.prefect_server import PrefectServer
from tests.projects import ROOT
from tests.small import empty_store

__all__ = ["empty_store", "root"]

LOCK = "schema: '2.0'\nstages:\n  ingest:\n    cmd: x\n    deps:\n    - path: raw\n      hash: md5\n      md5: {raw}\n"
OUTS = "    outs:\n    - path: out\n      hash: md5\n      md5: {out}\n"


@pytest.fixture
def project(root: Path, monkeypatch: pytest.MonkeyPatch, prefect_server: PrefectServer) -> Iterator[Path]:
    """A project whose cache holds the states 0 to 5 of two folders: 0 is tagged, 5 is what lies there."""
    repo = importlib.import_module("dvc.repo").Repo

    shutil.copy2(ROOT / "params.yaml", root)
    (root / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
    git(root, "init", "-q")
    (root / ".gitignore").write_text("/mlflow.db\n/mlartifacts/\n", encoding="utf-8")
    with repo.init(str(root)) as tracked:
        for state in range(6):
            for name in ("raw", "out"):
                (root / name).mkdir(exist_ok=True)
                for each in ("same", "own"):
                    (root / name / each).write_text(f"{name} {each} {state if each == 'own' else ''}", encoding="utf-8")
                tracked.add(str(root / name))
                shutil.copy2(root / f"{name}.dvc", root.parent / f"{name}-{state}.dvc")
            if state == 0:
                git(root, "add", "-A")
                git(root, "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "state 0")
                git(root, "tag", "v0")
    git(root, "add", "-A")
    git(root, "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "state 5")
    monkeypatch.chdir(root)
    monkeypatch.setenv("LIKEWISE_CHECKPOINTS", str(root.parent / "checkpoints"))
    with temporary_settings({PREFECT_API_URL: prefect_server.api}):
        yield root


def git(root: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=root, check=True, capture_output=True)


def md5(root: Path, name: str, state: int) -> str:
    text = (root.parent / f"{name}-{state}.dvc").read_text(encoding="utf-8")
    return text.split("md5: ")[1].split()[0]


def register(root: Path, state: int, *, alias: str = "", lock: bool = True) -> None:
    """Register a version that was made from a state of `raw`, and made one of `out`."""
    with tracking.in_use(tracking.tracking_uri(root)) as client:
        run = client.create_run(tracking.experiment_id(client, root)).info.run_id
        if lock:
            text = (LOCK + OUTS).format(raw=md5(root, "raw", state), out=md5(root, "out", state))
            client.log_text(run, text, "pipeline/dvc.lock")
        client.set_terminated(run)
        if not client.search_registered_models("name = 'likewise'"):
            client.create_registered_model("likewise")
        source = client.get_run(run).info.artifact_uri
        made = client.create_model_version("likewise", source, run_id=run, tags={"likewise.identity": str(state)})
        if alias:
            client.set_registered_model_alias("likewise", alias, made.version)


def restored(root: Path, name: str, state: int) -> bool:
    """Tell whether `dvc checkout` brings a state of a folder back."""
    shutil.copy2(root.parent / f"{name}-{state}.dvc", root / f"{name}.dvc")
    try:
        with importlib.import_module("dvc.repo").Repo(str(root)) as tracked:
            tracked.checkout([f"{name}.dvc"], force=True)
    except importlib.import_module("dvc.exceptions").CheckoutError:
        return False
    return (root / name / "own").read_text(encoding="utf-8") == f"{name} own {state}"


def test_a_dry_run_removes_nothing_and_then_nothing_kept_is_lost(project: Path, capsys: Any) -> None:
    for state, alias in ((1, "champion"), (2, ""), (3, "previous"), (4, "")):
        register(project, state, alias=alias)
    objects = {path for path in (project / ".dvc/cache").rglob("*") if path.is_file()}
    done: Any = gc.gc(last=1, days=0, return_state=True)
    assert str(done.message).endswith(" would go: a dry run")
    text = capsys.readouterr().out
    assert text == (project / ".likewise/gc.md").read_text(encoding="utf-8")
    assert "Kept versions: likewise 1 (champion), likewise 3 (previous), likewise 4" in text
    assert "| version | `likewise 2` | no alias, and not among the last | 0 B |" in text
    # Of state 2 each folder's list and its own file; what is the same in all states stays.
    assert "| cache | `4 objects` |" in text
    assert all(path.exists() for path in objects)
    done = gc.gc(last=1, days=0, dry=False, return_state=True)
    assert str(done.message).endswith(" gone")
    gone = {path.name for path in objects if not path.exists()}
    assert len(gone) == 4
    assert {md5(project, name, 2)[2:] for name in ("raw", "out")} <= gone
    for kept in (0, 1, 3, 4, 5):
        assert restored(project, "raw", kept), kept
        assert restored(project, "out", kept), kept
    assert not restored(project, "out", 2)


def test_a_version_that_does_not_say_what_it_needs_stops_the_cache_from_being_freed(project: Path) -> None:
    register(project, 1, alias="champion", lock=False)
    done: Any = gc.gc(dry=False, return_state=True)
    assert done.is_failed()
    assert str(done.message).endswith(
        "likewise 1 keeps no dvc.lock, so that nobody knows which data it needs: the DVC cache stays as it is with "
        "cache=false"
    )
    done = gc.gc(dry=False, cache=False, return_state=True)
    assert done.is_completed()


def test_another_checkout_with_the_same_cache_is_seen(tmp_path: Path) -> None:
    for name, cache in (("1", "/c"), ("2", "/c"), ("3", "/other")):
        (tmp_path / name / ".dvc").mkdir(parents=True)
        (tmp_path / name / ".dvc" / "config.local").write_text(f"[cache]\n    dir = {cache}\n", encoding="utf-8")
    (tmp_path / "4").mkdir()
    assert gc.sharing(tmp_path / "1", Path("/c")) == [tmp_path / "2"]


def test_every_hash_is_found_however_deep() -> None:
    content = {"stages": {"a": {"deps": [{"md5": "x"}], "outs": [{"path": "p", "md5": "y"}]}}, "outs": [{"etag": "z"}]}
    assert sorted(gc._hashes(content)) == ["x", "y"]

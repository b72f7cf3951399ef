from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from mlflow import MlflowClient

from likewise import artifacts
from likewise.delivery import lineage, lineage_text, promotion, provenance, tracking
from likewise.delivery.registry import register
from likewise.delivery.store import RegistryError
from tests.small import RULE, Fresh, set_apart

NAME = "likewise"
LOCK = """\
schema: '2.0'
stages:
  ingest:
    cmd: python -m ingest
    deps:
    - {path: src/likewise/config.py, md5: c0de}
    - {path: data/raw, hash: md5, md5: aaaa1.dir, size: 1800, nfiles: 2}
    outs:
    - {path: data/ingest, hash: md5, md5: bbbb2.dir, size: 9, nfiles: 4}
  train:
    cmd: python -m train
    deps:
    - {path: data/ingest, hash: md5, md5: bbbb2.dir, size: 9, nfiles: 4}
    outs:
    - {path: models/train, hash: md5, md5: MARK, size: 9, nfiles: 5}
"""
REGISTERED = "  register:\n    cmd: python -m register\n    deps:\n    - {path: models/train, md5: MARK}\n"


def git(root: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *words]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.strip()


def commit(root: Path, mark: str, *, ended: bool) -> None:
    """Write a dvc.lock: while `register` runs, or after it has ended."""
    text = LOCK + (REGISTERED if ended else "")
    (root / "dvc.lock").write_text(text.replace("MARK", mark), encoding="utf-8")


def another(root: Path, accuracy: float) -> None:
    """Make the project's model another version."""
    metrics = artifacts.METRICS.read(root)
    metrics["verification"]["accuracy"] = accuracy
    artifacts.METRICS.write(metrics, root)


def make_history(root: Path) -> Path:
    """Put a project into git: version 1 was registered before its commit, version 2 is not committed yet."""
    git(root, "init", "-q")
    (root / ".gitignore").write_text("mlflow.db*\nmlartifacts\n.likewise\nmodels\nreports\ndata\nsrc\n", "utf-8")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "Before")
    commit(root, "aaaa3.dir", ended=False)
    register(root, name=NAME, rule=RULE)
    commit(root, "aaaa3.dir", ended=True)
    git(root, "add", "-A")
    git(root, "commit", "-qm", "First")
    another(root, 0.25)
    commit(root, "cccc4.dir", ended=False)
    register(root, name=NAME, rule=RULE)
    promotion.promote(root, name=NAME, version=2, reason="to see")
    return root


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory, evaluated: Path, empty_store: Path) -> Path:
    """Return a project with a history, not to be changed."""
    root = tmp_path_factory.mktemp("history") / "project"
    shutil.copytree(evaluated, root, symlinks=True)
    shutil.copy2(empty_store, root)
    with set_apart(root.parent):
        return make_history(root)


@pytest.fixture
def own(fresh: Fresh) -> Path:
    """Return a project with a history, to change."""
    return make_history(fresh())


def test_a_version_tells_where_it_came_from(history: Path) -> None:
    first, head = lineage.of_version(history, "1", name=NAME), git(history, "rev-parse", "HEAD")
    assert (first.version, first.aliases, first.champions) == (1, ("previous",), ())
    assert (first.commit, first.committed, first.parent) == (head, "dvc.lock", git(history, "rev-parse", "HEAD~1"))
    assert first.raw is not None
    assert (first.raw.path, first.raw.md5, first.raw.files) == ("data/raw", "aaaa1.dir", 2)
    assert list(first.stages) == ["ingest", "train"]
    assert first.stages["train"].outs[0].md5 == "aaaa3.dir"
    assert first.hashes["weights"] == artifacts.file_sha256(history / artifacts.WEIGHTS.path)
    assert first.hashes["identity"] != provenance.identity(history)
    assert first.params["train"]["loss"] == "triplet"
    assert [told.split(";")[0] for told in first.decisions] == [
        "Against no champion: it became champion",
        "It kept its place against version 2",
        "It gave its place to version 2",
    ]
    assert first.commands == (
        f"export MLFLOW_TRACKING_URI=sqlite:///{history}/mlflow.db",
        f"git checkout {head}",
        "dvc repro",
        "likewise register",
    )
    assert first.notes == (
        "neither git nor DVC keeps the raw input: put it into data/raw (DVC's hash aaaa1.dir, 2 files)",
    )


def test_a_version_without_a_commit_says_so_and_is_made_again_from_itself(history: Path) -> None:
    second, head = lineage.of_version(history, "champion", name=NAME), git(history, "rev-parse", "HEAD")
    assert (second.version, second.commit, second.parent, second.champions) == (2, None, head, (1,))
    assert second.hashes["identity"] == provenance.identity(history)
    assert second.commands[1:] == (
        f"git checkout {head}",
        "mlflow artifacts download --artifact-uri models:/likewise/2 --dst-path ../likewise-2",
        "rm -r src/likewise && cp -r ../likewise-2/code/likewise src/",
        "cp ../likewise-2/artifacts/pipeline/dvc.yaml ../likewise-2/artifacts/pipeline/dvc.lock "
        "../likewise-2/artifacts/pipeline/params.yaml .",
        "dvc repro",
        "likewise register",
    )
    assert second.notes[0].startswith(f"no commit is known that holds its dvc.lock ({head} is the commit before it)")


def found_by(made: list[lineage.Made]) -> dict[int, tuple[str, ...]]:
    return {each.version: each.by for each in made}


def test_from_data_every_version_that_was_made_from_it(history: Path) -> None:
    assert found_by(lineage.of_data(history, "AAAA")) == {
        1: ("data/raw aaaa1.dir", "models/train aaaa3.dir"),
        2: ("data/raw aaaa1.dir",),
    }
    assert found_by(lineage.of_data(history, "cccc4.dir")) == {2: ("models/train cccc4.dir",)}
    samples = artifacts.sha256(history / artifacts.SAMPLES.path)
    assert found_by(lineage.of_data(history, samples[:10])) == dict.fromkeys((1, 2), (f"samples {samples}",))
    assert lineage.of_data(history, "0123456789abcdef") == []
    assert [each.aliases for each in lineage.of_data(history, "bbbb2")] == [("champion",), ("previous",)]


def test_from_a_commit_every_version_that_was_made_from_it(history: Path) -> None:
    head, before = git(history, "rev-parse", "HEAD"), git(history, "rev-parse", "HEAD~1")
    assert found_by(lineage.of_commit(history, "HEAD")) == {
        1: (f"commit {head}, which holds its dvc.lock",),
        2: (f"registered while {head} was checked out",),
    }
    assert found_by(lineage.of_commit(history, before[:8])) == {1: (f"registered while {before} was checked out",)}


def test_once_a_commit_holds_it_the_version_is_found_by_it_and_then_tagged(own: Path) -> None:
    commit(own, "cccc4.dir", ended=True)
    git(own, "commit", "-qam", "Second")
    assert lineage.of_version(own, "2", name=NAME).committed == "dvc.lock"
    register(own, name=NAME, rule=RULE)
    tagged = lineage.of_version(own, "2", name=NAME)
    assert (tagged.commit, tagged.committed) == (git(own, "rev-parse", "HEAD"), "tag")
    second = git(own, "rev-parse", "HEAD")
    assert found_by(lineage.of_commit(own, "HEAD")) == {2: (f"commit {second}",)}
    # Elsewhere git knows nothing, and the tags are what there is.
    assert found_by(lineage.of_commit(own, second[:7])) == {2: (f"commit {second}",)}


@pytest.mark.parametrize("wanted", ["abc", "", "no hash!", "a b c d e"])
def test_what_is_no_hash_is_refused(wanted: str) -> None:
    with pytest.raises(RegistryError, match="give at least the first 4 characters of a hash"):
        lineage.of_data(None, wanted)
    with pytest.raises(RegistryError, match="give at least the first 4 characters of a hash"):
        lineage.of_commit(None, wanted)


def test_a_version_of_before_that_keeps_nothing_is_told_by_its_run_and_tags(own: Path) -> None:
    for folder in own.glob("mlartifacts/**/artifacts/pipeline"):
        if folder.parent.parent.name == "artifacts":
            shutil.rmtree(folder)
    assert lineage.of_version(own, "1", name=NAME).raw is not None
    for folder in own.glob("mlartifacts/**/pipeline"):
        shutil.rmtree(folder)
    found = lineage.of_version(own, "1", name=NAME)
    assert (found.raw, found.stages, found.params, found.commit) == (None, {}, {}, None)
    assert "no dvc.lock was kept with this version" in found.notes[-1]
    text = lineage_text.of_version(found)
    assert "raw input  not known: no dvc.lock was kept" in text


def test_a_circle_of_champions_ends(own: Path) -> None:
    promotion.rollback(own, name=NAME, reason="seen")
    assert lineage.of_version(own, "1", name=NAME).champions == (2,)


def test_a_password_in_the_address_is_not_shown(history: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = MlflowClient(tracking.tracking_uri(history))
    found = client.get_model_version(NAME, "1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:secret@there/mlflow")
    from likewise.delivery import rebuilding

    plan = rebuilding.plan(history, found, commit="abc", parent=None, kept=None, stages={})
    assert "secret" not in str(plan)
    assert plan.commands[0] == "git checkout abc"
    assert "the registry's address holds a password: set MLFLOW_TRACKING_URI yourself" in plan.notes


def test_the_text_has_all_of_it_and_no_line_runs_on(history: Path) -> None:
    found = lineage.of_version(history, "2", name=NAME)
    text = lineage_text.of_version(found)
    assert text.startswith("likewise 2 (champion)\n  registered ")
    for words in (*found.hashes.values(), *found.commands, "champions before  1", "aaaa1.dir, 1,800 bytes in 2 files"):
        assert words in text
    assert "loss: triplet" in text
    assert "normalise: true" in text
    assert max(len(line) for line in text.split("To make it again")[0].splitlines()) <= lineage_text.WIDTH
    made = lineage.of_data(history, "cccc4")
    assert lineage_text.of_versions(made, "cccc4").startswith("likewise 2 (champion)  ")
    assert lineage_text.of_versions([], "cccc5\n") == r"no registered version was made from cccc5\n"


def test_a_remote_is_read_from_the_files_of_dvc(tmp_path: Path) -> None:
    from likewise.delivery.rebuilding import has_remote, remote

    assert remote(tmp_path) is None
    (tmp_path / ".dvc").mkdir()
    config = tmp_path / ".dvc/config"
    config.write_text("[core]\n    remote = storage\n['remote \"storage\"']\n    url = s3://bucket/%x\n", "utf-8")
    assert remote(tmp_path) == ("storage", "s3://bucket/%x")
    (tmp_path / ".dvc/config.local").write_text("['remote \"storage\"']\n    url = /mnt/here\n", encoding="utf-8")
    assert remote(tmp_path) == ("storage", "/mnt/here")
    config.write_text("no section", encoding="utf-8")
    assert not has_remote(tmp_path)
    assert not has_remote(None)

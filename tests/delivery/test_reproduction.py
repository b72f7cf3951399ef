from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from likewise import artifacts
from likewise.delivery import dvc_lock, reproduction, scratch
from likewise.delivery.dvc_lock import Item
from likewise.delivery.registry import register
from likewise.delivery.reproduction import CACHE, RERUN, Verdict
from likewise.delivery.scratch import MissingError
from likewise.delivery.store import RegistryError
from tests.small import RULE, set_apart

NAME = "likewise"
MADE = ("models/train", "reports/evaluate")


def dvc(root: Path, *words: str) -> None:
    done = subprocess.run([sys.executable, "-m", "dvc", *words], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def verify(root: Path, *, rerun: bool = False, said: list[str] | None = None) -> Verdict:
    heard = said if said is not None else []
    return reproduction.verify(root, "1", name=NAME, rerun=rerun, say=heard.append)


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory, evaluated: Path, empty_store: Path) -> Path:
    """Return a registered project without git whose stages are in DVC's cache; who changes it puts it back."""
    root = tmp_path_factory.mktemp("cached") / "project"
    shutil.copytree(evaluated, root, symlinks=True)
    shutil.copy2(empty_store, root)
    (root / "data/raw").mkdir()
    (root / "data/raw/one.txt").write_text("raw", encoding="utf-8")
    with set_apart(root.parent):
        dvc(root, "init", "--no-scm", "--quiet")
        dvc(root, "commit", "--force", "--quiet", "ingest", "pairs", "triplets", "train", "evaluate")
        register(root, name=NAME, rule=RULE)
    return root


@contextmanager
def changed(path: Path, content: bytes) -> Iterator[None]:
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)


@contextmanager
def gone(path: Path) -> Iterator[None]:
    path.rename(path.with_name("gone"))
    try:
        yield
    finally:
        path.with_name("gone").rename(path)


def own(root: Path, name: str) -> Path:
    (found,) = root.glob(f"mlartifacts/models/**/artifacts/{name}")
    return found


@pytest.fixture
def ran(cached: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Path]]:
    """Return a function that puts copies of what the stages wrote in the place of running them, one file changed."""
    projects: list[Path] = []

    def instead(spoilt: str | None = None, *, lock: dict[str, str] | None = None) -> list[Path]:
        def rerun(project: Path, say: Callable[[str], None]) -> None:
            projects.append(project)
            for path in MADE:
                shutil.copytree(cached / path, project / path)
            if spoilt:
                (project / spoilt).write_bytes(b"{}")
            for old, new in (lock or {}).items():
                text = (project / "dvc.lock").read_text(encoding="utf-8")
                assert old in text
                (project / "dvc.lock").write_text(text.replace(old, new, 1), encoding="utf-8")

        monkeypatch.setattr(scratch, "rerun", rerun)
        return projects

    return instead


def test_what_dvc_kept_is_the_version(cached: Path) -> None:
    before = artifacts.sha256(cached / "models"), (cached / "dvc.lock").read_bytes()
    verdict = verify(cached)
    assert (verdict.equal, verdict.intact, verdict.way, verdict.differences) == (True, True, CACHE, ())
    assert {each.path: each.found for each in verdict.files} == {
        path: artifacts.file_sha256(cached / path) for path in reproduction.COMPARED
    }
    assert verdict.notes == ("the version is not tagged with a commit; no commit is known that holds its dvc.lock",)
    assert (artifacts.sha256(cached / "models"), (cached / "dvc.lock").read_bytes()) == before
    text = reproduction.as_text(verdict)
    assert text.startswith("likewise 1: bit-equal\n")
    assert text.count(" equal (") == 4


@pytest.mark.parametrize("name", ["encoder.safetensors", "calibration.json", "model.json"])
def test_a_tampered_registry_is_found_out_and_the_file_named(cached: Path, name: str) -> None:
    path = own(cached, f"artifacts/model/{name}")
    with changed(path, path.read_bytes() + b" "):
        verdict = verify(cached)
    assert not verdict.equal
    assert not verdict.intact
    assert [Path(each.path).name for each in verdict.files if not each.equal] == [name]
    assert "the registry's files are not those that were registered" in verdict.differences[0]
    assert (len(verdict.differences) == 2) == (name == "encoder.safetensors")
    text = reproduction.as_text(verdict)
    assert text.startswith("likewise 1: NOT equal\n")
    assert "NOT the files that were registered" in text
    assert f"{name} " in text.split("DIFFERS")[0].splitlines()[-1]


def test_a_file_that_the_registry_has_lost_is_no_equal(cached: Path) -> None:
    with gone(own(cached, "artifacts/model/calibration.json")):
        verdict = verify(cached)
    assert (verdict.equal, verdict.intact) == (False, False)
    assert "nothing is registered" in reproduction.as_text(verdict)


def test_without_the_cache_the_stages_are_run_from_the_versions_own_code(
    cached: Path, ran: Callable[..., list[Path]]
) -> None:
    projects, said = ran(), list[str]()
    with gone(cached / ".dvc/cache"):
        verdict = verify(cached, said=said)
    assert said == [
        "DVC's cache lacks models/train and reports/evaluate; the stages are run anew, which takes as long as they do"
    ]
    assert (verdict.equal, verdict.way, verdict.differences) == (True, RERUN, ())
    assert verdict.code == "the version's own code and params"
    assert len(projects) == 1
    assert not projects[0].exists()


def test_a_rerun_that_differs_says_what_and_why(cached: Path, ran: Callable[..., list[Path]]) -> None:
    raw = dvc_lock.read(cached / "dvc.lock")["ingest"].data[0].md5
    assert raw is not None
    ran("models/train/encoder.safetensors", lock={raw: "0ther.dir"})
    with changed(own(cached, "requirements.txt"), b"torch==1.0\nnumpy\nnot-there==2\n"):
        verdict = verify(cached, rerun=True)
    assert (verdict.equal, verdict.intact) == (False, True)
    assert [each.path for each in verdict.files if not each.equal] == [artifacts.WEIGHTS.path]
    from importlib.metadata import version

    assert verdict.differences == (
        f"torch: 1.0 then, {version('torch')} now",
        "not-there: 2 then, not installed now",
        f"ingest read data/raw: {raw} then, 0ther.dir now",
    )


def test_the_folder_of_a_rerun_has_code_params_lock_and_links_to_the_raw_input(
    cached: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(project: Path, say: Callable[[str], None]) -> None:
        assert (project / "src/likewise/config.py").is_file()
        for name in ("params.yaml", "dvc.yaml", "dvc.lock"):
            assert (project / name).read_bytes() == (cached / name).read_bytes()
        assert (project / "data/raw/one.txt").samefile(cached / "data/raw/one.txt")
        assert (project / "data/tasks.txt").is_file()
        assert not (project / "models").exists()
        raise MissingError("looked")

    monkeypatch.setattr(scratch, "rerun", look)
    with pytest.raises(MissingError, match="looked"):
        verify(cached, rerun=True)


def test_a_stage_that_fails_is_told_with_its_last_words(cached: Path) -> None:
    said: list[str] = []
    broken = changed(own(cached, "code/likewise/stages/ingest.py"), b"raise SystemExit('broken on purpose')\n")
    with broken, pytest.raises(MissingError, match=r"the stages could not be run anew: .*broken on purpose"):
        verify(cached, rerun=True, said=said)
    assert any("Running stage 'ingest'" in line for line in said)


def test_a_version_that_kept_no_lock_cannot_be_made_again(cached: Path) -> None:
    with gone(own(cached, "artifacts/pipeline/dvc.lock")), pytest.raises(RegistryError, match=r"no dvc\.lock was kept"):
        verify(cached)


def test_an_input_that_is_nowhere_is_named(tmp_path: Path) -> None:
    inputs = [Item("data/raw", "abc.dir"), Item("https://there/x.zip", None), Item("/abs", None)]
    with pytest.raises(
        MissingError, match=r"^data/raw: neither the commit nor this project has it \(DVC's hash abc\.dir\)"
    ):
        scratch.take_inputs(tmp_path, tmp_path / "other", inputs)

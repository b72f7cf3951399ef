from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path

import pytest

from likewise.delivery import project_checks
from likewise.delivery.examination import Finding
from likewise.delivery.registry import Registered
from tests.small import Fresh

Registry = tuple[Path, Registered]


def told(found: Iterable[Finding]) -> list[tuple[str, str]]:
    return [(each.state, each.text) for each in found]


@contextmanager
def answering(code: int, body: str, *, login: str = "") -> Iterator[str]:
    """Give the address of a server that answers everything so, and with a login 401 where it is another."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code if login in ("", self.headers.get("Authorization")) else 401)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_params_that_do_not_fit_are_a_problem_each(fresh: Fresh) -> None:
    root = fresh()
    assert told(project_checks.params(root)) == [("ok", "params.yaml is complete and fits")]
    text = (root / "params.yaml").read_text(encoding="utf-8")
    (root / "params.yaml").write_text(text.replace("  loss: triplet", "  los: triplet"), encoding="utf-8")
    found = list(project_checks.params(root))
    assert {each.state for each in found} == {"problem"}
    assert any("train.los: unknown key; did you mean train.loss?" in each.text for each in found)


def test_git_has_the_lock_and_is_clean_or_it_is_said(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *words]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    assert told(project_checks.git(tmp_path)) == [("note", "no commit here")]
    git("init", "-q")
    git("commit", "-qm", "First", "--allow-empty")
    ((state, text),) = told(project_checks.git(tmp_path))
    assert (state, text[-len("does not hold dvc.lock") :]) == ("note", "does not hold dvc.lock")
    (tmp_path / "dvc.lock").write_text("one", encoding="utf-8")
    git("add", "-A")
    git("commit", "-qm", "Second")
    ((state, text),) = told(project_checks.git(tmp_path))
    assert (state, text[-len("which holds dvc.lock") :]) == ("ok", "which holds dvc.lock")
    (tmp_path / "dvc.lock").write_text("two", encoding="utf-8")
    assert told(project_checks.git(tmp_path))[0][1].startswith("files differ from commit ")


def remote(root: Path, url: str) -> list[tuple[str, str]]:
    (root / ".dvc").mkdir(exist_ok=True)
    text = f"[core]\n    remote = storage\n['remote \"storage\"']\n    url = {url}\n"
    (root / ".dvc/config").write_text(text, encoding="utf-8")
    return told(project_checks.dvc(root))


def test_dvcs_remote_is_there_and_reached(tmp_path: Path) -> None:
    assert told(project_checks.dvc(tmp_path)) == [("problem", "there is no .dvc folder")]
    (tmp_path / ".dvc").mkdir()
    assert told(project_checks.dvc(tmp_path))[0][0] == "note"
    assert remote(tmp_path, "../kept") == [("problem", "remote storage: ../kept, where there is no folder")]
    (tmp_path / "kept").mkdir()
    assert remote(tmp_path, "../kept") == [("ok", "remote storage: ../kept")]
    assert remote(tmp_path, "") == [("problem", "remote storage has no URL")]
    assert remote(tmp_path, "nothing://x")[0][0] == "problem"
    assert remote(tmp_path, "http://127.0.0.1:9/x")[0][0] == "problem"
    with answering(200, "yes") as url:
        assert remote(tmp_path, url) == [("ok", url)]


def test_a_dvc_command_that_runs_is_noticed(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    lock = tmp_path / ".dvc/tmp/lock"
    lock.write_text("123", encoding="utf-8")
    assert len(told(project_checks.dvc(tmp_path))) == 1
    with lock.open("rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert told(project_checks.dvc(tmp_path))[1] == ("note", "a DVC command is running here")
    assert lock.read_text(encoding="utf-8") == "123"


def test_a_store_in_a_file(registered: Registry, tmp_path: Path) -> None:
    root, _ = registered
    assert told(project_checks.mlflow(root)) == [("ok", f"{root / 'mlflow.db'}, 1 models with a champion")]
    ((state, text),) = told(project_checks.mlflow(tmp_path))
    assert (state, text) == ("note", f"no store {tmp_path / 'mlflow.db'} yet")
    (tmp_path / "mlflow.db").write_text("no database" * 100, encoding="utf-8")
    (found,) = project_checks.mlflow(tmp_path)
    assert (found.state, found.text) == ("problem", f"{tmp_path / 'mlflow.db'}: file is not a database")
    shutil.copy2(root / "mlflow.db", tmp_path)
    (tmp_path / "mlartifacts").mkdir()
    (found,) = project_checks.mlflow(tmp_path)
    assert (found.state, found.do) == ("problem", "`likewise register` puts it right")
    assert (root / "mlartifacts").as_uri() in found.text


def test_a_server_that_answers_asks_for_a_login_is_another_or_is_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for code, body, state, words in (
        (200, version("mlflow"), "ok", "127.0.0.1"),
        (200, "1.2.3", "note", "is version 1.2.3, the client "),
        (401, "", "note", "asks for a login"),
        (500, "", "problem", "answers 500"),
    ):
        with answering(code, body) as url:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
            ((found, text),) = told(project_checks.mlflow(tmp_path))
            assert (found, words in text) == (state, True), text
            monkeypatch.setenv("PREFECT_API_URL", f"{url}/api")
            ((found, _),) = told(project_checks.prefect())
            assert found == ("ok" if code == 200 else state)
    monkeypatch.setenv("PREFECT_API_URL", "http://me:secret@127.0.0.1:9/api")
    (down,) = project_checks.prefect()
    assert down.state == "problem"
    assert "secret" not in down.text
    monkeypatch.delenv("PREFECT_API_URL")
    assert told(project_checks.prefect())[0][0] == "ok"


def test_a_server_is_asked_with_the_login_that_its_clients_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(200, version("mlflow"), login="Basic bWU6c2VjcmV0") as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        monkeypatch.setenv("PREFECT_API_URL", f"{url}/api")
        assert told(project_checks.mlflow(tmp_path)) == [("note", f"{url} asks for a login")]
        for password, expected in (("wrong", ("note", f"{url} refuses the login")), ("secret", ("ok", url))):
            monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
            monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
            monkeypatch.setenv("PREFECT_API_AUTH_STRING", f"me:{password}")
            assert told(project_checks.mlflow(tmp_path)) == [expected]
            ((state, _),) = told(project_checks.prefect())
            assert state == expected[0]
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    with answering(200, version("mlflow"), login="Bearer token") as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "token")
        assert told(project_checks.mlflow(tmp_path)) == [("ok", url)]


def test_a_database_that_is_down_or_lacks_its_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def of(uri: str) -> tuple[str, str]:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        return told(project_checks.mlflow(tmp_path))[0]

    assert of("postgresql+nothing://me:secret@127.0.0.1/x") == (
        "problem",
        "postgresql at 127.0.0.1 needs the driver nothing",
    )
    state, text = of("postgresql+json://me:secret@127.0.0.1:9/x")
    assert (state, text.split(" (")[0]) == ("problem", "postgresql at 127.0.0.1 does not answer")
    assert "secret" not in text
    assert of("gopher://x")[0] == "note"
    with answering(200, "") as url:
        assert of(f"postgresql+json://{url.removeprefix('http://')}/x") == ("ok", "postgresql at 127.0.0.1 answers")


def test_files_of_writes_that_were_cut_short(fresh: Fresh) -> None:
    root = fresh()
    assert told(project_checks.leftovers(root)) == [("ok", "none")]
    (root / "models/train/.model.json.123.partial").touch()
    ((state, text),) = told(project_checks.leftovers(root))
    assert (state, text.endswith("such as models/train/.model.json.123.partial")) == ("note", True)

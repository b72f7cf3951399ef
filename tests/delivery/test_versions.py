from __future__ import annotations

from pathlib import Path

import pytest

from likewise.delivery import loading, versions
from likewise.delivery.model import ModelError
from likewise.delivery.registry import Registered
from likewise.delivery.store import RegistryError

Made = tuple[Path, Registered]


@pytest.mark.parametrize("address", ["models:/likewise@champion", "models:/likewise/1", "likewise/1", "1", "champion"])
def test_a_version_is_found_by_any_of_its_addresses(registered: Made, address: str) -> None:
    with versions.reading(registered[0]) as client:
        found = versions.find(client, address, "likewise")
        assert (found.name, int(found.version), list(found.aliases)) == ("likewise", 1, ["champion"])
        assert [int(each.version) for each in versions.every(client)] == [1]


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("7", "7: there is no such version of likewise; known: 1 (champion)"),
        ("likewise@best", "likewise@best: there is no such version of likewise; known: 1 (champion)"),
        ("models:/other/1", "models:/other/1: the registry has no model 'other'"),
        ("a/b/c", "a/b/c: not a version; such as 3, champion, likewise/3 or models:/likewise@champion"),
        ("it's/1", "it's/1: not a version; such as 3, "),
        ("", ": not a version; such as 3, "),
    ],
)
def test_what_is_no_version_is_refused_in_a_line(registered: Made, address: str, words: str) -> None:
    with versions.reading(registered[0]) as client, pytest.raises(RegistryError) as caught:
        versions.find(client, address, "likewise")
    assert str(caught.value).startswith(words)


def test_a_registry_that_is_not_there_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RegistryError, match=r"there is no registry .* yet; `make repro`"), versions.reading(tmp_path):
        pass
    assert not list(tmp_path.glob("mlflow.db"))
    with pytest.raises(RegistryError, match="outside a project MLFLOW_TRACKING_URI must say"), versions.reading(None):
        pass
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    down = r"^MLflow: API request to http://127\.0\.0\.1:9"
    with pytest.raises(RegistryError, match=down), versions.reading(None) as client:
        versions.find(client, "1", "likewise")


def test_what_a_version_keeps_is_fetched(registered: Made, tmp_path: Path) -> None:
    with versions.reading(registered[0]) as client:
        kept = versions.pipeline(versions.find(client, "1", "likewise"), tmp_path)
    assert kept is not None
    assert (kept / "params.yaml").read_bytes() == (registered[0] / "params.yaml").read_bytes()
    assert versions.stages(kept) == versions.stages(None) == {}


def test_a_version_whose_files_a_server_keeps_says_so(
    registered: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow
    from mlflow.exceptions import MlflowException

    def refuse(*_: object, **__: object) -> None:
        raise MlflowException("When an mlflow-artifacts URI was supplied, the tracking URI must be a valid http URI")

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", refuse)
    words = "kept by the MLflow server that registered it; set MLFLOW_TRACKING_URI to its address"
    with pytest.raises(ModelError, match=words):
        loading.download("models:/likewise@champion", registered[0])
    with versions.reading(registered[0]) as client:
        found = versions.find(client, "1", "likewise")
        with pytest.raises(RegistryError, match=words):
            versions.pipeline(found, tmp_path)

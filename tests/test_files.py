from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from likewise import artifacts, files

HEAVY = ("pandas", "pyarrow", "pandera", "mlflow", "scipy", "sklearn", "faiss", "onnx", "matplotlib")


def test_json_refuses_nan_and_missing_keys(tmp_path: Path) -> None:
    table = files.Json("x.json", ("a",))
    with pytest.raises(files.ArtifactError, match=r"x.json: lacks a"):
        table.write({}, tmp_path)
    with pytest.raises(files.ArtifactError, match=r"x.json: .*float"):
        table.write({"a": float("nan")}, tmp_path)
    table.write({"a": 1}, tmp_path)
    assert table.read(tmp_path) == {"a": 1}
    with pytest.raises(files.ArtifactError, match=r"y.json: missing; run `dvc repro`[^;]*$"):
        files.Json("y.json", ()).read(tmp_path)
    (tmp_path / "x.json").write_text("{", encoding="utf-8")
    with pytest.raises(files.ArtifactError, match=r"x.json: not JSON"):
        table.read(tmp_path)


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "f"
    target.write_text("old", encoding="utf-8")

    def broken() -> None:
        with files.replacing(target) as partial:
            partial.write_text("half", encoding="utf-8")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken()
    assert target.read_text(encoding="utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_hash_depends_on_names_and_contents_not_on_place(tmp_path: Path) -> None:
    for top in ("one", "two"):
        (tmp_path / top / "in").mkdir(parents=True)
        (tmp_path / top / "in" / "f").write_bytes(b"x")
    assert files.sha256(tmp_path / "one") == files.sha256(tmp_path / "two")
    (tmp_path / "two" / "in" / "f").rename(tmp_path / "two" / "in" / "g")
    assert files.sha256(tmp_path / "one") != files.sha256(tmp_path / "two")


def test_artifacts_hands_on_the_same_names() -> None:
    assert artifacts.MODEL is files.MODEL
    assert artifacts.ArtifactError is files.ArtifactError


def test_what_loads_a_model_needs_no_tables_and_no_tracking() -> None:
    code = f"import sys, likewise.delivery.model; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

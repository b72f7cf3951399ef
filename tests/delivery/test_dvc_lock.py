from __future__ import annotations

from pathlib import Path

import pytest

from likewise.config import ConfigError
from likewise.delivery import dvc_lock
from likewise.delivery.dvc_lock import Item
from tests.imports import ROOT

LOCK = """\
schema: '2.0'
stages:
  ingest:
    cmd: python -m ingest
    deps:
    - {path: src/likewise/config.py, hash: md5, md5: c0de, size: 3}
    - {path: data/raw, hash: md5, md5: aaa.dir, size: 180, nfiles: 2}
    params: {params.yaml: {ingest.seed: 0}}
    outs:
    - {path: data/ingest, hash: md5, md5: bbb.dir, size: 9, nfiles: 4}
  register:
    cmd: python -m register
    deps:
    - {path: "s3://bucket/list.txt", etag: eee}
"""


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "dvc.lock"
    path.write_text(LOCK, encoding="utf-8")
    return path


def test_code_data_outputs_and_params_are_told_apart(lock: Path) -> None:
    stages = dvc_lock.read(lock)
    raw, made = Item("data/raw", "aaa.dir", 180, 2), Item("data/ingest", "bbb.dir", 9, 4)
    ingest = stages["ingest"]
    assert ingest.code == (Item("src/likewise/config.py", "c0de", 3),)
    assert (ingest.data, ingest.outs) == ((raw,), (made,))
    assert ingest.params == {"params.yaml": {"ingest.seed": 0}}
    far = Item("s3://bucket/list.txt", "eee")
    assert stages["register"].data == (far,)
    assert dvc_lock.raw_input(stages) == raw
    assert list(dvc_lock.everything(stages)) == [("ingest", raw), ("ingest", made), ("register", far)]


def test_one_stage_alone_says_the_same(lock: Path) -> None:
    for path in (lock, ROOT / "dvc.lock"):
        whole = dvc_lock.read(path)
        for name, stage in whole.items():
            assert dvc_lock.read(path, only=name) == {name: stage}
        assert dvc_lock.read(path, only="missing") == {}


def test_a_lock_laid_out_in_another_way_is_read_whole(lock: Path) -> None:
    lock.write_text("stages: {ingest: {deps: [{path: data/raw, md5: aaa.dir}]}}", encoding="utf-8")
    assert dvc_lock.read(lock, only="ingest") == dvc_lock.read(lock)
    lock.write_text("[1]", encoding="utf-8")
    with pytest.raises(ConfigError, match="no stages"):
        dvc_lock.read(lock, only="ingest")


def test_a_stage_that_did_not_run_read_nothing() -> None:
    assert dvc_lock.raw_input({}) is None


@pytest.mark.parametrize("text", ["", "schema: '2.0'", "[1]", "stages: 3"])
def test_what_is_no_lock_is_refused(lock: Path, text: str) -> None:
    lock.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"dvc\.lock: not a dvc\.lock \(it has no stages\)"):
        dvc_lock.read(lock)


def test_a_missing_one_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"dvc\.lock: no such file"):
        dvc_lock.read(tmp_path / "dvc.lock")

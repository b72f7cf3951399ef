"""Inputs from elsewhere, as a user has them: a URL as path, `dvc import-url`, and a data set by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pytest

from likewise import artifacts
from likewise.stages import ingest
from likewise.stages.ingest_params import HELD, Params
from tests.data import recordings
from tests.data.pictures import class_folders, encoded, noise, put, zipped
from tests.data.web import Web, cache, serving, web
from tests.projects import SMALL, Project, make_project, write_params
from tests.small import make, params

__all__ = ["cache", "web"]

SPLIT = {"by": "sample", "val": 0.3, "test": 0.3, "fold": 0, "hold_out": [], "seed": 0, "column": "split", "file": None}
COLUMNS = {"path": "path", "image": "image", "label": "label", "group": "group"}


@pytest.fixture
def root(tmp_path: Path, cache: Path) -> Path:
    return make(tmp_path / "project", data=False)


def block(root: Path, **changes: Any) -> Params:
    made: Params = params(root, "ingest", **({"source": "folder", "split": SPLIT} | changes))
    return made


def ingested(root: Path, **changes: Any) -> pd.DataFrame:
    ingest.run(block(root, **changes), root)
    return artifacts.SAMPLES.read(root)


def test_an_archive_on_the_web_is_as_one_here(
    web: Web, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = zipped(class_folders(tmp_path / "raw", each=20), tmp_path / "faces.zip")
    web.files["faces.zip"] = archive.read_bytes()
    here = ingested(root, path=str(archive))
    before = (root / artifacts.MEDIA.path).read_bytes()
    there = ingested(root, path=f"{web.address}/faces.zip?token=secret")
    pd.testing.assert_frame_equal(here, there)
    assert (root / artifacts.MEDIA.path).read_bytes() == before
    told = capsys.readouterr().out
    assert f"ingest: fetching {web.address}/faces.zip (" in told
    assert "secret" not in told
    for name in (artifacts.SAMPLES.path, artifacts.SUMMARY.path, artifacts.QUARANTINE.path):
        assert b"127.0.0.1" not in (root / name).read_bytes()


@pytest.fixture
def bucket() -> Iterator[Any]:
    store = fsspec.filesystem("memory")
    store.store.clear()
    yield store
    store.store.clear()


def test_a_manifest_and_a_parquet_in_a_bucket(bucket: Any, root: Path, tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "raw", each=20)
    table = pd.DataFrame({"path": [f"{c}/{n:03}.png" for c in "abc" for n in range(20)]})
    table = table.assign(label=table["path"].str[0], split=["train", "val", "test"] * 20)
    table.to_csv(folder / "table.csv", index=False)
    bucket.put(str(folder), "/bucket/manifest", recursive=True)
    split = SPLIT | {"by": "column"}
    samples = ingested(root, source="manifest", path="memory://bucket/manifest", split=split)
    assert samples["id"].tolist() == table["path"].tolist()
    assert samples["split"].tolist() == table["split"].tolist()
    rows = [{"image": (folder / name).read_bytes(), "label": name[0]} for name in table["path"]]
    pd.DataFrame(rows).to_parquet(tmp_path / "a.parquet", index=False)
    bucket.put(str(tmp_path / "a.parquet"), "/bucket/a.parquet")
    inside = ingested(root, source="parquet", path="memory://bucket/a.parquet")
    assert inside["hash"].tolist() == samples["hash"].tolist()


def test_a_split_file_lies_in_the_bucket_too(bucket: Any, root: Path, tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "raw", each=6)
    ids = [f"{c}/{n:03}.png" for c in "abc" for n in range(6)]
    pd.DataFrame({"id": ids, "split": ["train", "train", "val", "val", "test", "test"] * 3}).to_csv(
        folder / "splits.csv", index=False
    )
    bucket.put(str(folder), "/bucket/faces", recursive=True)
    samples = ingested(root, path="memory://bucket/faces", split=SPLIT | {"by": "file", "file": "splits.csv"})
    assert samples["split"].tolist() == ["train", "train", "val", "val", "test", "test"] * 3


SOUND = {
    "rate": 8000,
    "seconds": 0.5,
    "overlap": 0.0,
    "trim": None,
    "level": None,
    "mels": 20,
    "frame_ms": 25.0,
    "hop_ms": 10.0,
    "lowest": 20.0,
    "highest": None,
    "min_seconds": 0.1,
    "max_seconds": 60.0,
    "min_rate": 4000,
}


def test_words_and_their_official_split(root: Path) -> None:
    names = [
        f"{word}/{speaker:08x}_nohash_{take}.wav" for word in ("up", "no") for speaker in range(6) for take in (0, 1)
    ]
    for seed, name in enumerate([*names, "_background_noise_/hiss.wav"]):
        put(root / "words" / name, recordings.encoded(recordings.hiss(seed, seconds=0.4)))
    for listed, speaker in (("validation_list.txt", 1), ("testing_list.txt", 2)):
        lines = "".join(f"{name}\n" for name in names if f"{speaker:08x}" in name)
        put(root / "words" / listed, lines.encode())
    checks = block(root).checks.model_dump() | {"near_duplicates": "off"}
    changes = {"source": "speech-commands", "kind": "audio", "image": None, "audio": SOUND, "checks": checks}
    samples = ingested(root, path="words", split=SPLIT | {"by": "column"}, **changes)
    assert samples["id"].tolist() == sorted(names)
    assert samples["class"].tolist() == ["no"] * 12 + ["up"] * 12
    sides = {"00000001": "val", "00000002": "test"}
    assert samples["split"].tolist() == [sides.get(group, "train") for group in samples["group"]]
    assert len(artifacts.QUARANTINE.read(root)) == 0


def test_what_the_params_say_of_sources_fits(root: Path) -> None:
    with pytest.raises(ValueError, match="source speech-commands holds samples of kind audio: kind image does not go"):
        block(root, source="speech-commands")
    assert set(HELD.values()) == {"image", "audio"}
    with pytest.raises(ValueError, match=r"checksums: a\.zip: 'sha256:12' is none: write md5: or sha256: and the hex"):
        block(root, checksums={"a.zip": "sha256:12"})
    with pytest.raises(ValueError, match=r"htps://host/a\.zip: unknown scheme htps://; known are https"):
        block(root, path="htps://me:secret@host/a.zip")


def test_a_file_of_another_checksum_is_no_input(root: Path, tmp_path: Path) -> None:
    archive = zipped(class_folders(tmp_path / "raw", each=20), root / "faces.zip")
    with pytest.raises(ValueError, match=r"^ingest\.checksums: .*faces\.zip has md5:\w+, and not md5:0+$"):
        ingested(root, path="faces.zip", checksums={"faces.zip": f"md5:{'0' * 32}"})
    assert archive.is_file()
    assert not (root / "data/ingest").exists()


@pytest.fixture(scope="module")
def served() -> Iterator[Web]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_project(tmp_path_factory.mktemp("remote"))


def repro(project: Project, cache: Path) -> str:
    return project.run("dvc", "repro", "ingest", environment={"LIKEWISE_DOWNLOADS": str(cache)}).stdout


def found(project: Project) -> int:
    number: int = artifacts.SUMMARY.read(project.root)["found"]
    return number


def add_one(project: Project, served: Web, *, seed: int) -> None:
    put(project.root / "digits" / "3" / f"new{seed}.png", encoded(noise(seed)))
    served.files["digits.zip"] = zipped(project.root / "digits", project.root.parent / "digits.zip").read_bytes()


def test_dvc_sees_what_changes_at_a_url(project: Project, served: Web, cache: Path) -> None:
    add_one(project, served, seed=1)
    write_params(project.root, SMALL | {"path: data/raw": f"path: {served.address}/digits.zip  "})
    assert "Running stage 'ingest'" in repro(project, cache)
    assert found(project) == 201
    assert "Stage 'ingest' didn't change, skipping" in repro(project, cache)
    add_one(project, served, seed=2)
    status = project.run("dvc", "status", "ingest").stdout
    assert status.split() == ["ingest:", "changed", "deps:", "modified:", f"{served.address}/digits.zip"]


def test_what_dvc_imported_is_ingested_again_after_an_update(project: Project, served: Web, cache: Path) -> None:
    put(project.root / "data/raw/README.md", b"Your raw input goes here")
    write_params(project.root, SMALL | {"path: data/raw": "path: data/raw  "})
    add_one(project, served, seed=3)
    before = len(list((project.root / "digits").rglob("*.png")))
    project.run("dvc", "import-url", f"{served.address}/digits.zip", "data/raw/digits.zip")
    repro(project, cache)
    assert found(project) == before
    add_one(project, served, seed=4)
    project.run("dvc", "update", "data/raw/digits.zip.dvc")
    assert "Running stage 'ingest'" in repro(project, cache)
    assert found(project) == before + 1
    assert not list(cache.iterdir())

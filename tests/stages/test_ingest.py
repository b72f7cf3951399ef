from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from likewise import artifacts
from likewise.data.images import ImageSpec, decode
from likewise.stages import ingest
from tests.data.pictures import class_folders, encoded, noise, put
from tests.small import make, params

OUTPUTS = (
    artifacts.SAMPLES.path,
    artifacts.MEDIA.path,
    artifacts.OFFSETS.path,
    artifacts.QUARANTINE.path,
    artifacts.SUMMARY.path,
    artifacts.CLASSES.path,
)
SPLIT = {"by": "sample", "val": 0.3, "test": 0.3, "fold": 0, "seed": 0, "file": None}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = make(tmp_path / "project", data=False)
    class_folders(root / "raw", each=20)
    return root


def block(root: Path, *, split: dict[str, Any] | None = None, **changes: Any) -> ingest.Params:
    wanted = {"source": "folder", "path": "raw", "split": SPLIT | (split or {}), **changes}
    made: ingest.Params = params(root, "ingest", **wanted)
    return made


def test_samples_media_and_classes_fit_each_other(project: Path) -> None:
    ingest.run(block(project), project)
    samples, (media, offsets) = artifacts.SAMPLES.read(project), artifacts.read_media(project)
    assert len(samples) == len(media) == 60
    assert offsets.tolist() == list(range(61))
    for row, sample in enumerate(samples.to_dict("records")):
        content = (project / "raw" / sample["path"]).read_bytes()
        np.testing.assert_array_equal(media[row], decode(content, ImageSpec(height=8, width=8, channels=1)))
    train = samples[samples["split"] == "train"]
    pd.testing.assert_frame_equal(artifacts.CLASSES.read(project), train[["id", "class"]].reset_index(drop=True))
    assert set(samples["split"]) == set(artifacts.SPLITS)


def test_what_is_left_out_is_counted_aloud_with_its_reason(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(project / "raw/a/005.png", b"damaged")
    put(project / "raw/a/006.png", b"")
    put(project / "raw/a/007.png", encoded(noise(1, height=2)))
    put(project / "raw/b/zz1.png", encoded(noise(1003)))
    put(project / "raw/b/zz2.png", encoded(noise(1003)))
    put(project / "raw/c/zzz.png", encoded(noise(4)))
    put(project / "raw/loose.png", encoded(noise(2)))
    ingest.run(block(project), project)
    summary = artifacts.SUMMARY.read(project)
    assert (summary["found"], summary["kept"]) == (64, 56)
    assert summary["quarantined"] == {
        "duplicate": 2,
        "label conflict": 2,
        "not an image that Pillow can read": 1,
        "empty file": 1,
        "NxN pixels, a side shorter than N": 1,
        "no class folder": 1,
    }
    samples, quarantine = artifacts.SAMPLES.read(project), artifacts.QUARANTINE.read(project)
    assert len(quarantine) == sum(summary["quarantined"].values()) == 64 - len(samples)
    assert summary["splits"] == {
        split: {"samples": len(rows), "classes": rows["class"].nunique()} for split, rows in samples.groupby("split")
    }
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "ingest: 64 found, 56 kept, 8 in quarantine"
    assert "ingest: quarantine: 2 duplicate" in told
    held = summary["splits"]["val"]
    assert f"ingest: val: {held['samples']} samples of 3 classes" in told


def test_same_bytes_in_another_folder(project: Path, tmp_path: Path) -> None:
    other = make(tmp_path / "b" / "other", data=False)
    class_folders(other / "raw", each=20)
    for root in (project, other):
        ingest.run(block(root), root)
    for name in OUTPUTS:
        assert (project / name).read_bytes() == (other / name).read_bytes()
        assert str(project).encode() not in (project / name).read_bytes()


def test_split_by_class_keeps_the_classes_apart(project: Path) -> None:
    class_folders(project / "many", classes=[f"k{number}" for number in range(12)], each=2)
    ingest.run(block(project, path="many", split={"by": "class"}), project)
    samples = artifacts.SAMPLES.read(project)
    assert (samples.groupby("class")["split"].nunique() == 1).all()
    assert set(samples["split"]) == set(artifacts.SPLITS)


def test_split_by_file_is_the_files_and_the_file_no_sample(project: Path) -> None:
    ids = [f"{c}/{number:03}.png" for c in "abc" for number in range(20)]
    table = pd.DataFrame({"id": ids, "split": ["train", "val", "test", "test"] * 15})
    table.to_csv(project / "raw/splits.csv", index=False)
    ingest.run(block(project, split={"by": "file", "file": "splits.csv"}), project)
    samples = artifacts.SAMPLES.read(project)
    assert dict(zip(samples["id"], samples["split"], strict=True)) == dict(zip(ids, table["split"], strict=True))
    assert len(artifacts.QUARANTINE.read(project)) == 0


def test_colour_and_the_least_side_are_params(project: Path) -> None:
    put(project / "raw/a/900.png", encoded(noise(5, channels=3)))
    put(project / "raw/a/901.png", encoded(noise(6, channels=3, height=8)))
    ingest.run(block(project, channels=3, height=6, width=5, min_side=9), project)
    assert artifacts.SUMMARY.read(project)["shape"] == list(artifacts.read_media(project)[0].shape[1:]) == [3, 6, 5]
    quarantine = artifacts.QUARANTINE.read(project)
    assert dict(zip(quarantine["id"], quarantine["reason"], strict=True)) == {
        "a/901.png": "10x8 pixels, a side shorter than 9"
    }


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, r"ingest\.split\.file: .*splits\.csv: .*No such file"),
        (b"", r"ingest\.split\.file: .*splits\.csv: No columns"),
        (b"\xff\xfe\x00", r"ingest\.split\.file: .*splits\.csv: .*utf-8"),
        (b'id,split\na,train\nb,"x', r"ingest\.split\.file: .*splits\.csv: "),
        (b"id,side\na,train\n", 'needs a table with the columns "id" and "split"'),
    ],
)
def test_a_split_file_that_is_none_is_refused_in_a_line(project: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        put(project / "raw/splits.csv", content)
    with pytest.raises(ValueError, match=words) as caught:
        ingest.run(block(project, split={"by": "file", "file": "splits.csv"}), project)
    assert len(str(caught.value).splitlines()) == 1


REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "missing path": ({"path": "nowhere"}, "nowhere does not exist: put the data there"),
    "empty source": ({"path": "empty"}, "is empty: no file in it is a sample"),
    "small class": ({"path": "small"}, r"fewer than two usable samples.*s \(1 of 1\)"),
    "no idx": ({"source": "idx"}, "raw"),
    "split too small": ({"split": {"val": 0.001}}, "val too small.*ingest.split.val"),
    "no fold": ({"split": {"fold": 7}}, "ingest.split.fold is 7"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_are_one_line(project: Path, name: str) -> None:
    (project / "empty").mkdir()
    class_folders(project / "small", classes=["t", "u"], each=9)
    put(project / "small/s/0.png", encoded(noise(5000)))
    changes, words = REFUSALS[name]
    with pytest.raises(ValueError, match=words) as caught:
        ingest.run(block(project, **changes), project)
    assert len(str(caught.value).splitlines()) == 1


def test_kinds_are_reasons_without_their_particulars() -> None:
    reasons = [
        "duplicate of a/1.png",
        "duplicate of b of c.png",
        "label conflict with a/004.png (class a)",
        "10x2 pixels, a side shorter than 4",
        "3x2 pixels, a side shorter than 4",
        "damaged image: broken data stream",
    ]
    assert ingest.kinds(pd.Series(reasons)) == {
        "duplicate": 2,
        "NxN pixels, a side shorter than N": 2,
        "label conflict": 1,
        "damaged image": 1,
    }


def test_progress_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(ingest, "PROGRESS_EVERY", 3)
    for done in range(1, 8):
        ingest._line(done, 7)
    assert capsys.readouterr().out == "ingest: 3 of 7 read\ningest: 6 of 7 read\n"

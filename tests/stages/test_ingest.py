from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest

from likewise import artifacts
from likewise.data import checks, kinds
from likewise.data.images import ImageSpec, decode
from likewise.data.sources import SOURCES
from likewise.data.splits import SPLITTERS
from likewise.data.tables import Columns
from likewise.stages import ingest
from likewise.stages.ingest_params import Checks, Params, Split
from tests.data import recordings
from tests.data.pictures import class_folders, encoded, noise, put, zipped
from tests.small import make, params

OUTPUTS = (
    artifacts.SAMPLES.path,
    artifacts.MEDIA.path,
    artifacts.OFFSETS.path,
    artifacts.QUARANTINE.path,
    artifacts.SUMMARY.path,
    artifacts.CLASSES.path,
)
SPLIT = {"by": "sample", "val": 0.3, "test": 0.3, "fold": 0, "hold_out": [], "seed": 0, "column": "split", "file": None}

CHECKS = {
    "small_classes": "fail",
    "label_conflicts": "warn",
    "same_file": "warn",
    "same_group": "off",
    "near_duplicates": "warn",
    "constant": "warn",
}
COLUMNS = asdict(Columns())


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = make(tmp_path / "project", data=False)
    class_folders(root / "raw", each=20)
    return root


def block(root: Path, *, split: dict[str, Any] | None = None, **changes: Any) -> Params:
    wanted = {"source": "folder", "path": "raw", "split": SPLIT | (split or {}), **changes}
    made: Params = params(root, "ingest", **wanted)
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


def manifest(root: Path, *, without: str = "") -> pd.DataFrame:
    """A table of the project's pictures: two writers a class, two of three of each class for training."""
    ids = [f"{c}/{number:03}.png" for c in "abc" for number in range(20)]
    table = pd.DataFrame({"path": ids, "label": [name[0] for name in ids]})
    table["group"] = [f"w{number % 10}" for number in range(60)]
    table["split"] = ["train", "Train", "test"] * 20
    table["age"] = pd.array([None, *range(59)], dtype="Int16")
    table.drop(columns=without.split()).to_parquet(root / "raw/table.parquet", index=False)
    return table


def test_a_manifest_is_split_by_its_column_and_carried_whole(project: Path) -> None:
    table = manifest(project)
    put(project / "raw/a/001.png", b"damaged")
    ingest.run(block(project, source="manifest", split={"by": "column", "val": 0.3}), project)
    samples, quarantine = artifacts.SAMPLES.read(project), artifacts.QUARANTINE.read(project)
    assert list(samples.columns) == [*artifacts.SAMPLES.types.names, "carried.split", "carried.age"]
    assert samples["id"].tolist() == [name for name in table["path"] if name != "a/001.png"]
    merged = samples.merge(table, left_on="id", right_on="path", suffixes=("", "_given"))
    assert (merged["group"] == merged["group_given"]).all()
    assert (merged["carried.split"] == merged["split_given"]).all()
    assert ((merged["split"] == "test") == (merged["split_given"] == "test")).all()
    assert set(samples["split"]) == set(artifacts.SPLITS)
    assert str(samples["carried.age"].dtype) == "int16[pyarrow]"
    assert samples["carried.age"].isna().tolist() == [True, *[False] * 58]
    assert samples["carried.age"].tolist()[1:] == list(range(1, 59))
    assert quarantine[["id", "carried.split", "carried.age"]].values.tolist() == [["a/001.png", "Train", 0]]


def test_split_by_group_keeps_the_groups_apart(project: Path) -> None:
    manifest(project)
    ingest.run(block(project, source="manifest", split={"by": "group"}), project)
    samples = artifacts.SAMPLES.read(project)
    assert (samples.groupby("group")["split"].nunique() == 1).all()
    assert set(samples["split"]) == set(artifacts.SPLITS)
    assert (samples.groupby("class")["split"].nunique() == 3).all()


def test_groups_that_are_held_out_are_the_test_part(project: Path) -> None:
    manifest(project)
    group = "w3"
    ingest.run(block(project, source="manifest", split={"hold_out": [group]}), project)
    samples = artifacts.SAMPLES.read(project)
    assert (samples["split"] == "test").equals(samples["group"] == group)
    with pytest.raises(ValueError, match=r"hold_out names the test groups itself: fold: 1 does not go with it"):
        block(project, split={"hold_out": [group], "fold": 1})
    with pytest.raises(ValueError, match=r"hold_out names the test groups itself: by: column does not go with it"):
        block(project, split={"hold_out": [group], "by": "column"})


@pytest.mark.parametrize("by", ["class", "group", "sample"])
def test_forgeries_have_no_class_and_stay_with_the_one_they_imitate(
    by: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"k{number}" for number in range(10)]
    class_folders(project / "raw", classes=names, each=6)
    table = pd.DataFrame([(f"{name}/{n:03}.png", name, int(n > 3)) for name in names for n in range(6)])
    table.columns = ["path", "label", "forged"]
    table = table.assign(group=table["label"].where(table["forged"] == 0))
    table.to_csv(project / "raw/table.csv", index=False)
    put(project / "raw/k3/004.png", (project / "raw/k5/001.png").read_bytes())
    ingest.run(block(project, source="manifest", split={"by": by, "val": 0.3, "test": 0.3}), project)
    samples, quarantine = artifacts.SAMPLES.read(project), artifacts.QUARANTINE.read(project)
    merged = samples.merge(table, left_on="id", right_on="path", suffixes=("", "_given"))
    fake = merged["forged"] == 1
    assert (merged["class"][~fake] == merged["label"][~fake]).all()
    assert (merged["forges"][fake] == merged["label"][fake]).all()
    assert merged["class"][fake].isna().all()
    assert merged["forges"][~fake].isna().all()
    assert (merged["group"] == merged["label"]).all()
    if by != "sample":
        assert (merged.groupby("label")["split"].nunique() == 1).all()
    assert dict(zip(quarantine["id"], quarantine["reason"], strict=True)) == {
        "k3/004.png": "label conflict with k5/001.png (class k5)",
        "k5/001.png": "label conflict with k3/004.png (a forgery of class k3)",
    }
    assert quarantine["class"].tolist() == ["k3", "k5"]
    assert set(artifacts.CLASSES.read(project)["id"]) <= set(merged["id"][~fake])
    counts = artifacts.SUMMARY.read(project)["splits"]
    assert sum(part["forgeries"] for part in counts.values()) == fake.sum() == 19
    held = counts["val"]
    said = f"ingest: val: {held['samples']} samples of {held['classes']} classes, {held['forgeries']} of them forgeries"
    assert said in capsys.readouterr().out.splitlines()


def listed(root: Path, *lines: str, folder: str = "raw") -> None:
    put(root / folder / "trials.txt", "\n".join(lines).encode())


TRIALS = ("1 a/007.png a/003.png", "0 a/007.png c/001.png", "1 b/001.png b/000.png")


@pytest.mark.parametrize("by", ["class", "group", "sample"])
def test_listed_trials_are_test_whatever_the_hash(by: str, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [*"abc", *(f"k{number}" for number in range(12))]
    class_folders(project / "many", classes=names, each=8)
    table = pd.DataFrame([(f"{name}/{n:03}.png", name) for name in names for n in range(8)], columns=["path", "label"])
    table.assign(group=[f"w{number % 50}" for number in range(120)]).to_csv(project / "many/table.csv", index=False)
    listed(project, *TRIALS, folder="many")
    changes: dict[str, Any] = {"source": "manifest", "path": "many", "split": {"by": by, "val": 0.3, "test": 0.2}}
    ingest.run(block(project, **changes), project)
    before = artifacts.SAMPLES.read(project).set_index("id")
    assert not artifacts.TRIALS.there(project)
    assert "trials" not in artifacts.SUMMARY.read(project)
    ingest.run(block(project, trials="trials.txt", **changes), project)
    samples, trials = artifacts.SAMPLES.read(project).set_index("id", drop=False), artifacts.TRIALS.read(project)
    assert trials.values.tolist() == [
        ["a/007.png", "a/003.png", 1],
        ["a/007.png", "c/001.png", 0],
        ["b/001.png", "b/000.png", 1],
    ]
    column = "id" if by == "sample" else by
    moved = samples[column].isin(samples.loc[[*trials["left"], *trials["right"]], column])
    assert (samples["split"][moved] == "test").all()
    assert (before["split"][moved] != "test").any()
    assert (samples["split"][~moved] == before["split"][~moved]).all()
    assert artifacts.SUMMARY.read(project)["trials"] == {"trials": 3, "genuine": 2, "samples": 5}
    assert "ingest: trials: 3 as listed, 2 of them genuine, between 5 samples" in capsys.readouterr().out.splitlines()
    ingest.run(block(project, **changes), project)
    assert not artifacts.TRIALS.there(project)


def test_the_list_of_trials_is_no_sample_also_beside_an_archive(project: Path) -> None:
    listed(project, *TRIALS)
    ingest.run(block(project, trials="trials.txt"), project)
    samples, summary = artifacts.SAMPLES.read(project), artifacts.SUMMARY.read(project)
    assert (summary["found"], summary["quarantined"]) == (60, {})
    (project / "packed").mkdir()
    zipped(project / "raw", project / "packed/all.zip")
    (project / "raw/trials.txt").rename(project / "packed/trials.txt")
    ingest.run(block(project, path="packed", trials="trials.txt"), project)
    again = artifacts.SAMPLES.read(project)
    pd.testing.assert_frame_equal(again[again["id"] != "trials.txt"], samples)


def test_an_exact_copy_in_a_trial_stands_for_the_one_that_stays(project: Path) -> None:
    put(project / "raw/a/999.png", (project / "raw/a/003.png").read_bytes())
    listed(project, "1 a/999.png a/001.png", "0 a/999.png b/000.png")
    ingest.run(block(project, trials="trials.txt"), project)
    assert artifacts.TRIALS.read(project)["left"].tolist() == ["a/003.png"] * 2


WRONG_TRIALS: dict[str, tuple[list[str], dict[str, Any], str]] = {
    "unknown": (["1 a/01.png a/003.png", "0 a/001.png b/000.png"], {}, r"line 1: .*'a/01\.png'; the nearest is 'a/0"),
    "unusable": (["1 a/001.png a/002.png", "0 a/bad.png b/000.png"], {}, r"line 2: a/bad\.png cannot be used \(empty"),
    "contradicted": (["1 a/001.png b/002.png", "0 a/001.png c/000.png"], {}, r"line 1: it says of one class"),
    "a column": (
        ["1 a/000.png a/002.png", "0 a/000.png b/000.png"],
        {"source": "manifest", "split": {"by": "column", "val": 0.3}},
        r"line 1: a/000\.png is in (train|val), and trials are for test: change ingest\.split",
    ),
}


@pytest.mark.parametrize("case", WRONG_TRIALS)
def test_trials_that_cannot_be_stop_the_stage_in_a_line(case: str, project: Path) -> None:
    lines, changes, words = WRONG_TRIALS[case]
    manifest(project)
    put(project / "raw/a/bad.png", b"")
    listed(project, *lines)
    with pytest.raises(ValueError, match=rf"^ingest\.trials: trials\.txt {words}") as caught:
        ingest.run(block(project, trials="trials.txt", **changes), project)
    assert len(str(caught.value).splitlines()) == 1
    assert not (project / artifacts.MEDIA.path).exists()


def test_trials_do_not_go_with_groups_held_out(project: Path) -> None:
    with pytest.raises(ValueError, match=r"trials: t\.txt names the test samples itself: hold_out does not go with it"):
        block(project, trials="t.txt", split={"hold_out": ["a"]})


def test_a_manifest_without_what_the_split_asks_for_is_refused(project: Path) -> None:
    manifest(project, without="group split")
    with pytest.raises(ValueError, match=r"60 of 60 samples have no group \(a/000\.png, .*ingest\.columns\.group"):
        ingest.run(block(project, source="manifest", split={"by": "group"}), project)
    with pytest.raises(
        ValueError, match=r"^ingest\.split\.column: the source carries no column 'split'; it carries: age$"
    ):
        ingest.run(block(project, source="manifest", split={"by": "column"}), project)
    with pytest.raises(ValueError, match=r"it carries: none$"):
        ingest.run(block(project, split={"by": "column"}), project)
    assert not (project / artifacts.MEDIA.path).exists()
    assert not (project / artifacts.SAMPLES.path).exists()


def test_tables_with_the_images_inside_give_the_same_media(project: Path, tmp_path: Path) -> None:
    ingest.run(block(project), project)
    expected, media = artifacts.SAMPLES.read(project), artifacts.read_media(project)[0].copy()
    rows = [
        {"image": (project / "raw" / sample["path"]).read_bytes(), "label": sample["class"], "writer": number % 7}
        for number, sample in enumerate(expected.to_dict("records"))
    ]
    for name, part in (("test-00000-of-00001", rows[::2]), ("train-00000-of-00001", rows[1::2])):
        path = put(project / f"shards/{name}.parquet", b"")
        pd.DataFrame(part).to_parquet(path, index=False, row_group_size=8)
    changes = {"source": "parquet", "path": "shards", "columns": COLUMNS | {"group": "writer"}}
    ingest.run(block(project, split={"by": "column", "val": 0.4}, **changes), project)
    samples = artifacts.SAMPLES.read(project)
    order = [*range(0, 60, 2), *range(1, 60, 2)]
    assert samples["hash"].tolist() == expected["hash"][order].tolist()
    assert samples["class"].tolist() == expected["class"][order].tolist()
    assert samples["group"].tolist() == [str(number % 7) for number in order]
    assert samples["carried.split"].tolist() == ["test"] * 30 + ["train"] * 30
    assert set(samples["split"][:30]) == {"test"}
    np.testing.assert_array_equal(artifacts.read_media(project)[0], media[order])


def test_checks_are_told_and_counted(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = manifest(project)
    put(project / "raw/a/003.png", (project / "raw/a/002.png").read_bytes())
    put(project / "raw/c/019.png", (project / "raw/b/000.png").read_bytes())
    put(project / "raw/c/000.png", encoded(np.full((12, 10), 7, np.uint8)))
    split = {"by": "column", "val": 0.3}
    ingest.run(block(project, source="manifest", split=split, checks=CHECKS | {"same_group": "warn"}), project)
    summary = artifacts.SUMMARY.read(project)
    assert summary["found"] == 60 == summary["kept"] + sum(summary["quarantined"].values())
    assert summary["quarantined"] == {"label conflict": 2, "duplicate": 1}
    found = {name: (row["mode"], row["count"]) for name, row in summary["checks"].items()}
    groups = artifacts.SAMPLES.read(project).groupby("group")["split"].nunique()
    assert found == {
        "small_classes": ("fail", 0),
        "label_conflicts": ("warn", 2),
        "same_file": ("warn", 1),
        "same_group": ("warn", (groups > 1).sum()),
        "near_duplicates": ("warn", 0),
        "constant": ("warn", 1),
    }
    assert table["split"][2:4].tolist() == ["test", "train"]
    told = capsys.readouterr().out.splitlines()
    assert (
        "ingest: check same_file: 1 files are in two splits of the table, and left out of one: "
        "a/003.png (train) is a/002.png (test)"
    ) in told
    assert "ingest: check constant: 1 samples are the same all over: c/000.png" in told
    assert not [line for line in told if "small_classes" in line or "near_duplicates" in line]


def test_a_file_in_two_splits_of_the_split_file_stops_the_stage_where_it_is_to(project: Path) -> None:
    put(project / "raw/a/003.png", (project / "raw/a/002.png").read_bytes())
    ids = [f"{c}/{number:03}.png" for c in "abc" for number in range(20)]
    table = pd.DataFrame({"id": ids, "split": ["train", "val", "test", "Validation"] * 15})
    table.to_csv(project / "raw/splits.csv", index=False)
    split = {"by": "file", "file": "splits.csv"}
    with pytest.raises(
        ValueError, match=r"^check same_file: 1 files .*: a/003\.png \(val\) is a/002\.png \(test\); mend the data"
    ):
        ingest.run(block(project, split=split, checks=CHECKS | {"same_file": "fail"}), project)
    ingest.run(block(project, split=split), project)
    assert artifacts.SUMMARY.read(project)["checks"]["same_file"]["count"] == 1


def test_near_duplicates_of_another_split_stop_the_stage_where_they_are_to(project: Path) -> None:
    table = pd.DataFrame(
        {"path": [f"{c}/{n:03}.png" for c in "abc" for n in range(20)], "split": ["train", "test"] * 30}
    )
    table.assign(label=table["path"].str[0]).to_csv(project / "raw/table.csv", index=False)
    pixels = noise(0).astype(int) * 97 // 100
    put(project / "raw/a/001.png", encoded(pixels.astype(np.uint8)))
    changes: dict[str, Any] = {"source": "manifest", "split": {"by": "column", "val": 0.4}}
    ingest.run(block(project, **changes), project)
    near = artifacts.SUMMARY.read(project)["checks"]["near_duplicates"]
    assert near["count"] == 1
    assert near["examples"][0].startswith("a/001.png (test) ~ a/000.png (")
    (project / artifacts.MEDIA.path).unlink()
    with pytest.raises(
        ValueError, match=r"^check near_duplicates: 1 samples .* a/001\.png \(test\) ~ a/000\.png"
    ) as caught:
        ingest.run(block(project, checks=CHECKS | {"near_duplicates": "fail"}, **changes), project)
    assert len(str(caught.value).splitlines()) == 1
    assert not (project / artifacts.MEDIA.path).exists()
    ingest.run(block(project, checks=CHECKS | {"near_duplicates": "off"}, **changes), project)
    assert artifacts.SUMMARY.read(project)["checks"]["near_duplicates"] == {"mode": "off"}


def test_small_classes_are_left_out_where_the_check_warns(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(project / "raw/lone/0.png", encoded(noise(9, height=30)))
    ingest.run(block(project, checks=CHECKS | {"small_classes": "warn"}), project)
    summary = artifacts.SUMMARY.read(project)
    assert summary["quarantined"] == {"class too small": 1}
    assert summary["checks"]["small_classes"] == {"mode": "warn", "count": 1, "examples": ["lone"]}
    assert (
        "ingest: check small_classes: 1 classes have too few usable samples and are left out: lone"
        in capsys.readouterr().out.splitlines()
    )


def test_the_checks_of_the_params_are_those_of_the_code() -> None:
    assert list(Checks.model_fields) == list(checks.CHECKS)


def test_the_sources_of_the_params_are_those_of_the_code() -> None:
    assert list(get_args(Params.model_fields["source"].annotation)) == list(SOURCES)


def test_the_ways_to_split_of_the_params_are_those_of_the_code() -> None:
    assert list(get_args(Split.model_fields["by"].annotation)) == list(SPLITTERS)


def test_only_a_manifest_takes_a_table(project: Path) -> None:
    with pytest.raises(ValueError, match=r"table: t\.csv is of source: manifest or pairs only, not of folder"):
        block(project, table="t.csv")


def test_colour_and_the_least_side_are_params(project: Path) -> None:
    put(project / "raw/a/900.png", encoded(noise(5, channels=3)))
    put(project / "raw/a/901.png", encoded(noise(6, channels=3, height=8)))
    ingest.run(block(project, image={"channels": 3, "height": 6, "width": 5, "crop": None, "min_side": 9}), project)
    summary = artifacts.SUMMARY.read(project)
    assert summary["shape"] == list(artifacts.read_media(project)[0].shape[1:]) == [3, 6, 5]
    assert summary["preprocessing"] == {
        "kind": "image",
        "height": 6,
        "width": 5,
        "channels": 3,
        "crop": None,
        "min_side": 9,
    }
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
    "empty source": ({"path": "empty"}, "is empty: nothing in it is a sample"),
    "small class": ({"path": "small"}, r"fewer than 2 usable samples.*s \(1 of 1\)"),
    "no idx": ({"source": "idx"}, "raw"),
    "split too small": ({"split": {"val": 0.001}}, "val too small.*ingest.split.val"),
    "no group": ({"split": {"hold_out": ["raw"]}}, "unknown group in ingest.split.hold_out: 'raw'; known: none"),
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


def test_reasons_are_counted_without_their_particulars() -> None:
    given = [
        "duplicate of a/1.png",
        "duplicate of b of c.png",
        "label conflict with a/004.png (class a)",
        "10x2 pixels, a side shorter than 4",
        "3x2 pixels, a side shorter than 4",
        "damaged image: broken data stream",
    ]
    assert ingest.reasons(pd.Series(given)) == {
        "duplicate": 2,
        "NxN pixels, a side shorter than N": 2,
        "label conflict": 1,
        "damaged image": 1,
    }


SOUND = {
    "rate": 8000,
    "seconds": 0.5,
    "overlap": 0.5,
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


def test_a_sound_of_several_windows_is_one_sample(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make(tmp_path / "project", data=False)
    for number in range(48):
        sound = recordings.encoded(recordings.hiss(number, seconds=1.3))
        put(root / "raw" / "abcd"[number % 4] / f"{number}.wav", sound)
    put(root / "raw/a/no.wav", b"RIFF")
    ingest.run(block(root, kind="audio", image=None, audio=SOUND), root)
    samples, (media, offsets) = artifacts.SAMPLES.read(root), artifacts.read_media(root)
    assert sorted(samples["id"]) == sorted(f"{'abcd'[number % 4]}/{number}.wav" for number in range(48))
    assert (media.dtype, media.shape) == (np.float16, (48 * 5, 20, 48))
    assert offsets.tolist() == list(range(0, 241, 5))
    made = kinds.build("audio", **SOUND)
    for place, name in enumerate(samples["id"]):
        rows = media[offsets[place] : offsets[place + 1]]
        np.testing.assert_array_equal(rows, made.rows((root / "raw" / name).read_bytes()))
    assert set(samples["split"]) == set(artifacts.SPLITS)
    summary = artifacts.SUMMARY.read(root)
    assert summary["preprocessing"] == {"kind": "audio", **SOUND}
    assert (summary["found"], summary["kept"], summary["rows"]) == (49, 48, 240)
    told = capsys.readouterr().out.splitlines()
    assert told[:2] == ["ingest: 49 found, 48 kept, 1 in quarantine", "ingest: 240 windows of the 48 kept"]


def test_near_duplicates_of_long_sounds_are_found_by_their_windows(tmp_path: Path) -> None:
    root = make(tmp_path / "project", data=False)
    for number in range(48):
        sound = recordings.hiss(number, seconds=1.3)
        put(root / "raw" / "abcd"[number % 4] / f"{number}.wav", recordings.encoded(sound))
        if number < 8:
            softer = recordings.encoded(sound / 2, "OGG", "VORBIS")
            put(root / "raw" / "abcd"[number % 4] / f"{number} again.ogg", softer)
    ingest.run(block(root, kind="audio", image=None, audio=SOUND, near_bits=48), root)
    splits = artifacts.SAMPLES.read(root).set_index("id")["split"]
    names = [f"{'abcd'[number % 4]}/{number}" for number in range(8)]
    apart = {name for name in names if splits[f"{name}.wav"] != splits[f"{name} again.ogg"]}
    held_out = [f"{name}{end}" for name in apart for end in (".wav", " again.ogg")]
    near = artifacts.SUMMARY.read(root)["checks"]["near_duplicates"]
    assert near["count"] == sum(splits[name] != "train" for name in held_out) > 2
    for example in near["examples"]:
        one, other = re.findall(r"([abcd]/\d+)", example)
        assert one == other
        assert one in apart


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "audio"}, "kind audio takes no block image: set image: null"),
        ({"kind": "audio", "image": None}, "kind audio needs the block audio"),
        ({"near_bits": 17}, "near_bits is 17: for the kind image it may be 0 to 16"),
        (
            {"kind": "audio", "image": None, "audio": SOUND, "near_bits": 65},
            "near_bits is 65: for the kind audio it may be 0 to 64",
        ),
        (
            {"kind": "text", "source": "digits"},
            "source digits holds samples of kind image: kind text does not go with it",
        ),
    ],
)
def test_the_block_of_the_kind_is_the_one_that_is_there(changes: dict[str, Any], words: str, project: Path) -> None:
    with pytest.raises(ValueError, match=words):
        block(project, **changes)


@pytest.mark.parametrize("longest", [11, 20])
def test_texts_that_are_cut_are_counted_in_the_summary_and_aloud(
    longest: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make(tmp_path / "project", data=False)
    for number in range(48):
        text = f"{number:02} {'y' * (longest - 3 if number % 4 == 0 else 5)}"
        put(root / "raw" / "abc"[number % 3] / f"{number}.txt", text.encode())
    ingest.run(
        block(root, kind="text", image=None, text={"length": 11}, checks=CHECKS | {"near_duplicates": "off"}), root
    )
    cut = {"samples": 12, "bytes": 108} if longest == 20 else {"samples": 0, "bytes": 0}
    assert artifacts.SUMMARY.read(root)["left_out"] == cut
    told = "ingest: 12 texts are longer than 11 bytes (ingest.text.length): 108 bytes are cut off"
    assert (told in capsys.readouterr().out.splitlines()) == (longest == 20)

from __future__ import annotations

import itertools
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from likewise import artifacts
from likewise.data.splits import assign
from likewise.stages import ingest, pairs
from tests.data import recordings
from tests.data.pictures import encoded, noise, put
from tests.small import make, params
from tests.stages.test_ingest import CHECKS, SOUND, SPLIT

OUTPUTS = (artifacts.GIVEN_PAIRS, artifacts.REJECTED_PAIRS)
Rows = list[tuple[Any, ...]]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make(tmp_path / "project", data=False)


def run(root: Path, *, split: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    wanted = {"val": 0.3, "test": 0.3} | (split or {})
    block = params(root, "ingest", **{"source": "pairs", "path": "raw", "split": SPLIT | wanted} | changes)
    ingest.run(block, root)
    return artifacts.SUMMARY.read(root)


def scenes(root: Path, count: int = 24, *, between: int = 0) -> Rows:
    """Write four pictures a scene; return two genuine and two impostor pairs of each, and some across scenes."""
    for number in range(count):
        for view in range(4):
            put(root / f"raw/s{number:02}/{view}.png", encoded(noise(100 * number + view)))
    rows: Rows = []
    for number in range(count):
        a, b, c, d = (f"s{number:02}/{view}.png" for view in range(4))
        rows += [(a, b, 1), (c, d, 1), (a, c, 0), (b, d, 0)]
    draw = random.Random(0)
    for _ in range(between):
        one, other = draw.sample(range(count), 2)
        rows.append((f"s{one:02}/0.png", f"s{other:02}/3.png", 0))
    return list(dict.fromkeys(rows))


def write(root: Path, rows: Rows, *more: str) -> None:
    pd.DataFrame(rows, columns=["path_a", "path_b", "same", *more]).to_csv(root / "raw/pairs.csv", index=False)


def sides(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the samples by id, and the kept pairs with the split and group of both sides."""
    samples, kept = artifacts.SAMPLES.read(root).set_index("id"), artifacts.GIVEN_PAIRS.read(root)
    for side, column in itertools.product(("left", "right"), ("split", "group")):
        kept[f"{side}_{column}"] = samples.loc[kept[side], column].to_numpy()
    return samples, kept


def test_pairs_are_kept_as_given_and_what_they_join_stays_together(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = scenes(project)
    write(project, [(*row, number) for number, row in enumerate(rows)], "n")
    summary = run(project)
    samples, kept = sides(project)
    assert samples["class"].isna().all()
    assert kept[["left", "right", "same"]].values.tolist() == [list(row) for row in rows]
    assert kept["carried.n"].tolist() == [str(number) for number in range(len(rows))]
    assert (kept["left_split"] == kept["right_split"]).all()
    assert (samples.groupby(samples.index.str[:3])["split"].nunique() == 1).all()
    assert (samples["group"] == samples.index.str[:3] + "/0.png").all()
    assert (summary["found"], summary["kept"], summary["quarantined"]) == (96, 96, {})
    counts = {
        split: {"pairs": len(each), "genuine": int(each["same"].sum())} for split, each in kept.groupby("left_split")
    }
    assert summary["pairs"] == {"found": 96, "kept": 96, "quarantined": {}, "splits": counts}
    assert len(artifacts.CLASSES.read(project)) == len(artifacts.REJECTED_PAIRS.read(project)) == 0
    told = capsys.readouterr().out.splitlines()
    assert "ingest: pairs: 96 found, 96 kept, 0 left out" in told
    held = summary["splits"]["val"]["samples"]
    own = counts["val"]
    assert f"ingest: val: {held} samples, {own['pairs']} pairs, {own['genuine']} of them genuine" in told
    ingest.run(params(project, "ingest"), project)
    assert not any(table.there(project) for table in OUTPUTS)


def test_totals_add_up_and_every_row_left_out_has_its_reason(project: Path) -> None:
    rows = scenes(project)
    put(project / "raw/s00/1.png", b"damaged")
    put(project / "raw/zcopy.png", (project / "raw/s01/0.png").read_bytes())
    wrong: Rows = [
        ("s02/1.png", "s02/0.png", 1),
        ("s03/0.png", "s03/1.png", 0),
        ("s04/0.png", "s04/0.png", 1),
        ("s04/0.png", "gone.png", 1),
        ("zcopy.png", "s01/0.png", 1),
        ("zcopy.png", "s01/1.png", 1),
        ("zcopy.png", "s01/3.png", 0),
        ("s05/0.png", "s05/3.png", "x"),
        ("", "s05/3.png", 0),
    ]
    write(project, [*rows, *wrong])
    summary = run(project)
    rejected, (_, kept) = artifacts.REJECTED_PAIRS.read(project), sides(project)
    assert Counter(rejected["reason"].str.split(":").str[0]) == {
        "a file cannot be used": 3,
        "repeats row 9": 1,
        "repeats row 5": 1,
        "contradicts row 98": 1,
        "contradicts row 13": 1,
        "both sides are one file": 1,
        "both sides have one content": 1,
        "same is 'x', neither 0 nor 1": 1,
        "path_a is empty": 1,
    }
    found = summary["pairs"]
    assert found["found"] == len(rows) + len(wrong) == found["kept"] + sum(found["quarantined"].values())
    assert found["quarantined"]["repeats row N"] == 2
    assert kept[["left", "right", "same"]].values.tolist()[-1] == ["s01/0.png", "s01/3.png", 0]
    assert (summary["found"], summary["kept"]) == (98, 95)
    assert summary["found"] == summary["kept"] + sum(summary["quarantined"].values())
    assert summary["quarantined"] == {"no such file": 1, "not an image that Pillow can read": 1, "duplicate": 1}
    assert summary["checks"]["label_conflicts"]["count"] == 2
    with pytest.raises(
        ValueError, match=r"^check label_conflicts: 2 pairs are called genuine and impostor, .* row 13 contra"
    ):
        run(project, checks=CHECKS | {"label_conflicts": "fail"})


def test_impostors_that_join_everything_are_refused_by_sample_and_left_out_by_class(project: Path) -> None:
    rows = scenes(project, between=60)
    write(project, rows)
    with pytest.raises(
        ValueError, match=r"by: sample keeps together what pairs join, and they join \d+% .* split by class"
    ):
        run(project)
    write(project, [(*row, "test" if row[0] > "s20" and row[1] > "s20" else "train") for row in rows], "split")
    with pytest.raises(ValueError, match=r"val stays together .* they join \d+% of the samples: say val in the column"):
        run(project, split={"by": "column"})
    write(project, rows)
    summary = run(project, split={"by": "class"})
    samples, kept = sides(project)
    genuine = kept["same"] == 1
    assert (kept["left_split"] == kept["right_split"]).all()
    assert (kept["left_group"] == kept["right_group"])[genuine].all()
    assert (kept["left_group"] != kept["right_group"])[~genuine].all()
    assert genuine.sum() == 48
    assert (samples.groupby("group")["split"].nunique() == 1).all()
    rejected = artifacts.REJECTED_PAIRS.read(project)
    assert rejected["reason"].str.startswith("its files are in two splits: ").all()
    assert len(rejected) == summary["pairs"]["quarantined"]["its files are in two splits"] > 0
    names = samples["group"].reset_index(drop=True)
    again = assign(samples.reset_index().assign(id=names), by="sample", val=0.3, test=0.3, classless=True)
    assert again.tolist() == samples["split"].tolist()


def test_added_pairs_move_no_sample_unless_they_join_two_parts(project: Path) -> None:
    rows = scenes(project)
    write(project, rows[:80])
    run(project)
    before = artifacts.SAMPLES.read(project).set_index("id")["split"]
    for view in range(3):
        put(project / f"raw/s05/new{view}.png", encoded(noise(9000 + view)))
    write(project, [*rows[::-1], ("s05/3.png", "s05/new0.png", 1), ("s05/new1.png", "s05/new2.png", 0)])
    run(project)
    after = artifacts.SAMPLES.read(project).set_index("id")["split"]
    assert (after[before.index] == before).all()
    assert after["s05/new0.png"] == before["s05/0.png"]
    other = next(f"s{n:02}/0.png" for n in range(6, 20) if before[f"s{n:02}/0.png"] != before["s05/0.png"])
    write(project, [*rows, ("s05/0.png", other, 0)])
    run(project)
    joined = artifacts.SAMPLES.read(project).set_index("id")["split"]
    moved = joined.index[joined != before.reindex(joined.index).fillna(joined)]
    assert set(moved.str[:3]) == {other[:3]}
    assert joined[other] == before["s05/0.png"]


def test_split_by_group_keeps_the_groups_of_the_table(project: Path) -> None:
    rows = scenes(project, between=40)
    inside = [row for row in rows if row[0][:3] == row[1][:3]]
    write(project, [(*row, f"g{int(row[0][1:3]) // 2}") for row in inside], "group")
    run(project, split={"by": "group"})
    samples, kept = sides(project)
    assert (samples["group"] == ["g" + str(int(name[1:3]) // 2) for name in samples.index]).all()
    assert (samples.groupby("group")["split"].nunique() == 1).all()
    assert len(kept) == len(inside)
    write(project, rows)
    with pytest.raises(ValueError, match=r"96 of 96 samples have no group"):
        run(project, split={"by": "group"})
    write(project, [(*row, f"g{row[0][1:3]}") for row in rows], "group")
    with pytest.raises(
        ValueError, match=r"is of two groups, g\d+ \(row \d+\) and g\d+ \(row \d+\): give each file one"
    ):
        run(project)


def test_split_by_column_is_the_tables_and_a_file_in_two_splits_is_told(project: Path) -> None:
    rows = scenes(project, 10)
    stated = [(*row, ("Training", "test", "train", "dev", "test")[int(row[0][1:3]) % 5]) for row in rows]
    odd = [("s00/0.png", "s00/3.png", 0, "test"), ("s01/0.png", "s01/3.png", 0, "")]
    across = [("s00/1.png", "s01/1.png", 0, "")]
    write(project, [*stated, *odd, *across], "split")
    summary = run(project, split={"by": "column"})
    samples, kept = sides(project)
    expected = {0: "train", 1: "test", 2: "train", 3: "val", 4: "test"}
    assert samples["split"].tolist() == [expected[int(name[1:3]) % 5] for name in samples.index]
    assert len(kept) == len(stated) + 1
    assert summary["checks"]["same_file"]["examples"] == [
        "row 41 a file is named in two splits: s00/0.png is in train by row 1, here in test"
    ]
    assert artifacts.REJECTED_PAIRS.read(project)["row"].tolist() == [41, 43]
    with pytest.raises(ValueError, match=r"^check same_file: 1 files are in two splits"):
        run(project, split={"by": "column"}, checks=CHECKS | {"same_file": "fail"})
    write(project, [row for row in stated if row[3] != "dev"], "split")
    run(project, split={"by": "column", "val": 0.4})
    samples, _ = sides(project)
    assert set(samples["split"]) == set(artifacts.SPLITS)
    assert (samples.groupby(samples.index.str[:3])["split"].nunique() == 1).all()
    with pytest.raises(
        ValueError, match=r"^ingest\.split\.column: the source carries no column 'part'; it carries: split$"
    ):
        run(project, split={"by": "column", "column": "part"})


def test_split_by_file_leaves_out_what_lies_across(project: Path) -> None:
    rows = scenes(project, 9)
    write(project, rows)
    names = sorted({name for row in rows for name in row[:2]})
    splits = pd.DataFrame({"id": names, "split": [artifacts.SPLITS[int(name[1:3]) % 3] for name in names]})
    splits.loc[splits["id"] == "s04/3.png", "split"] = "train"
    splits.to_csv(project / "raw/splits.csv", index=False)
    summary = run(project, table="pairs.csv", split={"by": "file", "file": "splits.csv"})
    samples, kept = sides(project)
    assert samples["split"].to_dict() == dict(zip(splits["id"], splits["split"], strict=True))
    assert summary["pairs"]["quarantined"] == {"its files are in two splits": 2}
    assert (kept["left_split"] == kept["right_split"]).all()


def written(kind: str, number: int) -> bytes:
    draw = np.random.default_rng(number)
    if kind == "audio":
        return recordings.encoded(recordings.hiss(number, seconds=0.5 + number % 3))
    if kind == "text":
        return f"sentence {number} {draw.integers(10**9)}".encode()
    return "\n".join(["x,y", *(f"{x},{y}" for x, y in draw.normal(size=(20, 2)))]).encode()


KINDS: dict[str, dict[str, Any]] = {
    "audio": {"audio": SOUND, "near_bits": 48},
    "text": {"text": {"length": 40}, "near_bits": 48},
    "sequence": {
        "sequence": {
            "length": 16,
            "channels": ["x", "y"],
            "time": None,
            "centre": True,
            "scale": True,
            "together": None,
            "differences": False,
            "min_points": 2,
            "max_points": 1000,
        },
        "near_bits": 8,
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_samples_comes_in_pairs(kind: str, project: Path) -> None:
    rows: Rows = []
    for number in range(20):
        names = [f"{number:02}{view}.dat" for view in range(3)]
        for view, name in enumerate(names):
            put(project / "raw" / name, written(kind, 3 * number + view))
        rows += [(names[0], names[1], 1), (names[1], names[2], 0)]
    write(project, rows)
    summary = run(project, kind=kind, image=None, **KINDS[kind])
    assert (summary["found"], summary["kept"], summary["pairs"]["kept"]) == (60, 60, 40)
    samples, (media, offsets) = artifacts.SAMPLES.read(project), artifacts.read_media(project)
    assert len(offsets) == len(samples) + 1
    assert offsets[-1] == len(media)
    pairs.run(params(project, "pairs", train=6, val=None, test=4), project)
    for split in artifacts.SPLITS:
        frame = artifacts.PAIRS[split].read(project)
        assert set(frame["same"]) == {0, 1}
        assert {*frame["left"], *frame["right"]} <= set(samples["id"][samples["split"] == split])


def test_given_pairs_do_not_go_with_a_list_of_trials(project: Path) -> None:
    with pytest.raises(
        ValueError, match=r"trials: t\.txt does not go with source: pairs: put the trials into its table"
    ):
        params(project, "ingest", source="pairs", trials="t.txt")

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from likewise.data import shards
from likewise.data.decoding import decode_all
from likewise.data.kinds import build
from likewise.data.raw import Raw, Source, Unreadable
from likewise.data.shards import open_parquet
from likewise.data.tables import FREE_ROWS, Columns
from tests.data.pictures import encoded, noise, put
from tests.data.readings import told

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def png(number: int) -> bytes:
    return encoded(noise(number))


def hub(start: int, count: int, **columns: object) -> pa.Table:
    images = [{"bytes": png(number), "path": f"{number}.png"} for number in range(start, start + count)]
    labels = [number % 3 for number in range(start, start + count)]
    return pa.table({"image": pa.array(images, STRUCT), "label": labels, **columns})


def saved(table: pa.Table, file: Path, *, group: int = 4) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file, row_group_size=group)
    return file


def contents(source: Source) -> list[object]:
    with source.reader.reading() as read:
        return [read(raw) for raw in source]


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_shards_are_read_one_after_another(tmp_path: Path, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "BATCH_ROWS", batch)
    saved(hub(0, 10), tmp_path / "data" / "train-00000-of-00002.parquet")
    saved(hub(10, 7), tmp_path / "data" / "train-00001-of-00002.parquet")
    saved(hub(17, 2), tmp_path / "data" / "test-00000-of-00001.parquet")
    put(tmp_path / ".cache" / "x.parquet", b"hidden")
    put(tmp_path / "README.md", b"text")
    source = open_parquet(tmp_path)
    names = [("test-00000", 2), ("train-00000", 10), ("train-00001", 7)]
    assert [raw.id for raw in source] == [f"data/{name}/{row:08d}" for name, count in names for row in range(count)]
    assert [raw.id for raw in source] == sorted(raw.id for raw in source)
    numbers = [17, 18, *range(17)]
    assert [raw.label for raw in source] == [str(number % 3) for number in numbers]
    assert source.raws[3].path == "data/train-00000-of-00002.parquet#1"
    assert contents(source) == [png(number) for number in numbers]
    assert source.carried is not None
    assert source.carried.to_pydict() == {
        "image.path": [f"{number}.png" for number in numbers],
        "split": ["test"] * 2 + ["train"] * 17,
    }


def test_any_row_is_read_in_any_order(tmp_path: Path) -> None:
    source = open_parquet(saved(hub(0, 40), tmp_path / "a.parquet", group=9))
    order = np.random.default_rng(0).permutation(40).tolist()
    with source.reader.reading() as read:
        assert [read(source.raws[row]) for row in order] == [png(row) for row in order]
    assert source.read(source.raws[23]) == png(23)
    assert [raw.id for raw in source][:2] == ["a/00000000", "a/00000001"]
    with pytest.raises(ValueError, match="'x' is not of this table"):
        source.read(Raw("x", "a", "x", place=40))


def test_workers_change_nothing(tmp_path: Path) -> None:
    source = open_parquet(saved(hub(0, 150), tmp_path / "a.parquet", group=40))
    image = build("image", height=6, width=5, channels=1)
    alone, three = (told(decode_all(source, image, workers=workers)) for workers in (1, 3))
    assert alone == three
    assert [index for index, *_ in alone] == list(range(150))


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_plain_bytes_and_labels_in_words(tmp_path: Path, kind: pa.DataType) -> None:
    table = pa.table({"img": pa.array([png(0), png(1)], kind), "name": ["x", "y"], "group": ["g", None], "n": [1, 2]})
    source = open_parquet(saved(table, tmp_path / "a.parquet"), columns=Columns(image="img", label="name"))
    assert [(raw.label, raw.group) for raw in source] == [("x", "g"), ("y", None)]
    assert contents(source) == [png(0), png(1)]
    assert source.carried is not None
    assert source.carried.to_pydict() == {"n": [1, 2]}


def test_a_forgery_imitates_its_label_and_takes_the_group_of_its_class(tmp_path: Path) -> None:
    table = hub(0, 6, forged=[False, False, False, True, True, None], group=["n", "s", "s", None, "s", "w"])
    source = open_parquet(saved(table, tmp_path / "a.parquet"))
    assert [(raw.label, raw.forges, raw.group) for raw in source] == [
        *(("0", None, "n"), ("1", None, "s"), ("2", None, "s")),
        *((None, "0", "n"), (None, "1", "s"), ("2", None, "w")),
    ]
    assert {raw.refused for raw in source} == {None}
    assert source.carried is not None
    assert source.carried.column_names == ["image.path"]


def test_labels_are_named_where_the_file_names_them(tmp_path: Path) -> None:
    features = {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    described = json.dumps({"info": {"features": features}})
    table = hub(0, 4).set_column(1, "label", pa.array([1, 0, -1, None]))
    saved(table.replace_schema_metadata({"huggingface": described}), tmp_path / "a.parquet")
    source = open_parquet(tmp_path)
    assert [(raw.label, raw.refused) for raw in source] == [
        ("dog", None),
        ("cat", None),
        (None, "no label"),
        (None, "no label"),
    ]
    saved(table.replace_schema_metadata({"huggingface": "{"}), tmp_path / "a.parquet")
    assert [raw.label for raw in open_parquet(tmp_path)] == ["1", "0", "-1", None]


def test_a_split_of_the_table_itself_counts_before_names(tmp_path: Path) -> None:
    saved(hub(0, 2, split=["val", "test"]), tmp_path / "train-0.parquet")
    source = open_parquet(tmp_path)
    assert source.carried is not None
    assert source.carried["split"].to_pylist() == ["val", "test"]


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train/0000", "validation/0000"], ["train"] * 2 + ["validation"] * 2),
        (["train", "test_small"], ["test"] * 2 + ["train"] * 2),
        (["training-1", "trains-1"], None),
        (["train-1", "more"], None),
    ],
)
def test_splits_by_name_only_where_all_have_one(tmp_path: Path, names: list[str], splits: list[str] | None) -> None:
    for name in names:
        saved(hub(0, 2), tmp_path / f"{name}.parquet")
    carried = open_parquet(tmp_path).carried
    assert carried is not None
    assert (carried["split"].to_pylist() if "split" in carried.column_names else None) == splits


def test_rows_without_an_image_or_with_too_large_a_one_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "MAX_BYTES", 2)
    images = pa.array([{"bytes": None, "path": "far.png"}, None, {"bytes": b"abc"}, {"bytes": b"ab"}], STRUCT)
    source = open_parquet(saved(pa.table({"image": images, "label": [1] * 4}), tmp_path / "a.parquet"))
    for row, reason in enumerate(["no image in its row", "no image in its row", "3 bytes, more than 2"]):
        with pytest.raises(Unreadable, match=f"^{reason}$"):
            source.read(source.raws[row])
    assert source.read(source.raws[3]) == b"ab"


def test_a_damaged_row_group_is_refused_and_the_next_one_read(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    table = pa.table({"image": [bytes([number]) * 400 for number in range(9)], "label": [1] * 9})
    pq.write_table(table, file, row_group_size=3, compression="none", use_dictionary=False, write_page_checksum=False)
    source = open_parquet(file)
    content = bytearray(file.read_bytes())
    at = content.index(bytes([3]) * 400)
    content[at - 4 : at] = b"\xff\xff\xff\x7f"
    file.write_bytes(bytes(content))
    with source.reader.reading() as read:
        for raw in source.raws[3:6]:
            with pytest.raises(Unreadable, match=r"^damaged in the table: "):
                read(raw)
        assert read(source.raws[6]) == bytes([6]) * 400
        assert read(source.raws[0]) == bytes(400)


def test_a_shard_that_vanishes_is_said(tmp_path: Path) -> None:
    source = open_parquet(saved(hub(0, 2), tmp_path / "a.parquet"))
    (tmp_path / "a.parquet").unlink()
    with pytest.raises(Unreadable, match="vanished before it was read"):
        source.read(source.raws[0])


def test_what_is_no_such_table_is_refused_in_a_line(tmp_path: Path) -> None:
    cases: dict[str, tuple[pa.Table, str]] = {
        "image": (
            pa.table({"img": [b""], "label": [1]}),
            r"the table a\.parquet has no column 'image' \(ingest\.columns\.image\); its columns: img, label",
        ),
        "type": (pa.table({"image": ["a.png"], "label": [1]}), r"holds string: expected encoded images, as bytes or"),
        "struct": (pa.table({"image": [{"path": "a"}], "label": [1]}), r"holds struct<path: string>: expected encoded"),
        "label": (
            pa.table({"image": [b""], "fine_label": [1]}),
            r"has no column 'label' \(ingest\.columns\.label\); its columns: fine_label$",
        ),
        "float": (pa.table({"image": [b""], "label": [1.5]}), r"'label' .* holds double: write it as text or whole"),
    }
    for table, words in cases.values():
        with pytest.raises(ValueError, match=words):
            open_parquet(saved(table, tmp_path / "a.parquet"))
    with pytest.raises(ValueError, match=r"bad\.parquet is not a readable Parquet file: "):
        open_parquet(put(tmp_path / "bad.parquet", b"PAR1"))
    with pytest.raises(ValueError, match=r"nowhere does not exist"):
        open_parquet(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty has no \.parquet file: put the shards there"):
        open_parquet(tmp_path / "empty")


def test_a_file_of_more_rows_than_its_bytes_can_hold_is_refused(tmp_path: Path) -> None:
    zeros = pa.array(np.zeros(FREE_ROWS + 1, np.int8))
    image, label = (pa.DictionaryArray.from_arrays(zeros, pa.array([value])) for value in (b"image", "a"))
    file = saved(pa.table({"image": image.cast(pa.binary()), "label": label}), tmp_path / "a.parquet", group=1 << 20)
    with pytest.raises(ValueError, match=r"a\.parquet says it has 1000001 rows, in \d+ bytes: a decompression bomb is"):
        open_parquet(file)


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"info": {"features": {"label": {"names": 7}}}}', b"\xff"])
def test_a_description_of_the_classes_that_is_none_does_not_matter(content: bytes, tmp_path: Path) -> None:
    table = hub(0, 2).replace_schema_metadata({b"huggingface": content})
    assert [raw.label for raw in open_parquet(saved(table, tmp_path / "a.parquet"))] == ["0", "1"]


def test_shards_must_fit_each_other(tmp_path: Path) -> None:
    saved(hub(0, 2), tmp_path / "one" / "a.parquet")
    saved(hub(0, 2, age=[1, 2]), tmp_path / "one" / "b.parquet")
    with pytest.raises(
        ValueError, match=r"b\.parquet has other columns than a\.parquet: 'label' int64; 'age' int64; .*there"
    ):
        open_parquet(tmp_path / "one")
    for total in (2, 3):
        saved(hub(0, 2), tmp_path / "two" / f"train-00000-of-0000{total}.parquet")
    with pytest.raises(ValueError, match=r"of-00002\.parquet and train-00000-of-00003\.parquet are the same shard"):
        open_parquet(tmp_path / "two")


def test_links_lead_outside_only_where_the_path_itself_is_one(tmp_path: Path) -> None:
    file = saved(hub(0, 2), tmp_path / "outside" / "a.parquet")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "b.parquet").symlink_to(file)
    with pytest.raises(ValueError, match=r"b\.parquet is a link that leads outside the folder"):
        open_parquet(tmp_path / "root")
    assert len(open_parquet(tmp_path / "root" / "b.parquet")) == 2


MEASURE = """
import resource, sys
from pathlib import Path
from likewise.data.shards import open_parquet
import pyarrow.compute
source = open_parquet(Path(sys.argv[1]))
first = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with source.reader.reading() as read:
    total = sum(len(read(raw)) for raw in source)
print(total, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - first)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes on Linux only")
def test_memory_is_bounded_whatever_the_row_group(tmp_path: Path) -> None:
    image = np.random.default_rng(0).bytes(200_000)
    table = pa.table({"image": [bytes([number]) + image for number in range(250)], "label": [1] * 250})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=250, use_dictionary=False)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / "a.parquet")], capture_output=True, text=True, check=True
    )
    total, more = map(int, done.stdout.split())
    assert total == 250 * 200_001
    assert more < 30_000, f"{more} kB more for a row group of {total // 1000} kB"

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from likewise.data.decoded import DecodeCache
from likewise.data.images import ImageSpec
from likewise.data.ingestion import Ingested, ingest
from likewise.data.kinds import Preprocessing, Rows, build
from likewise.data.raw import Content
from likewise.data.sources import open_source
from tests.data import recordings
from tests.data.pictures import class_folders, encoded, noise, put, tarred, zipped
from tests.real import real

SPEC = build("image", height=6, width=5, channels=1)


@pytest.fixture
def messy(tmp_path: Path) -> Path:
    """Three classes of 40 samples; one each damaged, empty, tiny, twice in its class, in two classes, with no class."""
    root = class_folders(tmp_path / "messy", each=40)
    put(root / "a" / "005.png", b"damaged")
    put(root / "a" / "006.png", b"")
    put(root / "a" / "007.png", encoded(noise(1, height=2)))
    put(root / "b" / "zzz.png", encoded(noise(1003)))
    put(root / "c" / "zzz.png", encoded(noise(4)))
    put(root / "loose.png", encoded(noise(2)))
    return root


REASONS = {
    "a/004.png": "label conflict with c/zzz.png (class c)",
    "a/005.png": "not an image that Pillow can read",
    "a/006.png": "empty file",
    "a/007.png": "10x2 pixels, a side shorter than 4",
    "b/zzz.png": "duplicate of b/003.png",
    "c/zzz.png": "label conflict with a/004.png (class a)",
    "loose.png": "no class folder",
}


def taken(path: Path, media: Path, *, workers: int = 1) -> Ingested:
    return ingest(open_source("folder", path), SPEC, media_path=media, workers=workers)


def test_totals_add_up_and_every_rejection_has_its_reason(messy: Path, tmp_path: Path) -> None:
    result = taken(messy, tmp_path / "media.npy")
    assert result.found == 123 == len(result.samples) + len(result.quarantine)
    assert dict(zip(result.quarantine["id"], result.quarantine["reason"], strict=True)) == REASONS
    assert list(result.quarantine.columns) == ["id", "class", "path", "reason"]
    assert result.quarantine["class"].isna().tolist() == [False] * 6 + [True]


def test_rows_of_the_media_are_the_samples_in_the_order_of_their_ids(messy: Path, tmp_path: Path) -> None:
    samples = taken(messy, tmp_path / "media.npy").samples
    media = np.load(tmp_path / "media.npy", mmap_mode="r")
    assert list(samples.columns) == ["id", "class", "group", "path", "hash", "forges"]
    assert samples["id"].is_monotonic_increasing
    assert samples.index.equals(pd.RangeIndex(len(samples)))
    assert media.shape == (len(samples), *SPEC.shape)
    for row, sample in samples.iterrows():
        content = (messy / sample["path"]).read_bytes()
        assert sample["class"] == sample["id"].split("/")[0]
        assert sample["hash"] == hashlib.sha256(content).hexdigest()
        np.testing.assert_array_equal(media[row], SPEC.rows(content)[0])
    assert set(samples.dtypes.astype(str)) == {"str"}


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "tar.gz"])
def test_workers_and_packing_change_no_byte(messy: Path, tmp_path: Path, kind: str) -> None:
    plain = taken(messy, tmp_path / "plain.npy")
    packed = tmp_path / f"data.{kind}"
    if kind == "zip":
        zipped(messy, packed, below="top/")
    elif kind.startswith("tar"):
        tarred(messy, packed, mode=f"w:{kind.partition('.')[2]}", below="top/")
    result = taken(messy if kind == "folder" else packed, tmp_path / "media.npy", workers=3)
    columns = ["id", "class", "group", "hash"]
    pd.testing.assert_frame_equal(result.samples[columns], plain.samples[columns])
    pd.testing.assert_frame_equal(result.quarantine.drop(columns="path"), plain.quarantine.drop(columns="path"))
    assert (tmp_path / "media.npy").read_bytes() == (tmp_path / "plain.npy").read_bytes()


def known(folder: Path, preprocessing: Preprocessing = SPEC) -> DecodeCache:
    return DecodeCache(folder, "key", shape=preprocessing.shape, dtype=preprocessing.dtype, limit=1 << 30)


def never(content: Content) -> Rows:
    raise AssertionError("decoded again")


def same(one: Ingested, other: Ingested) -> None:
    pd.testing.assert_frame_equal(one.samples, other.samples)
    pd.testing.assert_frame_equal(one.quarantine, other.quarantine)
    np.testing.assert_array_equal(one.offsets, other.offsets)
    np.testing.assert_array_equal(one.left_out, other.left_out)


@pytest.mark.parametrize("kind", ["folder", "zip", "tar.gz"])
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_neither_cores_nor_the_cache_change_a_byte(messy: Path, tmp_path: Path, workers: int, kind: str) -> None:
    put(messy / "a" / "010.png", b"damaged too")
    packed = tmp_path / f"data.{kind}"
    if kind == "zip":
        zipped(messy, packed)
    elif kind == "tar.gz":
        tarred(messy, packed, mode="w:gz")
    source = open_source("folder", messy if kind == "folder" else packed)
    plain = ingest(source, SPEC, media_path=tmp_path / "plain.npy", workers=1)
    with known(tmp_path / "cache") as cache:
        first = ingest(source, SPEC, media_path=tmp_path / "first.npy", workers=workers, cache=cache)
    with known(tmp_path / "cache") as cache:
        again = replace(SPEC, decode=never)
        second = ingest(source, again, media_path=tmp_path / "second.npy", workers=workers, cache=cache)
    # All but the file that is not read, for it has no class folder.
    assert (plain.recalled, first.recalled, second.recalled) == (0, 0, 122)
    for name, found in [("first", first), ("second", second)]:
        assert (tmp_path / f"{name}.npy").read_bytes() == (tmp_path / "plain.npy").read_bytes()
        same(found, plain)


@pytest.mark.parametrize("workers", [1, 2])
def test_what_was_decoded_before_an_interruption_is_not_decoded_again(
    messy: Path, tmp_path: Path, workers: int
) -> None:
    source = open_source("folder", messy)
    plain = ingest(source, SPEC, media_path=tmp_path / "plain.npy", workers=1)
    with pytest.raises(KeyboardInterrupt), known(tmp_path / "cache") as cache:
        ingest(source, SPEC, media_path=tmp_path / "media.npy", workers=workers, cache=cache, progress=interrupting)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "messy", "plain.npy"]
    with known(tmp_path / "cache") as cache:
        result = ingest(source, SPEC, media_path=tmp_path / "media.npy", workers=workers, cache=cache)
    assert 40 <= result.recalled < 122
    same(result, plain)
    assert (tmp_path / "media.npy").read_bytes() == (tmp_path / "plain.npy").read_bytes()


def interrupting(done: int, found: int) -> None:
    if done >= 40:
        raise KeyboardInterrupt


def test_of_added_data_only_the_new_is_decoded(messy: Path, tmp_path: Path) -> None:
    with known(tmp_path / "cache") as cache:
        ingest(open_source("folder", messy), SPEC, media_path=tmp_path / "media.npy", cache=cache)
    for number in range(5):
        put(messy / "d" / f"{number}.png", encoded(noise(9000 + number)))
    shutil.move(messy / "a" / "020.png", messy / "d" / "moved.png")
    with known(tmp_path / "cache") as cache:
        result = ingest(open_source("folder", messy), SPEC, media_path=tmp_path / "media.npy", cache=cache)
    assert result.recalled == 122
    plain = ingest(open_source("folder", messy), SPEC, media_path=tmp_path / "plain.npy")
    same(result, plain)
    assert (tmp_path / "media.npy").read_bytes() == (tmp_path / "plain.npy").read_bytes()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_damaged_cache_is_noticed_and_decoded_anew(messy: Path, tmp_path: Path, workers: int) -> None:
    source = open_source("folder", messy)
    with known(tmp_path / "cache") as cache:
        plain = ingest(source, SPEC, media_path=tmp_path / "plain.npy", cache=cache)
    (volume,) = tmp_path.glob("cache/key/*.decoded")
    content = bytearray(volume.read_bytes())
    content[-500] ^= 1
    volume.write_bytes(content)
    with known(tmp_path / "cache") as cache:
        result = ingest(source, SPEC, media_path=tmp_path / "media.npy", cache=cache, workers=workers)
    assert cache.notes == [
        f"{volume} is damaged (the checksum of an entry differs): it is taken away, and what it held is decoded again"
    ]
    assert not volume.exists()
    same(result, plain)
    assert (tmp_path / "media.npy").read_bytes() == (tmp_path / "plain.npy").read_bytes()


def test_arrays_are_not_cached_for_they_are_decoded_already(tmp_path: Path) -> None:
    digits = build("image", height=8, width=8, channels=1)
    for _ in range(2):
        with known(tmp_path / "cache", digits) as cache:
            result = ingest(open_source("digits", tmp_path), digits, media_path=tmp_path / "media.npy", cache=cache)
        assert result.recalled == 0
    assert list((tmp_path / "cache" / "key").iterdir()) == []


def test_added_data_moves_no_sample(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "data")
    before = taken(root, tmp_path / "before.npy").samples
    put(root / "a" / "0000.png", encoded(noise(77)))
    for number in range(3):
        put(root / "aa" / f"{number}.png", encoded(noise(9000 + number)))
    after = taken(root, tmp_path / "after.npy").samples
    kept = after[after["id"].isin(before["id"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, before)


def test_a_refusal_leaves_nothing_behind(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "data", each=1)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(ValueError, match="3 of 3 classes have fewer than 2 usable samples"):
        taken(root, out / "media.npy")
    assert list(out.iterdir()) == []


def test_small_classes_are_left_out_where_they_are_not_refused(messy: Path, tmp_path: Path) -> None:
    put(messy / "d" / "0.png", encoded(noise(1, height=20)))
    for number in range(3):
        put(messy / "e" / f"{number}.png", encoded(noise(number + 40, height=20)))
    result = ingest(
        open_source("folder", messy), SPEC, media_path=tmp_path / "media.npy", min_class=4, refuse_small=False
    )
    assert result.found == 127 == len(result.samples) + len(result.quarantine)
    assert set(result.samples["class"]) == {"a", "b", "c"}
    left_out = dict(zip(result.quarantine["id"], result.quarantine["reason"], strict=True))
    assert left_out == REASONS | {
        "d/0.png": "class too small: 1 usable, 4 needed",
        **{f"e/{number}.png": "class too small: 3 usable, 4 needed" for number in range(3)},
    }
    assert len(np.load(tmp_path / "media.npy")) == len(result.samples)


def test_what_the_source_carries_goes_with_each_sample_of_its_type(messy: Path, tmp_path: Path) -> None:
    source = open_source("folder", messy)
    numbers = pa.array([None if row % 7 == 0 else row for row in range(len(source))], pa.int16())
    carrying = replace(source, carried=pa.table({"id": numbers, "boxes": [[row] for row in range(len(source))]}))
    result = ingest(carrying, SPEC, media_path=tmp_path / "media.npy")
    places = {raw.id: row for row, raw in enumerate(source)}
    for frame in (result.samples, result.quarantine):
        assert list(frame.columns[-2:]) == ["carried.id", "carried.boxes"]
        rows = [places[name] for name in frame["id"]]
        assert str(frame["carried.id"].dtype) == "int16[pyarrow]"
        assert frame["carried.id"].fillna(-1).tolist() == [-1 if row % 7 == 0 else row for row in rows]
        assert [list(boxes) for boxes in frame["carried.boxes"]] == [[row] for row in rows]


def test_min_side_and_progress(messy: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    result = ingest(
        open_source("folder", messy),
        build("image", height=6, width=5, channels=1, min_side=2),
        media_path=tmp_path / "media.npy",
        progress=lambda done, found: calls.append((done, found)),
    )
    assert "a/007.png" in set(result.samples["id"])
    assert calls[-1] == (123, 123)
    assert calls == sorted(set(calls))
    assert {found for _, found in calls} == {123}


def test_the_group_is_carried(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "data", classes=["Greek/alpha", "Greek/beta", "plain"])
    samples = taken(root, tmp_path / "media.npy").samples
    assert set(samples["group"][samples["class"] != "plain"]) == {"Greek"}
    assert samples["group"][samples["class"] == "plain"].isna().all()


@pytest.mark.parametrize(
    ("source", "name", "spec", "kept", "classes"),
    [
        ("folder", "orl-faces", ImageSpec(56, 46, 1), 400, 40),
        ("folder", "omniglot", ImageSpec(28, 28, 1), 2720, 136),
        ("idx", "mnist", ImageSpec(28, 28, 1), 70_000, 10),
    ],
)
def test_real_data_comes_in_whole(
    tmp_path: Path, source: str, name: str, spec: ImageSpec, kept: int, classes: int
) -> None:
    made = build("image", height=spec.height, width=spec.width, channels=1)
    result = ingest(open_source(source, real(name)), made, media_path=tmp_path / "media.npy")
    assert (result.found, len(result.samples), len(result.quarantine)) == (kept, kept, 0)
    assert result.samples["class"].nunique() == classes
    media = np.load(tmp_path / "media.npy", mmap_mode="r")
    assert media.shape == (kept, *spec.shape)
    assert 0 < media[:: max(1, kept // 100)].std() < 128


@pytest.mark.parametrize("workers", [1, 2])
def test_a_long_sound_is_one_sample_of_a_row_a_window(workers: int, tmp_path: Path) -> None:
    seconds = {"a/long.wav": 1.2, "a/short.wav": 0.4, "b/1.wav": 0.3, "b/2.wav": 0.5}
    for place, (name, length) in enumerate(seconds.items()):
        put(tmp_path / "in" / name, recordings.encoded(recordings.tone(300.0 + 50 * place, seconds=length)))
    put(tmp_path / "in/b/3.wav", b"RIFF")
    sound = build("audio", rate=8000, seconds=0.5)
    result = ingest(open_source("folder", tmp_path / "in"), sound, media_path=tmp_path / "media.npy", workers=workers)
    assert result.samples["id"].tolist() == list(seconds)
    assert result.samples["class"].tolist() == ["a", "a", "b", "b"]
    assert result.offsets.dtype == np.int64
    assert result.offsets.tolist() == [0, 3, 4, 5, 6]
    assert result.found == 5
    assert result.quarantine["id"].tolist() == ["b/3.wav"]
    media = np.load(tmp_path / "media.npy")
    assert (media.dtype, media.shape) == (np.float16, (6, 40, 48))
    windows = sound.rows((tmp_path / "in/a/long.wav").read_bytes())
    np.testing.assert_array_equal(media[:3], windows)


@pytest.mark.parametrize(
    ("kind", "options", "contents"),
    [
        ("sequence", {"length": 5, "channels": 2}, [b"0,1\n2,%d\n5,6\n" % number for number in range(4)]),
        ("text", {"length": 16}, [b"text number %d" % number for number in range(4)]),
    ],
)
def test_other_kinds_come_in_the_same_way(
    kind: str, options: dict[str, int], contents: list[bytes], tmp_path: Path
) -> None:
    for number, content in enumerate(contents):
        put(tmp_path / "in" / "ab"[number % 2] / f"{number}.txt", content)
    put(tmp_path / "in/a/wrong.txt", b"\xff")
    made = build(kind, **options)
    result = ingest(open_source("folder", tmp_path / "in"), made, media_path=tmp_path / "media.npy")
    assert result.samples["id"].tolist() == ["a/0.txt", "a/2.txt", "b/1.txt", "b/3.txt"]
    assert len(result.quarantine) == 1
    wanted = np.concatenate([made.rows(contents[number]) for number in (0, 2, 1, 3)])
    np.testing.assert_array_equal(np.load(tmp_path / "media.npy"), wanted)


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_cut_off_a_text_is_counted_of_those_kept_also_when_the_cache_knows_them(
    workers: int, tmp_path: Path
) -> None:
    texts = [f"{number:03} {'x' * (number % 20)}" for number in range(80)]
    for number, text in enumerate(texts):
        put(tmp_path / "in" / "ab"[number % 2] / f"{number:03}.txt", text.encode())
    put(tmp_path / "in/b/copy.txt", texts[19].encode())
    put(tmp_path / "in/a/wrong.txt", b"\xff" * 30)
    made, source = build("text", length=16), open_source("folder", tmp_path / "in")
    for recalled in (0, 82):
        with known(tmp_path / "cache", made) as cache:
            result = ingest(source, made, media_path=tmp_path / "media.npy", workers=workers, cache=cache)
        assert result.recalled == recalled
        wanted = [max(0, len(texts[int(Path(name).stem)]) - 16) for name in result.samples["id"]]
        assert result.left_out.tolist() == wanted
        assert sum(wanted) == 4 * (1 + 2 + 3 + 4 + 5 + 6 + 7)

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from likewise import artifacts

SAMPLES = pd.DataFrame(
    {
        "id": ["a/1", "b/1"],
        "class": ["a", None],
        "split": ["train", "val"],
        "hash": ["0" * 64, "1" * 64],
        "group": [None, "g"],
        "path": ["a/1.png", "b/1.png"],
        "forges": [None, "a"],
    }
)
PAIRS = pd.DataFrame({"left": ["a"], "right": ["b"], "same": np.array([1], np.int8)})


def test_a_table_comes_back_as_it_was(tmp_path: Path) -> None:
    artifacts.SAMPLES.write(SAMPLES, tmp_path)
    pd.testing.assert_frame_equal(artifacts.SAMPLES.read(tmp_path), SAMPLES, check_dtype=False)


def test_carried_columns_are_kept(tmp_path: Path) -> None:
    frame = SAMPLES.assign(**{"carried.camera": ["x", "y"]})
    artifacts.SAMPLES.write(frame, tmp_path)
    assert list(artifacts.SAMPLES.read(tmp_path)["carried.camera"]) == ["x", "y"]


def test_a_table_is_there_once_it_is_written_and_until_it_is_removed(tmp_path: Path) -> None:
    artifacts.TRIALS.remove(tmp_path)
    assert not artifacts.TRIALS.there(tmp_path)
    artifacts.TRIALS.write(PAIRS, tmp_path)
    assert artifacts.TRIALS.there(tmp_path)
    artifacts.TRIALS.remove(tmp_path)
    assert not artifacts.TRIALS.there(tmp_path)


def test_same_content_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        artifacts.SAMPLES.write(SAMPLES, tmp_path / name)
    assert artifacts.sha256(tmp_path / "one") == artifacts.sha256(tmp_path / "two")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"split": ["train", "gone"]}, "Column 'split'.*gone"),
        ({"id": ["a", "a"]}, "'id' contains duplicate values"),
        ({"hash": ["0" * 64, "x"]}, "Column 'hash'"),
        ({"id": ["a", None]}, "'id' contains null values"),
        ({"forges": ["b", None]}, "a forgery has a class of its own"),
    ],
)
def test_values_are_checked_on_write(tmp_path: Path, change: dict[str, list[str | None]], said: str) -> None:
    with pytest.raises(artifacts.ArtifactError, match=said):
        artifacts.SAMPLES.write(pd.DataFrame({**SAMPLES, **change}), tmp_path)
    assert not list(tmp_path.rglob("*.parquet*"))


def test_values_are_checked_on_read(tmp_path: Path) -> None:
    path = tmp_path / artifacts.SAMPLES.path
    path.parent.mkdir(parents=True)
    artifacts.SAMPLES.write(SAMPLES, tmp_path)
    other = SAMPLES.assign(split=["train", "gone"]).astype(object)
    other.to_parquet(path, index=False)
    with pytest.raises(artifacts.ArtifactError, match="Column 'split'"):
        artifacts.SAMPLES.read(tmp_path)


def test_types_are_checked_on_read(tmp_path: Path) -> None:
    path = tmp_path / artifacts.PAIRS["val"].path
    path.parent.mkdir(parents=True)
    types = pa.schema([("left", pa.string()), ("right", pa.string()), ("same", pa.float64())])
    pq.write_table(pa.Table.from_pandas(PAIRS.assign(same=[1.0]), schema=types), path)
    with pytest.raises(artifacts.ArtifactError, match="column same is double; expected int8"):
        artifacts.PAIRS["val"].read(tmp_path)


def test_other_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(artifacts.ArtifactError, match="columns are"):
        artifacts.PAIRS["val"].write(PAIRS.assign(more=1), tmp_path)


def test_a_sample_is_never_paired_with_itself(tmp_path: Path) -> None:
    with pytest.raises(artifacts.ArtifactError, match="left and right are the same sample"):
        artifacts.PAIRS["val"].write(PAIRS.assign(right=["a"]), tmp_path)


def test_embeddings_are_lists_of_one_length(tmp_path: Path) -> None:
    vectors = np.arange(6, dtype=np.float32).reshape(2, 3)
    frame = SAMPLES[["id", "class", "split"]].assign(vector=list(vectors))
    artifacts.EMBEDDINGS.write(frame, tmp_path)
    assert np.array_equal(np.stack(list(artifacts.EMBEDDINGS.read(tmp_path)["vector"])), vectors)


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(artifacts.ArtifactError, match=r"samples.parquet: missing; run `dvc repro`"):
        artifacts.SAMPLES.read(tmp_path)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / artifacts.SAMPLES.path
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not parquet")
    with pytest.raises(artifacts.ArtifactError, match=r"samples.parquet: not a readable Parquet file"):
        artifacts.SAMPLES.read(tmp_path)


def test_media_and_offsets_must_fit(tmp_path: Path) -> None:
    with artifacts.MEDIA.writing(tmp_path) as path, path.open("wb") as stream:
        np.save(stream, np.zeros((3, 2), np.uint8))
    for wrong in ([0, 1, 2], [], [3], [1, 3], [0, 2, 2, 3], [0, 2, 1, 3]):
        artifacts.write_offsets(np.array(wrong, dtype=np.int64), tmp_path)
        with pytest.raises(artifacts.ArtifactError, match="does not fit"):
            artifacts.read_media(tmp_path)
    for right in ([0, 1, 2, 3], [0, 2, 3], [0, 3]):
        artifacts.write_offsets(np.array(right), tmp_path)
        media, offsets = artifacts.read_media(tmp_path)
        assert media.shape == (3, 2)
        assert list(offsets) == right

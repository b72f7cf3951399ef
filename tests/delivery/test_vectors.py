from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from likewise.delivery import vectors

ROWS = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
IDS, NAMES = ["a/1.png", "b\n.png", "c.png"], ["a", None, None]


def test_parquet_holds_ids_names_and_vectors(tmp_path: Path) -> None:
    path = tmp_path / "new" / "e.parquet"
    vectors.write(path, IDS, NAMES, ROWS)
    table = pq.read_table(path)
    assert table["id"].to_pylist() == IDS
    assert table["name"].to_pylist() == NAMES
    np.testing.assert_array_equal(np.array(table["vector"].to_pylist(), dtype=np.float32), ROWS)
    vectors.write(tmp_path / "again.parquet", IDS, NAMES, ROWS)
    assert (tmp_path / "again.parquet").read_bytes() == path.read_bytes()


def test_npy_holds_the_rows_and_a_text_beside_it_the_ids(tmp_path: Path) -> None:
    vectors.write(tmp_path / "e.npy", IDS, NAMES, ROWS)
    np.testing.assert_array_equal(np.load(tmp_path / "e.npy", allow_pickle=False), ROWS)
    assert (tmp_path / "e.ids.txt").read_text(encoding="utf-8") == "a/1.png\nb\\n.png\nc.png\n"


@pytest.mark.parametrize("name", ["e.parquet", "e.npy"])
def test_nothing_is_a_file_too(tmp_path: Path, name: str) -> None:
    vectors.write(tmp_path / name, [], [], ROWS[:0])
    assert (tmp_path / name).is_file()


def test_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"e\.csv: embeddings are written as \.parquet or \.npy"):
        vectors.write(tmp_path / "e.csv", IDS, NAMES, ROWS)

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from likewise.data.batches import Media, channel_statistics

CPU = torch.device("cpu")
ROWS = np.array([7, 0, 7, 39, 3])


def pixels(count: int = 40, channels: int = 3, side: int = 5) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, channels, side, side), dtype=np.uint8)


@pytest.fixture
def mapped(tmp_path: Path) -> NDArray[np.uint8]:
    np.save(tmp_path / "media.npy", pixels())
    array: NDArray[np.uint8] = np.load(tmp_path / "media.npy", mmap_mode="r")
    return array


@pytest.mark.parametrize("resident_bytes", [0, 1 << 30])
def test_gather_is_indexing_resident_and_memory_mapped_alike(mapped: NDArray[np.uint8], resident_bytes: int) -> None:
    media = Media(mapped, device=CPU, resident_bytes=resident_bytes)
    found = media.gather(ROWS)
    assert found.dtype == torch.uint8
    np.testing.assert_array_equal(found.numpy(), pixels()[ROWS])
    assert (len(media), media.shape) == (40, (3, 5, 5))


@pytest.mark.parametrize("resident_bytes", [0, 1 << 30])
def test_a_batch_is_a_copy(mapped: NDArray[np.uint8], resident_bytes: int) -> None:
    media = Media(mapped, device=CPU, resident_bytes=resident_bytes)
    media.gather(ROWS).zero_()
    np.testing.assert_array_equal(media.gather(ROWS).numpy(), pixels()[ROWS])
    np.testing.assert_array_equal(mapped, pixels())


@pytest.mark.parametrize("resident_bytes", [0, 1 << 30])
def test_no_rows_give_an_empty_batch(mapped: NDArray[np.uint8], resident_bytes: int) -> None:
    media = Media(mapped, device=CPU, resident_bytes=resident_bytes)
    assert media.gather(np.empty(0, dtype=np.int64)).shape == (0, 3, 5, 5)


@pytest.mark.parametrize("resident_bytes", [0, 1 << 30])
def test_a_row_that_is_not_there_is_refused(mapped: NDArray[np.uint8], resident_bytes: int) -> None:
    with pytest.raises(IndexError):
        Media(mapped, device=CPU, resident_bytes=resident_bytes).gather(np.array([40]))


@pytest.mark.parametrize("resident_bytes", [0, 1 << 30])
def test_samples_of_several_rows(mapped: NDArray[np.uint8], resident_bytes: int) -> None:
    offsets = np.array([0, 1, 4, 39, 40])
    media = Media(mapped, offsets, device=CPU, resident_bytes=resident_bytes)
    assert (len(media), media.shape, media.single) == (4, (3, 5, 5), False)
    rows, counts = media.rows(np.array([3, 1]))
    assert (rows.tolist(), counts.tolist()) == ([39, 1, 2, 3], [1, 3])
    np.testing.assert_array_equal(media.gather(rows).numpy(), pixels()[[39, 1, 2, 3]])
    drawn = media.one_each(np.array([2, 0, 2, 1]), seed=5)
    assert (drawn >= [4, 0, 4, 1]).all()
    assert (drawn < [39, 1, 39, 4]).all()
    np.testing.assert_array_equal(media.one_each(np.array([2, 0, 2, 1]), seed=5), drawn)


@pytest.mark.parametrize("offsets", [None, np.arange(41)])
def test_of_samples_of_one_row_the_numbers_are_the_rows(
    mapped: NDArray[np.uint8], offsets: NDArray[np.int64] | None
) -> None:
    media = Media(mapped, offsets, device=CPU)
    assert media.single
    assert media.one_each(ROWS, seed=0) is ROWS
    rows, counts = media.rows(ROWS)
    assert rows is ROWS
    assert counts.tolist() == [1] * 5


@pytest.mark.parametrize("block", [1, 3, 4096])
def test_channel_statistics_are_those_of_numpy(mapped: NDArray[np.uint8], block: int) -> None:
    mean, deviation = channel_statistics(mapped, ROWS, block=block)
    chosen = pixels()[ROWS].astype(np.float64)
    np.testing.assert_allclose(mean, chosen.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(deviation, chosen.std(axis=(0, 2, 3)), rtol=1e-10)


def test_channel_statistics_of_sequences() -> None:
    values = np.random.default_rng(1).normal(1000, 0.1, (30, 2, 9)).astype(np.float32)
    mean, deviation = channel_statistics(values, np.arange(30), block=7)
    np.testing.assert_allclose(mean, values.mean(axis=(0, 2), dtype=np.float64), rtol=1e-9)
    np.testing.assert_allclose(deviation, values.std(axis=(0, 2), dtype=np.float64), rtol=1e-9)


@pytest.mark.parametrize("value", [0, 7, 255, 0.1])
def test_a_constant_channel_has_deviation_1(value: float) -> None:
    values = np.random.default_rng(2).random((30, 2, 3, 3))
    values[:, 1] = value
    mean, deviation = channel_statistics(values, np.arange(30))
    assert mean[1] == pytest.approx(value)
    assert deviation[1] == 1
    assert deviation[0] == pytest.approx(values[:, 0].std())


def test_the_mean_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no samples to take the mean of"):
        channel_statistics(pixels(), np.empty(0, dtype=np.int64))

import resource
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.data import media
from likewise.data.media import MediaWriter

SAMPLES = np.random.default_rng(0).integers(0, 256, (9, 1, 3, 4), dtype=np.uint8)


def written(path: Path, rows: list[int]) -> None:
    with MediaWriter(path, (1, 3, 4)) as writer:
        assert [writer.extend(SAMPLES[first : first + 2]) for first in range(0, 9, 2)] == [0, 2, 4, 6, 8]
        writer.keep(rows)


def test_everything_in_order(tmp_path: Path) -> None:
    written(tmp_path / "media.npy", list(range(9)))
    loaded = np.load(tmp_path / "media.npy", mmap_mode="r")
    assert isinstance(loaded, np.memmap)
    np.testing.assert_array_equal(loaded, SAMPLES)
    assert [file.name for file in tmp_path.iterdir()] == ["media.npy"]


@given(st.lists(st.integers(0, 8), max_size=20), st.integers(1, 40))
def test_any_rows_in_any_order_are_what_numpy_would_save(
    tmp_path_factory: pytest.TempPathFactory, rows: list[int], block: int
) -> None:
    folder = tmp_path_factory.mktemp("media")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(media, "BLOCK_BYTES", block)
        written(folder / "media.npy", rows)
    np.save(folder / "oracle.npy", SAMPLES[rows])
    assert (folder / "media.npy").read_bytes() == (folder / "oracle.npy").read_bytes()
    assert len(list(folder.iterdir())) == 2


def test_the_header_is_as_long_for_any_number_of_rows() -> None:
    writer = MediaWriter(Path("media.npy"), (3, 105, 105))
    lengths = {len(writer._header(rows)) for rows in (0, 1, 999, 10**6, 10**12)}
    assert lengths == {128}


def test_an_error_leaves_nothing_behind_and_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "media.npy"
    path.write_bytes(b"old")
    with pytest.raises(KeyError, match="half way"):
        break_off(path)
    with MediaWriter(path, (1, 3, 4)) as writer:
        writer.extend(SAMPLES[:1])
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["media.npy"]


def break_off(path: Path) -> None:
    with MediaWriter(path, (1, 3, 4)) as writer:
        writer.extend(SAMPLES[:1])
        raise KeyError("half way")


@pytest.mark.parametrize("wrong", [SAMPLES[0], SAMPLES.astype(np.int16)])
def test_another_shape_or_type_is_refused(
    tmp_path: Path, wrong: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]"
) -> None:
    with (
        MediaWriter(tmp_path / "media.npy", (1, 3, 4)) as writer,
        pytest.raises(ValueError, match=r"expected uint8 \(1, 3, 4\)"),
    ):
        writer.extend(wrong)


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError, match=r"cannot write the media: .*media\.npy"):
            fill(tmp_path / "media.npy")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def fill(path: Path) -> None:
    with MediaWriter(path, (1, 3, 4)) as writer:
        for _ in range(10_000):
            writer.extend(SAMPLES[:1])
        writer.keep(range(10_000))


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8"])
def test_samples_of_any_type_are_as_numpy_saves_them(dtype: str, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).normal(100, 20, (5, 4)).astype(dtype)
    with MediaWriter(tmp_path / "media.npy", (4,), dtype) as writer:
        writer.extend(samples[:3])
        writer.extend(samples[3:3])
        # Not one after another in memory.
        writer.extend(samples[:2:-1])
        with pytest.raises(ValueError, match=f"expected {dtype} "):
            writer.extend(samples.astype("int16"))
        writer.keep([4, 0, 3])
    np.save(tmp_path / "oracle.npy", samples[[3, 0, 4]])
    assert (tmp_path / "media.npy").read_bytes() == (tmp_path / "oracle.npy").read_bytes()

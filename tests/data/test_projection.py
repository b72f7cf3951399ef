from __future__ import annotations

import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from likewise.data import projection
from likewise.data.projection import principal_components

Array = np.ndarray[Any, Any]


def pictures(count: int, side: int, *, seed: int = 0, strokes: int = 6) -> Array:
    """Pictures that are mixtures of a few, under noise, as the media have them: uint8 (n, 1, side, side)."""
    draw = np.random.default_rng(seed)
    shapes = draw.normal(size=(strokes, side, side)) * (40 / np.arange(1, strokes + 1))[:, None, None]
    mixed = np.tensordot(draw.normal(size=(count, strokes)), shapes, 1) + draw.normal(scale=4, size=(count, side, side))
    return np.clip(mixed + 128, 0, 255).astype(np.uint8)[:, None]


def by_full_svd(media: Array, rows: Array, components: int) -> Array:
    """The same by the singular values of all, in double precision."""
    values = media[rows].reshape(len(rows), -1).astype(np.float64)
    values -= values.mean(axis=0)
    projected: Array = values @ np.linalg.svd(values, full_matrices=False)[2][:components].T
    return projected


def apart(points: Array) -> Array:
    lengths: Array = np.linalg.norm(points[:, None].astype(np.float64) - points, axis=2)
    return lengths


@pytest.mark.parametrize(
    ("count", "side", "components"),
    [(300, 8, 64), (700, 8, 5), (40, 8, 64), (40, 8, 5), (2, 8, 64), (150, 24, 5), (600, 24, 6)],
)
def test_distances_are_those_of_a_full_decomposition(count: int, side: int, components: int) -> None:
    media = pictures(count + 30, side)
    rows = np.random.default_rng(1).permutation(count + 30)[:count]
    found = principal_components(media, rows, components=components)
    assert found.shape == (count, min(components, count, side * side))
    assert found.dtype == np.float32
    np.testing.assert_allclose(apart(found), apart(by_full_svd(media, rows, components)), rtol=1e-3, atol=0.02)


def test_with_all_components_distances_are_those_of_the_pictures() -> None:
    media = pictures(100, 8)
    found = principal_components(media, np.arange(100))
    np.testing.assert_allclose(apart(found), apart(media.reshape(100, -1)), rtol=1e-5, atol=1e-3)


def test_rows_that_were_not_asked_for_do_not_matter() -> None:
    media, rows = pictures(80, 8), np.arange(0, 80, 2)
    other = media.copy()
    other[1::2] = 255
    np.testing.assert_array_equal(
        principal_components(media, rows, components=3), principal_components(other, rows, components=3)
    )


def test_blocks_change_nothing_but_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    media, rows = pictures(90, 8), np.arange(90)
    whole = principal_components(media, rows, components=4)
    monkeypatch.setattr(projection, "BLOCK_BYTES", 7 * 4 * 64)
    np.testing.assert_allclose(principal_components(media, rows, components=4), whole, rtol=1e-4, atol=1e-3)


def test_of_many_samples_so_many_are_fitted_as_have_room_from_all_over() -> None:
    # Each half varies along a direction of its own, so that both must have been seen.
    media = np.zeros((400, 1, 2, 2), dtype=np.uint8)
    media[:200, 0, 0, 0] = np.arange(200)
    media[200:, 0, 1, 1] = np.arange(200)
    found = principal_components(media, np.arange(400), components=2, fit_bytes=16 * 20)
    np.testing.assert_allclose(apart(found), apart(media.reshape(400, -1)), rtol=1e-4, atol=1e-2)


def test_memory_does_not_grow_with_the_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "media.npy", np.tile(pictures(500, 24), (40, 1, 1, 1)))
    media = np.load(tmp_path / "media.npy", mmap_mode="r")
    principal_components(media, np.arange(10))
    monkeypatch.setattr(projection, "BLOCK_BYTES", 1 << 20)
    tracemalloc.start()
    found = principal_components(media, np.arange(20_000), components=4, fit_bytes=1 << 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # In single precision the media are 46 MB.
    assert found.shape == (20_000, 4)
    assert peak < 12e6


@pytest.mark.parametrize("side", [8, 24])
def test_samples_that_are_all_alike_are_at_one_point_and_nobody_is_warned(side: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = principal_components(np.full((30, 1, side, side), 7, dtype=np.uint8), np.arange(30))
    assert not found.any()


def test_the_number_of_threads_does_not_decide_the_bits() -> None:
    def found(threads: int) -> bytes:
        with threadpool_limits(threads, "blas"):
            return principal_components(pictures(600, 24), np.arange(600)).tobytes()

    assert found(1) == found(2)


@pytest.mark.parametrize(("count", "components"), [(1, 3), (0, 3), (5, 0)])
def test_too_little_is_refused(count: int, components: int) -> None:
    with pytest.raises(ValueError, match=f"{components} principal components of {count} samples: ask for 1 or more"):
        principal_components(pictures(5, 8), np.arange(count), components=components)

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.data.rows import every_row, means, offsets_of, one_row

COUNTS = np.array([1, 4, 1, 2, 7])
OFFSETS = offsets_of(COUNTS)


@given(counts=st.lists(st.integers(1, 5), max_size=8), data=st.data())
def test_every_row_is_the_slices_one_after_the_other(counts: list[int], data: st.DataObject) -> None:
    offsets = offsets_of(np.array(counts, dtype=np.int64))
    assert offsets.dtype == np.int64
    assert (offsets[0], offsets[-1]) == (0, sum(counts))
    places = st.integers(0, len(counts) - 1)
    samples = data.draw(st.lists(places, max_size=9)) if counts else []
    rows, found = every_row(np.array(samples, dtype=np.int64), offsets)
    assert rows.tolist() == [row for sample in samples for row in range(offsets[sample], offsets[sample + 1])]
    assert found.tolist() == [counts[sample] for sample in samples]


def test_a_row_of_each_is_one_of_its_own_and_each_as_likely() -> None:
    samples = np.tile(np.arange(5), 20_000)
    rows = one_row(samples, OFFSETS, seed=1)
    assert (np.searchsorted(OFFSETS, rows, side="right") - 1 == samples).all()
    seen = np.bincount(rows, minlength=OFFSETS[-1])
    wanted = np.repeat(20_000 / COUNTS, COUNTS)
    # Four deviations of a binomial count.
    spread = np.sqrt(wanted * (1 - wanted / 20_000))
    assert (np.abs(seen - wanted) <= 4 * spread).all()


def test_the_seed_decides_the_draw() -> None:
    samples = np.tile([4, 1], 20)
    first = one_row(samples, OFFSETS, seed=7)
    np.testing.assert_array_equal(one_row(samples, OFFSETS, seed=7), first)
    assert (one_row(samples, OFFSETS, seed=8) != first).any()
    # A sample that is there twice is drawn twice.
    assert len(set(first[::2])) > 1


def test_means_are_those_of_a_loop() -> None:
    values = np.random.default_rng(0).normal(1e4, 1, (15, 3)).astype(np.float32)
    found = means(values, COUNTS)
    parts = np.split(values.astype(np.float64), OFFSETS[1:-1])
    np.testing.assert_array_equal(found, np.array([part.mean(axis=0) for part in parts]).astype(np.float32))
    assert found.dtype == np.float32
    ones = np.ones(15, dtype=np.int64)
    assert means(values, ones) is values


def test_a_sample_that_is_not_there_is_refused() -> None:
    with pytest.raises(IndexError):
        every_row(np.array([5]), OFFSETS)
    with pytest.raises(IndexError):
        one_row(np.array([0, 5]), OFFSETS, seed=0)

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from likewise.data.near_duplicates import Fingerprints


def images(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, 1, 12, 10), dtype=np.uint8)


def test_a_sample_is_near_when_one_of_its_rows_is() -> None:
    media = images(6)
    media[5] = media[1]
    found = Fingerprints("image", media, np.array([0, 2, 3, 6]), np.array([0, 0, 2]))
    near = found.near(bits=0)
    assert near.tolist() == [0, 2]
    assert list(found.twins(near)) == [2, 0]


def test_rows_of_one_sample_are_no_twins() -> None:
    media = images(4)
    media[1] = media[0]
    found = Fingerprints("image", media, np.array([0, 2, 3, 4]), np.array([0, 1, 2]))
    assert found.near(bits=3).tolist() == []


def test_the_twin_is_the_nearest_of_another_side() -> None:
    media = images(4)
    media[1] = media[3] = media[0]
    media[3, 0, :3] = 255 - media[3, 0, :3]
    found = Fingerprints("image", media, np.arange(5), np.array([1, 1, 0, 2]))
    assert list(found.twins(np.array([0]))) == [3]

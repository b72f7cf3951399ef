from __future__ import annotations

import numpy as np
import pytest

from likewise.data.fingerprints import BITS, FINGERPRINTS, fingerprints
from likewise.data.kinds import KINDS, build

OPTIONS: dict[str, dict[str, int | float]] = {
    "image": {"height": 9, "width": 7, "channels": 3},
    "audio": {"rate": 8000, "seconds": 0.5},
    "sequence": {"length": 20, "channels": 2},
    "text": {"length": 12},
}


def test_every_kind_has_one() -> None:
    assert set(FINGERPRINTS) == set(BITS) == set(KINDS) == set(OPTIONS)


@pytest.mark.parametrize("kind", KINDS)
def test_each_gives_its_bits_of_media_as_they_are_stored(kind: str) -> None:
    preprocessing = build(kind, **OPTIONS[kind])
    media = np.random.default_rng(0).integers(1, 100, (5, *preprocessing.shape)).astype(preprocessing.dtype)
    found = fingerprints(kind, media)
    assert found.dtype == np.uint64
    assert found.shape == (5, BITS[kind] // 64)
    assert len(np.unique(found, axis=0)) == 5
    assert found[2:4].tolist() == fingerprints(kind, media[2:4]).tolist()


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown kind 'sounds'"):
        fingerprints("sounds", np.zeros((1, 2)))

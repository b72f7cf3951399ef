"""Near-duplicates across splits: samples of val and test of which a row looks like a row of another split."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from likewise.data.fingerprint_base import Words
from likewise.data.fingerprints import fingerprints
from likewise.data.hamming import differing, near_across

Samples = NDArray[np.intp]


class Fingerprints:
    """The fingerprints of all rows of the media, and whose they are.

    Args:
        kind: of the samples.
        media: the rows of all samples (n, ...).
        offsets: sample `i` is the rows from `offsets[i]` to `offsets[i + 1]`.
        sides: a small whole number for the split of each sample (samples,).
    """

    def __init__(
        self, kind: str, media: NDArray[Any], offsets: NDArray[np.int64], sides: NDArray[np.integer[Any]]
    ) -> None:
        self._words: Words = fingerprints(kind, media)
        self._offsets = offsets
        self._owners = np.repeat(np.arange(len(sides)), np.diff(offsets))
        self._sides = sides[self._owners]

    def near(self, *, bits: int) -> Samples:
        """Return the samples of which a row differs in at most `bits` bits from a row of another side."""
        rows = near_across(self._words, self._sides, bits=bits)
        return np.unique(self._owners[rows])

    def twins(self, samples: Samples) -> Iterator[int]:
        """Yield for each sample the one of another side that it is nearest to, by their nearest rows."""
        for sample in samples:
            own = self._words[slice(*self._offsets[sample : sample + 2])]
            others = np.flatnonzero(self._sides != self._sides[self._offsets[sample]])
            apart = np.min([differing(self._words[others], row) for row in own], axis=0)
            yield int(self._owners[others[apart.argmin()]])

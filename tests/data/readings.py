"""What was decoded, sample by sample, for the tests of this wing."""

from collections.abc import Iterator

import numpy as np

from likewise.data.decoding import Batch

Told = tuple[int, str | None, bytes | None, str | None]


def told(batches: Iterator[Batch]) -> list[Told]:
    """Return of each sample its place, its hash, its rows and the reason why it was rejected."""
    found = []
    for batch in batches:
        assert len(batch.rows) == batch.counts.sum()
        ends = np.cumsum(batch.counts)
        for index, digest, count, end in zip(batch.indices, batch.digests, batch.counts, ends, strict=True):
            rows = batch.rows[end - count : end].tobytes() if count else None
            found.append((int(index), digest.tobytes().hex() if any(digest) else None, rows, batch.reasons.get(index)))
    return found

"""Draw 10 million uniform triplets by unranking, against vectorised NumPy draws of the same in the same run.

Both peers work on sorted labels, as one would write them: one picks the anchor among all samples by weight, the other
the class by weight and then the anchor in it; positive and negative are uniform offsets that skip the anchor and
the anchor's class. Offsets are scaled floats, which NumPy draws faster than integers below many bounds. Every
draw is uniform over all triplets; ours is exact, the peers up to the rounding of floats.

    python -m benchmarks.uniform_triplets
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import timing
from likewise.tuples.triplets import Triplets

Labels = npt.NDArray[np.int64]
Draw = Callable[[], object]
SAMPLES = 60_000
CLASSES = (10, 10_000)
# Anchor, positive and negative, 8 bytes each.
RESULT_BYTES = 24


def by_anchor(labels: Labels, count: int, generator: np.random.Generator) -> Draw:
    """Return a NumPy draw that picks the anchor by its number of triplets, in a cumulative table of the samples."""
    classes = np.cumsum(np.concatenate([[0], labels[1:] != labels[:-1]]))
    sizes = np.bincount(classes)
    starts = np.cumsum(sizes) - sizes
    weight = ((sizes - 1) * (len(labels) - sizes))[classes].astype(np.float64)
    table = np.cumsum(weight / weight.sum())

    def draw() -> tuple[Labels, Labels, Labels]:
        anchor = np.minimum(table.searchsorted(generator.random(count), side="right"), len(labels) - 1)
        owner = classes[anchor]
        size, start = sizes[owner], starts[owner]
        return anchor, *_offsets(anchor, start, size, len(labels), generator)

    return draw


def by_class(labels: Labels, count: int, generator: np.random.Generator) -> Draw:
    """Return a NumPy draw that picks the class by its number of triplets, then the anchor uniformly in it."""
    starts = np.flatnonzero(np.concatenate([[True], labels[1:] != labels[:-1]]))
    sizes = np.diff(starts, append=len(labels))
    weight = (sizes * (sizes - 1) * (len(labels) - sizes)).astype(np.float64)
    table = np.cumsum(weight / weight.sum())

    def draw() -> tuple[Labels, Labels, Labels]:
        owner = np.minimum(table.searchsorted(generator.random(count), side="right"), len(sizes) - 1)
        size, start = sizes[owner], starts[owner]
        anchor = start + (generator.random(count) * size).astype(np.int64)
        return anchor, *_offsets(anchor, start, size, len(labels), generator)

    return draw


def _offsets(
    anchor: Labels, start: Labels, size: Labels, samples: int, generator: np.random.Generator
) -> tuple[Labels, Labels]:
    positive = start + (generator.random(len(anchor)) * (size - 1)).astype(np.int64)
    positive += positive >= anchor
    negative = (generator.random(len(anchor)) * (samples - size)).astype(np.int64)
    negative += size * (negative >= start)
    return positive, negative


def measure(classes: int, count: int, repeats: int) -> list[dict[str, Any]]:
    """Return a line against each peer, on 60,000 samples in equal classes; memory is without the result itself."""
    labels = np.repeat(np.arange(classes), SAMPLES // classes)
    triplets = Triplets(labels)
    ours_generator, peer_generator = np.random.default_rng(0), np.random.default_rng(0)

    def ours() -> object:
        return triplets.draw(count, generator=ours_generator)

    def beyond(draw: Draw) -> int:
        return timing.traced_peak(draw) - RESULT_BYTES * count

    work, ours_bytes = f"{count:,} uniform triplets, {classes:,} classes", beyond(ours)
    lines = []
    for pick in (by_anchor, by_class):
        peer = pick(labels, count, peer_generator)
        line = timing.compare(work, f"NumPy, {pick.__name__.replace('_', ' ')}", ours, peer, repeats=repeats)
        lines.append(line | {"ours_bytes": ours_bytes, "peer_bytes": beyond(peer)})
    return lines


def held(classes: int, samples: int) -> int:
    """Return how many bytes the numbered triplets of that many samples in equal classes keep, their labels apart."""
    labels = np.repeat(np.arange(classes), samples // classes)
    return timing.traced_held(lambda: Triplets(labels))


def bookkeeping(classes: int) -> dict[str, Any]:
    """Return a line that holds what is kept for 600,000 samples against what is kept for 60,000."""
    return {
        "work": f"what numbered triplets keep, {10 * SAMPLES:,} samples, {classes:,} classes",
        "peer_name": f"the same for {SAMPLES:,} samples",
        "ours_bytes": held(classes, 10 * SAMPLES),
        "peer_bytes": held(classes, SAMPLES),
    }


def main() -> None:
    """Measure, print the lines and write `benchmarks/results/uniform_triplets.json`."""
    parser = argparse.ArgumentParser(description="Time uniform triplets against NumPy draws of the same.")
    parser.add_argument("--count", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    lines = [line for classes in CLASSES for line in measure(classes, asked.count, asked.repeats)]
    lines += [bookkeeping(classes) for classes in CLASSES]
    timing.write("uniform_triplets", lines, machine=timing.machine("likewise", "numpy"), threads=1, samples=SAMPLES)


if __name__ == "__main__":
    main()

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


def measure(classes: int, count: int, repeats: int) -> dict[str, Any]:
    """Return the times and peak memory of ours and both peers for 60,000 samples in equal classes."""
    labels = np.repeat(np.arange(classes), SAMPLES // classes)
    triplets = Triplets(labels)
    ours_generator, peer_generator = np.random.default_rng(0), np.random.default_rng(0)

    def ours() -> object:
        return triplets.draw(count, generator=ours_generator)

    peers = {peer.__name__: peer(labels, count, peer_generator) for peer in (by_anchor, by_class)}
    return {
        "classes": classes,
        "result_bytes": RESULT_BYTES * count,
        "build_peak_bytes": timing.traced_peak(lambda: Triplets(labels)),
        "peak_bytes": {name: timing.traced_peak(call) for name, call in {"ours": ours, **peers}.items()},
        "against": [timing.compare(name, ours, peer, repeats=repeats) for name, peer in peers.items()],
    }


def table(results: list[dict[str, Any]]) -> str:
    """Return the results as a Markdown table."""
    lines = [
        "| classes | peer | ours, s | peer, s | ratio (turns) | ours beyond the result, MB | peer, MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results:
        extra = {name: (peak - result["result_bytes"]) / 1e6 for name, peak in result["peak_bytes"].items()}
        lines += [
            f"| {result['classes']} | {row['name']} | {row['ours']['median_s']:.2f} | {row['peer']['median_s']:.2f} "
            f"| {row['ratio']:.2f} ({row['ratio_min']:.2f} to {row['ratio_max']:.2f}) "
            f"| {extra['ours']:.1f} | {extra[row['name']]:.0f} |"
            for row in result["against"]
        ]
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table and write `benchmarks/results/uniform_triplets.json`."""
    parser = argparse.ArgumentParser(description="Time uniform triplets against NumPy draws of the same.")
    parser.add_argument("--count", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=7)
    asked = parser.parse_args()
    results = [measure(classes, asked.count, asked.repeats) for classes in (10, 10_000)]
    result = {"count": asked.count, "samples": SAMPLES, "machine": timing.machine("numpy"), "results": results}
    print(table(results))
    print(f"written to results/{timing.write('uniform_triplets', result).name}")


if __name__ == "__main__":
    main()

"""Time the Euclidean distance matrix of a batch with itself against torch.cdist, and measure both on near-duplicates.

python -m benchmarks.distances
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks import timing
from likewise.distances import Euclidean

Matrix = Callable[[Tensor], Tensor]
PEERS = {"products": "use_mm_for_euclid_dist", "differences": "donot_use_mm_for_euclid_dist"}


def peer(name: str) -> Matrix:
    """Return torch's matrix by single-precision products, or by direct differences."""
    return lambda x: torch.cdist(x, x, compute_mode=PEERS[name])


def both_ways(matrix: Matrix, x: Tensor) -> Tensor:
    """Return the gradient of the sum of a matrix."""
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(matrix(leaf).sum(), leaf)[0]


def errors(width: int) -> list[dict[str, float]]:
    """Return the largest relative errors for unit vectors that lie a gap apart, against double precision."""
    found = []
    generator = torch.Generator().manual_seed(0)
    base, step = (
        torch.nn.functional.normalize(torch.randn(512, width, generator=generator, dtype=torch.float64))
        for _ in range(2)
    )
    for gap in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6):
        x, y = base.float(), (base + gap * step).float()
        truth = (x.double() - y.double()).norm(dim=1)
        ours = Euclidean().pairwise(x, y).diagonal()
        theirs = torch.cdist(x, y, compute_mode=PEERS["products"]).diagonal()
        relative = [float(((value - truth).abs() / truth).max()) for value in (ours, theirs)]
        found.append({"gap": gap, "ours": relative[0], "products": relative[1]})
    return found


def times(x: Tensor, repeats: int) -> list[dict[str, Any]]:
    """Return ours against both of torch's ways, forward and both ways."""
    ours: Matrix = Euclidean().pairwise
    found = []
    for name in PEERS:
        theirs = peer(name)
        forward = partial(ours, x), partial(theirs, x)
        both = partial(both_ways, ours, x), partial(both_ways, theirs, x)
        found.append(timing.compare(f"{name}, forward", *forward, repeats=repeats))
        found.append(timing.compare(f"{name}, forward and backward", *both, repeats=repeats))
    return found


def main() -> None:
    """Measure, print and write `benchmarks/results/distances.json`."""
    parser = argparse.ArgumentParser(description="Time and check the Euclidean distance matrix.")
    parser.add_argument("--samples", type=int, default=4096)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    shape = (asked.samples, asked.width)
    x = torch.nn.functional.normalize(torch.randn(shape, generator=torch.Generator().manual_seed(0)))
    rows, accuracy = times(x, asked.repeats), errors(asked.width)
    for row in rows:
        print(f"{row['name']}: ours {row['ours']['median_s']:.3f} s, peer {row['peer']['median_s']:.3f} s")
    for error in accuracy:
        print(error)
    about = {"samples": asked.samples, "width": asked.width, "threads": 1, "machine": timing.machine("torch")}
    timing.write("distances", {**about, "against": rows, "largest_relative_error": accuracy})


if __name__ == "__main__":
    main()

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


def call_of(name: str, both: bool, samples: int, width: int) -> Callable[[], object]:
    """Return a call that makes the matrix of random unit vectors, and its gradient too if both ways are wanted."""
    matrix = peer(name) if name in PEERS else Euclidean().pairwise
    x = torch.nn.functional.normalize(torch.randn(samples, width, generator=torch.Generator().manual_seed(0)))
    return partial(both_ways if both else _forward, matrix, x)


def _forward(matrix: Matrix, x: Tensor) -> Tensor:
    return matrix(x)


def memory(name: str, both: bool, samples: int, width: int) -> int:
    """Return by how much one call raises this process's memory, in bytes."""
    torch.set_num_threads(1)
    call_of(name, both, 16, width)()
    return timing.resident_peak(call_of(name, both, samples, width))


def line(name: str, both: bool, samples: int, width: int, repeats: int) -> dict[str, Any]:
    """Return ours against one of torch's ways."""
    ours, theirs = (call_of(side, both, samples, width) for side in ("ours", name))
    work = f"Euclidean distance matrix, n = {samples}, {'forward and backward' if both else 'forward'}"
    found = timing.compare(work, f"torch.cdist by {name}", ours, theirs, repeats=repeats)
    sides = [timing.fresh(memory, side, both, samples, width) for side in ("ours", name)]
    return found | {"ours_bytes": sides[0], "peer_bytes": sides[1]}


def main() -> None:
    """Measure, print and write `benchmarks/results/distances.json`."""
    parser = argparse.ArgumentParser(description="Time and check the Euclidean distance matrix.")
    parser.add_argument("--samples", type=int, default=4096)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    lines = [line(name, both, asked.samples, asked.width, asked.repeats) for name in PEERS for both in (False, True)]
    accuracy = errors(asked.width)
    for error in accuracy:
        print(error)
    about = timing.machine("likewise", "torch")
    timing.write("distances", lines, machine=about, threads=1, width=asked.width, largest_relative_error=accuracy)


if __name__ == "__main__":
    main()

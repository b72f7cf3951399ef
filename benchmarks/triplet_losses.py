"""Losses over all triplets against pytorch-metric-learning, and against the distance matrix that they need anyway.

Every line is one forward and backward pass over the same embeddings (128 dimensions, length 1). Times are taken
turn about in one process with one thread, so that other work on the machine slows both sides alike; memory is how
far the resident memory rises in a process of its own, in which a small batch ran first. A peer that could need more
memory than `CEILING` runs under that limit, and its failure is a result too.

    python -m benchmarks.triplet_losses
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pytorch_metric_learning import distances as peer_distances
from pytorch_metric_learning import losses as peer_losses
from torch import Tensor

from benchmarks import timing
from likewise.distances import Euclidean
from likewise.learning import losses

WIDTH = 128
MARGIN = 0.2
PEER = "pytorch-metric-learning "
CEILING = 8 * 2**30
"""The most memory that a peer may take beyond what its process holds at the start, in bytes."""

Scalar = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Case:
    """One line of the table: ours and a peer, on `rows` embeddings with `per_class` of a class."""

    ours: str
    peer: str
    rows: int
    per_class: int
    repeats: int = 5

    @property
    def work(self) -> str:
        """What is done, and on how much."""
        return f"{self.ours}, n = {self.rows}, {self.per_class} a class"


def matrix(x: Tensor, _: Tensor) -> Tensor:
    """Return a scalar whose passes cost what the distance matrix costs."""
    return Euclidean().pairwise(x).sum()


def cdist(x: Tensor, _: Tensor) -> Tensor:
    """Return the same by torch's own distance matrix, in single precision."""
    return torch.cdist(x, x).sum()


def contenders() -> dict[str, Scalar]:
    """Return every loss and peer by the name that the cases use."""
    plain = peer_distances.LpDistance(normalize_embeddings=False)
    return {
        "all triplets": losses.TripletLoss(margin=MARGIN),
        "semi-hard": losses.TripletLoss(margin=MARGIN, mining="semihard"),
        "nearest semi-hard": losses.TripletLoss(margin=MARGIN, mining="nearest_semihard"),
        "hard": losses.TripletLoss(margin=MARGIN, mining="hard"),
        "NT-Xent": losses.NTXentLoss(temperature=0.1),
        "SupCon": losses.SupConLoss(temperature=0.1),
        "multi-similarity": losses.MultiSimilarityLoss(epsilon=None),
        "our distance matrix": matrix,
        "torch.cdist": cdist,
        PEER + "TripletMarginLoss": peer_losses.TripletMarginLoss(margin=MARGIN, distance=plain),
        PEER + "NTXentLoss": peer_losses.NTXentLoss(temperature=0.1),
        PEER + "SupConLoss": peer_losses.SupConLoss(temperature=0.1),
        PEER + "MultiSimilarityLoss": peer_losses.MultiSimilarityLoss(alpha=2, beta=50, base=0.5),
    }


def batch(rows: int, per_class: int) -> tuple[Tensor, Tensor]:
    """Return embeddings (rows, WIDTH) of length 1 that want a gradient, and their labels in no order."""
    draw = torch.Generator().manual_seed(0)
    labels = (torch.arange(rows) // per_class)[torch.randperm(rows, generator=draw)]
    centres = torch.randn(rows // per_class, WIDTH, generator=draw)
    x = centres[labels] + torch.randn(rows, WIDTH, generator=draw)
    return F.normalize(x).requires_grad_(), labels


def one_step(name: str, rows: int, per_class: int) -> Callable[[], float]:
    """Return a call that goes forward and backward once and returns the loss."""
    x, labels = batch(rows, per_class)
    loss = contenders()[name]

    def step() -> float:
        x.grad = None
        value = loss(x, labels)
        value.backward()  # type: ignore[no-untyped-call]
        return value.item()

    return step


def times(case: Case) -> dict[str, Any]:
    """Time a case's two sides turn about, in this process."""
    ours, peer = (one_step(name, case.rows, case.per_class) for name in (case.ours, case.peer))
    return timing.compare(case.work, case.peer, ours, peer, repeats=case.repeats)


def memory(name: str, rows: int, per_class: int) -> int:
    """Return by how much one step raises this process's memory, in bytes."""
    one_step(name, 16, 4)()
    call = one_step(name, rows, per_class)
    return timing.resident_peak(call)


def prepare() -> None:
    """Let this process have one thread, and no more memory than `CEILING` beyond the address space it has."""
    torch.set_num_threads(1)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + CEILING
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def run(case: Case) -> dict[str, Any]:
    """Measure a case's memory side by side, then, where the peer can run at all, its times."""
    line: dict[str, Any] = {"work": case.work, "peer_name": case.peer}
    line["ours_bytes"] = timing.fresh(memory, case.ours, case.rows, case.per_class, prepare=prepare)
    try:
        line["peer_bytes"] = timing.fresh(memory, case.peer, case.rows, case.per_class, prepare=prepare)
    except (RuntimeError, MemoryError) as problem:
        why = str(problem).strip().split("DefaultCPUAllocator: ")[-1].split(".")[0]
        return line | {"peer_failed": f"within {CEILING / 2**30:.0f} GB: {why}"}
    measured: dict[str, Any] = timing.fresh(times, case, prepare=prepare)
    return measured | line


def main() -> None:
    """Measure every case, print a line each and write `benchmarks/results/triplet_losses.json`."""
    lines = [run(case) for case in CASES]
    about = timing.machine("likewise", "torch", "pytorch-metric-learning")
    timing.write("triplet_losses", lines, machine=about, threads=1, ceiling_bytes=CEILING)


CASES = [
    Case("all triplets", PEER + "TripletMarginLoss", rows=1024, per_class=4, repeats=5),
    Case("all triplets", PEER + "TripletMarginLoss", rows=4096, per_class=32),
    Case("all triplets", "our distance matrix", rows=4096, per_class=32),
    Case("all triplets", "torch.cdist", rows=4096, per_class=32),
    Case("semi-hard", "our distance matrix", rows=4096, per_class=32),
    Case("semi-hard", "torch.cdist", rows=4096, per_class=32),
    Case("nearest semi-hard", "our distance matrix", rows=4096, per_class=32),
    Case("nearest semi-hard", "torch.cdist", rows=4096, per_class=32),
    Case("hard", "our distance matrix", rows=4096, per_class=32),
    Case("hard", "torch.cdist", rows=4096, per_class=32),
    Case("NT-Xent", PEER + "NTXentLoss", rows=1024, per_class=4),
    Case("NT-Xent", PEER + "NTXentLoss", rows=128, per_class=4, repeats=15),
    Case("SupCon", PEER + "SupConLoss", rows=1024, per_class=4, repeats=15),
    Case("multi-similarity", PEER + "MultiSimilarityLoss", rows=1024, per_class=4, repeats=15),
]


if __name__ == "__main__":
    main()

"""Retrieval metrics by exact search, against faiss's exact index and pytorch-metric-learning's calculator.

faiss only searches; ours also settles ties exactly and computes recall, precision, NDCG, MAP@R and R-precision.

    python -m benchmarks.retrieval
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import faiss
import numpy as np
import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

from benchmarks import timing
from likewise.evaluation import retrieval

DIMENSIONS, THREADS = 128, 2
EACH = 10
CUTOFFS = (1, 5, 10)

Labels = np.ndarray[Any, Any]


def embeddings(samples: int) -> tuple[torch.Tensor, Labels]:
    """Return unit embeddings of classes of 10 samples."""
    generator = torch.Generator().manual_seed(0)
    labels = np.arange(samples) // EACH
    centres = torch.randn(samples // EACH + 1, DIMENSIONS, generator=generator)
    spread = centres[labels] + 1.2 * torch.randn(samples, DIMENSIONS, generator=generator)
    return torch.nn.functional.normalize(spread, dim=1), labels


def call_of(name: str, samples: int) -> Callable[[], object]:
    """Return a call that does the work of one side."""
    matrix, labels = embeddings(samples)
    return partial(SIDES[name], matrix, labels)


def ours(matrix: torch.Tensor, labels: Labels) -> object:
    """Return all retrieval metrics."""
    return retrieval.evaluate(matrix, labels, distance="cosine", k=CUTOFFS)


def exact_index(matrix: torch.Tensor, _: Labels) -> object:
    """Return the neighbours only."""
    index = faiss.IndexFlatIP(DIMENSIONS)
    index.add(matrix.numpy())
    return index.search(matrix.numpy(), max(*CUTOFFS, EACH) + 1)


def calculator(matrix: torch.Tensor, labels: Labels) -> object:
    """Return three of the metrics."""
    judge = AccuracyCalculator(
        include=("precision_at_1", "r_precision", "mean_average_precision_at_r"), k="max_bin_count"
    )
    classes = torch.from_numpy(labels)
    return judge.get_accuracy(matrix, classes, matrix, classes, ref_includes_query=True)


def memory(name: str, samples: int) -> int:
    """Return by how much one call raises this process's memory, in bytes."""
    torch.set_num_threads(THREADS)
    call_of(name, 2000)()
    return timing.resident_peak(call_of(name, samples))


def main() -> None:
    """Measure, print the figures and write `benchmarks/results/retrieval.json`."""
    parser = argparse.ArgumentParser(description="Time retrieval metrics against faiss's exact index.")
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(THREADS)
    faiss.omp_set_num_threads(THREADS)
    work = f"retrieval metrics, exact, {asked.samples:,} samples"
    held = {name: timing.fresh(memory, name, asked.samples) for name in SIDES}
    mine, *peers = (call_of(name, asked.samples) for name in SIDES)
    lines = []
    for name, peer in zip(list(SIDES)[1:], peers, strict=True):
        found = timing.compare(work, name, mine, peer, repeats=asked.repeats, warmup=0)
        lines.append(found | {"ours_bytes": held["ours"], "peer_bytes": held[name]})
    about = timing.machine("likewise", "faiss-cpu", "numpy", "pytorch-metric-learning", "torch")
    timing.write("retrieval", lines, machine=about, threads=THREADS, dimensions=DIMENSIONS)


SIDES = {
    "ours": ours,
    "faiss exact index, search only": exact_index,
    "pytorch-metric-learning AccuracyCalculator": calculator,
}


if __name__ == "__main__":
    main()

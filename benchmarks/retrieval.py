"""Retrieval metrics by exact search, against faiss's exact index and pytorch-metric-learning's calculator.

faiss only searches; ours also settles ties exactly and computes recall, precision, NDCG, MAP@R and R-precision.

    python -m benchmarks.retrieval
"""

from __future__ import annotations

import argparse
from typing import Any

import faiss
import numpy as np
import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

from benchmarks import timing
from likewise.evaluation import retrieval

DIMENSIONS = 128
EACH = 10
CUTOFFS = (1, 5, 10)


def embeddings(samples: int) -> tuple[torch.Tensor, np.ndarray[Any, Any]]:
    """Return unit embeddings of classes of 10 samples."""
    generator = torch.Generator().manual_seed(0)
    labels = np.arange(samples) // EACH
    centres = torch.randn(samples // EACH + 1, DIMENSIONS, generator=generator)
    spread = centres[labels] + 1.2 * torch.randn(samples, DIMENSIONS, generator=generator)
    return torch.nn.functional.normalize(spread, dim=1), labels


def main() -> None:
    """Measure, print the figures and write `benchmarks/results/retrieval.json`."""
    parser = argparse.ArgumentParser(description="Time retrieval metrics against faiss's exact index.")
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--alone", action="store_true", help="leave pytorch-metric-learning out")
    asked = parser.parse_args()
    matrix, labels = embeddings(asked.samples)

    def ours() -> object:
        return retrieval.evaluate(matrix, labels, distance="cosine", k=CUTOFFS)

    def exact_index() -> object:
        index = faiss.IndexFlatIP(DIMENSIONS)
        index.add(matrix.numpy())
        return index.search(matrix.numpy(), max(*CUTOFFS, EACH) + 1)

    def calculator() -> object:
        judge = AccuracyCalculator(
            include=("precision_at_1", "r_precision", "mean_average_precision_at_r"), k="max_bin_count"
        )
        classes = torch.from_numpy(labels)
        return judge.get_accuracy(matrix, classes, matrix, classes, ref_includes_query=True)

    retrieval.evaluate(matrix[:2000], labels[:2000], distance="cosine")
    result: dict[str, Any] = {
        "samples": asked.samples,
        "dimensions": DIMENSIONS,
        "machine": timing.machine("faiss-cpu", "numpy", "pytorch-metric-learning", "torch"),
        "peak_bytes": timing.resident_peak(ours),
        "against": [timing.compare("faiss exact index", ours, exact_index, repeats=asked.repeats, warmup=0)],
    }
    if not asked.alone:
        result["against"].append(
            timing.compare("pytorch-metric-learning", ours, calculator, repeats=asked.repeats, warmup=0)
        )
    for row in result["against"]:
        print(
            f"{row['name']}: ours {row['ours']['median_s']:.2f} s, it {row['peer']['median_s']:.2f} s, "
            f"ratio {row['ratio']:.2f} ({row['ratio_min']:.2f} to {row['ratio_max']:.2f})"
        )
    print(f"peak {result['peak_bytes'] / 1e6:.0f} MB")
    print(f"written to results/{timing.write('retrieval', result).name}")


if __name__ == "__main__":
    main()

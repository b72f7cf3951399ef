"""The exact ROC over all pairs, against scikit-learn's `roc_curve` on all scores and against the matrix product alone.

python -m benchmarks.verification
python -m benchmarks.verification --samples 50000 --repeats 1 --alone
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score, roc_curve

from benchmarks import timing
from likewise import distances
from likewise.evaluation.verification import roc_all_pairs

DIMENSIONS = 128
EACH = 20
ROWS = 1000


def embeddings(samples: int) -> tuple[torch.Tensor, np.ndarray[Any, Any]]:
    """Return embeddings of classes of 20 samples, spread so that some 4 % of the answers are wrong."""
    generator = torch.Generator().manual_seed(0)
    labels = np.arange(samples) // EACH
    centres = torch.randn(samples // EACH + 1, DIMENSIONS, generator=generator)
    return centres[labels] + 1.5 * torch.randn(samples, DIMENSIONS, generator=generator), labels


def product(matrix: torch.Tensor) -> None:
    """Multiply all rows with all rows in single precision, a block at a time, and keep nothing."""
    for start in range(0, len(matrix), ROWS):
        torch.mm(matrix[start : start + ROWS], matrix.T)


def ours(matrix: torch.Tensor, labels: np.ndarray[Any, Any]) -> dict[str, float]:
    """Return figures of the ROC over all pairs."""
    roc = roc_all_pairs(matrix, labels)
    return {"auc": roc.auc, "eer": roc.eer, "eer_plain": roc.eer_plain, "min_dcf": roc.min_dcf()}


def all_scores(matrix: torch.Tensor, labels: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the score of every pair and whether it is genuine."""
    measure = distances.build("cosine")
    upper = np.triu_indices(len(labels), 1)
    return measure.score(measure.pairwise(matrix)).numpy()[upper], labels[upper[0]] == labels[upper[1]]


def largest_difference(samples: int) -> float:
    """Return how far AUC and minDCF are from scikit-learn's on a set that fits into memory."""
    matrix, labels = embeddings(samples)
    scores, same = all_scores(matrix, labels)
    far, tar, _ = roc_curve(same, scores)
    found = ours(matrix, labels)
    cost = float((0.01 * (1 - tar) + 0.99 * far).min() / 0.01)
    return max(abs(found["auc"] - float(roc_auc_score(same, scores))), abs(found["min_dcf"] - cost))


def main() -> None:
    """Measure, print the figures and write `benchmarks/results/verification.json`."""
    parser = argparse.ArgumentParser(description="Time the exact ROC over all pairs.")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--alone", action="store_true", help="leave scikit-learn out, whose scores need much memory")
    asked = parser.parse_args()
    matrix, labels = embeddings(asked.samples)
    ours(*embeddings(1000))
    result: dict[str, Any] = {
        "samples": asked.samples,
        "dimensions": DIMENSIONS,
        "threads": torch.get_num_threads(),
        "machine": timing.machine("numpy", "scikit-learn", "torch"),
        "peak_bytes": timing.resident_peak(lambda: ours(matrix, labels)),
        "figures": ours(matrix, labels),
        "largest_difference_from_scikit_learn": largest_difference(2000),
        "product": timing.compare(
            "matrix product", lambda: ours(matrix, labels), lambda: product(matrix), repeats=asked.repeats
        ),
    }
    if not asked.alone:
        scores, same = all_scores(matrix, labels)
        result["roc_curve"] = timing.compare(
            "scikit-learn roc_curve",
            lambda: ours(matrix, labels),
            lambda: roc_curve(same, scores),
            repeats=asked.repeats,
            warmup=0,
        )
    for name in ("product", "roc_curve"):
        if name in result:
            row = result[name]
            print(
                f"{row['name']}: ours {row['ours']['median_s']:.2f} s, it {row['peer']['median_s']:.2f} s, "
                f"ratio {row['ratio']:.2f} ({row['ratio_min']:.2f} to {row['ratio_max']:.2f})"
            )
    print(f"peak {result['peak_bytes'] / 1e6:.0f} MB; off by {result['largest_difference_from_scikit_learn']:.1e}")
    name = "verification" if asked.samples == 10_000 else f"verification_{asked.samples}"
    print(f"written to results/{timing.write(name, result).name}")


if __name__ == "__main__":
    main()

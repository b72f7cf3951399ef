"""The exact ROC over all pairs, against scikit-learn's `roc_curve` on all scores and against the matrix product alone.

python -m benchmarks.verification
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score, roc_curve

from benchmarks import timing
from likewise import distances
from likewise.evaluation.verification import roc_all_pairs

DIMENSIONS, THREADS = 128, 2
EACH = 20
ROWS = 1000
PRODUCT, SKLEARN = "the matrix product alone", "scikit-learn roc_curve on all scores"
# A float32 score and a Boolean.
SCORE_BYTES = 5


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


def call_of(name: str, samples: int) -> Callable[[], object]:
    """Return a call that does the work of one side; scikit-learn is handed the scores."""
    matrix, labels = embeddings(samples)
    if name == SKLEARN:
        scores, same = all_scores(matrix, labels)
        return lambda: roc_curve(same, scores)
    return (lambda: ours(matrix, labels)) if name == "ours" else (lambda: product(matrix))


def memory(name: str, samples: int) -> int:
    """Return by how much one call raises this process's memory, in bytes, the scores that it is handed included."""
    torch.set_num_threads(THREADS)
    call_of(name, 1000)()
    handed = samples * (samples - 1) // 2 * SCORE_BYTES if name == SKLEARN else 0
    return timing.resident_peak(call_of(name, samples)) + handed


def line(peer_name: str, samples: int, repeats: int) -> dict[str, Any]:
    """Return ours against a peer; a peer that takes long is timed without a warm-up."""
    held = [timing.fresh(memory, name, samples) for name in ("ours", peer_name)]
    mine, peer = (call_of(name, samples) for name in ("ours", peer_name))
    work = f"exact ROC over all pairs, {samples:,} samples"
    found = timing.compare(work, peer_name, mine, peer, repeats=repeats, warmup=int(repeats > 1))
    return found | {"ours_bytes": held[0], "peer_bytes": held[1]}


def main() -> None:
    """Measure, print the figures and write `benchmarks/results/verification.json`."""
    parser = argparse.ArgumentParser(description="Time the exact ROC over all pairs.")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=50_000, help="samples of the line that tells memory only")
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(THREADS)
    lines = [line(PRODUCT, asked.samples, asked.repeats), line(SKLEARN, asked.samples, 1)]
    memories = [timing.fresh(memory, "ours", samples) for samples in (asked.large, asked.samples)]
    lines.append(
        {
            "work": f"exact ROC over all pairs, {asked.large:,} samples",
            "peer_name": f"the same for {asked.samples:,} samples",
            "ours_bytes": memories[0],
            "peer_bytes": memories[1],
        }
    )
    off = largest_difference(2000)
    print(f"at most {off:.1e} from scikit-learn's AUC and minDCF")
    about = timing.machine("likewise", "numpy", "scikit-learn", "torch")
    details = {"dimensions": DIMENSIONS, "largest_difference_from_scikit_learn": off}
    timing.write("verification", lines, machine=about, threads=THREADS, **details)


if __name__ == "__main__":
    main()

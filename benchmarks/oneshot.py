"""20-way 1-shot episodes, thousands at once, against a loop over the episodes in NumPy.

python -m benchmarks.oneshot
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch

from benchmarks import timing
from likewise.evaluation import oneshot

DIMENSIONS, THREADS = 128, 2
CLASSES, EACH = 964, 20
WAYS = 20

Array = np.ndarray[Any, Any]


def embeddings() -> tuple[Array, Array]:
    """Return unit embeddings of as many classes and samples as Omniglot's background set has."""
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), EACH)
    spread = generator.standard_normal((CLASSES, DIMENSIONS))[labels]
    matrix = spread + 1.5 * generator.standard_normal((labels.size, DIMENSIONS))
    return (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32), labels


def ours(matrix: Array, labels: Array, episodes: int) -> float:
    """Return the accuracy over episodes."""
    return oneshot.evaluate(matrix, labels, distance="cosine", ways=WAYS, episodes=episodes, seed=0).accuracy


def by_loop(matrix: Array, members: list[Array], episodes: int) -> float:
    """Return the accuracy over episodes, drawn and answered one by one; members are the rows of each class."""
    generator = np.random.default_rng(0)
    right = 0.0
    for _ in range(episodes):
        classes = generator.choice(len(members), WAYS, replace=False)
        drawn = np.stack([generator.choice(members[each], 2, replace=False) for each in classes])
        scores = matrix[drawn[:, 1]] @ matrix[drawn[:, 0]].T
        right += float((scores.argmax(axis=1) == np.arange(WAYS)).mean())
    return right / episodes


def main() -> None:
    """Measure, print the figures and write `benchmarks/results/oneshot.json`."""
    parser = argparse.ArgumentParser(description="Time one-shot episodes.")
    parser.add_argument("--episodes", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(THREADS)
    matrix, labels = embeddings()
    members = [np.flatnonzero(labels == each) for each in range(CLASSES)]
    accuracies = ours(matrix, labels, asked.episodes), by_loop(matrix, members, asked.episodes)
    line = timing.compare(
        f"{asked.episodes:,} {WAYS}-way 1-shot episodes",
        "NumPy, an episode at a time",
        lambda: ours(matrix, labels, asked.episodes),
        lambda: by_loop(matrix, members, asked.episodes),
        repeats=asked.repeats,
    )
    about = timing.machine("likewise", "numpy", "torch")
    timing.write("oneshot", [line], machine=about, threads=THREADS, accuracies=accuracies)


if __name__ == "__main__":
    main()

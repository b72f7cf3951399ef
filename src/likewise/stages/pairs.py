"""pairs: balanced genuine and impostor pairs of each split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field

from likewise import artifacts
from likewise.config import Block, run_stage
from likewise.tuples import pairs


class Params(Block):
    """The `pairs` block of params.yaml."""

    train: int = Field(ge=2)
    val: int = Field(ge=2)
    test: int = Field(ge=2)
    genuine_share: float = Field(gt=0, lt=1)
    seed: int = Field(ge=0)


def run(params: Params, root: Path) -> None:
    """Write the pairs of train, val and test."""
    samples = artifacts.SAMPLES.read(root).dropna(subset=["class"]).sort_values("id")
    for split in artifacts.SPLITS:
        members = samples[samples["split"] == split]
        frame = draw(members, getattr(params, split), split=split, params=params)
        artifacts.PAIRS[split].write(frame, root)
        print(f"pairs: {split}: {len(frame):,} pairs, {int(frame['same'].sum()):,} of them genuine", flush=True)


def draw(members: pd.DataFrame, count: int, *, split: str, params: Params) -> pd.DataFrame:
    """Draw the pairs of one split from its samples, which are sorted by id.

    Raises:
        ValueError: when there are fewer pairs than are asked for.
    """
    try:
        left, right, same = pairs.draw_pairs(
            members["class"].to_numpy(dtype=str), count, seed=params.seed, genuine_share=params.genuine_share
        )
    except ValueError as error:
        raise ValueError(f"pairs.{split}: {error}") from None
    ids = members["id"].to_numpy()
    return pd.DataFrame({"left": ids[left], "right": ids[right], "same": same.astype(np.int8)})


if __name__ == "__main__":
    run_stage("pairs", Params, run)

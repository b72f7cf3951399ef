"""pairs: balanced genuine and impostor pairs of each split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field

from likewise import artifacts
from likewise.config import Block, named, run_stage
from likewise.tuples import pairs


class Params(Block):
    """The `pairs` block of params.yaml."""

    train: int = Field(ge=2)
    val: int = Field(ge=2)
    test: int = Field(ge=2)
    genuine_share: float = Field(gt=0, lt=1)
    skilled_share: float = Field(ge=0, le=1)
    seed: int = Field(ge=0)


def run(params: Params, root: Path) -> None:
    """Write the pairs of train, val and test; those of test as a list has them, where one is given."""
    samples = artifacts.SAMPLES.read(root)
    listed = artifacts.TRIALS.read(root) if artifacts.TRIALS.there(root) else None
    for split in artifacts.SPLITS:
        taken = listed if split == "test" else None
        frame = draw(samples[samples["split"] == split], split, params) if taken is None else taken
        artifacts.PAIRS[split].write(frame, root)
        how = "" if taken is None else ", all as listed (ingest.trials)"
        print(f"pairs: {split}: {describe(frame, samples)}{how}", flush=True)


def draw(members: pd.DataFrame, split: str, params: Params) -> pd.DataFrame:
    """Draw the pairs of one split from its samples, in whatever order they come.

    Raises:
        ValueError: when there are fewer pairs of a kind than are asked for.
    """
    ordered = members.sort_values("id")
    known, forged = (ordered.dropna(subset=[column]) for column in ("class", "forges"))
    with named(f"pairs.{split}"):
        left, right, same = pairs.draw_pairs(
            known["class"].to_numpy(dtype=str),
            getattr(params, split),
            seed=params.seed,
            genuine_share=params.genuine_share,
            forges=forged["forges"].to_numpy(dtype=str),
            skilled_share=params.skilled_share,
        )
    ids = np.concatenate([known["id"].to_numpy(), forged["id"].to_numpy()])
    return pd.DataFrame({"left": ids[left], "right": ids[right], "same": same.astype(np.int8)})


def describe(frame: pd.DataFrame, samples: pd.DataFrame) -> str:
    """Say how many pairs of each kind there are; of forgeries only where there are any in the data."""
    told = f"{len(frame):,} pairs, {int(frame['same'].sum()):,} of them genuine"
    forged = samples["id"][samples["forges"].notna()]
    skilled = int((frame["left"].isin(forged) | frame["right"].isin(forged)).sum())
    return f"{told}, {skilled:,} with a forgery" if len(forged) else told


if __name__ == "__main__":
    run_stage("pairs", Params, run)

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

    train: int | None = Field(ge=2)
    val: int | None = Field(ge=2)
    test: int | None = Field(ge=2)
    genuine_share: float = Field(gt=0, lt=1)
    skilled_share: float = Field(ge=0, le=1)
    seed: int = Field(ge=0)


def run(params: Params, root: Path) -> None:
    """Write the pairs of train, val and test: drawn, or as the source gives them; those of test also as listed."""
    samples = artifacts.SAMPLES.read(root)
    listed, given = (
        table.read(root) if table.there(root) else None for table in (artifacts.TRIALS, artifacts.GIVEN_PAIRS)
    )
    for split in artifacts.SPLITS:
        if split == "test" and listed is not None:
            frame, how = listed, ", all as listed (ingest.trials)"
        elif given is not None:
            frame, how = take(given, samples, split, params)
        else:
            frame, how = draw(samples[samples["split"] == split], split, params), ""
        artifacts.PAIRS[split].write(frame, root)
        print(f"pairs: {split}: {describe(frame, samples)}{how}", flush=True)


def take(given: pd.DataFrame, samples: pd.DataFrame, split: str, params: Params) -> tuple[pd.DataFrame, str]:
    """Return the pairs of one split that a source gives, so many of them at most, and how they were taken in words.

    Which ones are taken depends on the pairs alone and not on their order or their sides; they stay in the order of the
    table, and the share of genuine ones stays as it is there.
    """
    inside = given["left"].map(samples.set_index("id")["split"]) == split
    frame = given.loc[inside, ["left", "right", "same"]].reset_index(drop=True)
    most = getattr(params, split)
    if most is None or most >= len(frame):
        return frame, ", all that are given"
    sides = np.sort(frame[["left", "right"]].to_numpy(dtype=str), axis=1)
    order = np.lexsort((sides[:, 1], sides[:, 0]))
    chosen = np.sort(order[pairs.thin_pairs(frame["same"].to_numpy()[order], most, seed=params.seed)])
    return frame.iloc[chosen].reset_index(drop=True), f", drawn from {len(frame):,} that are given"


def draw(members: pd.DataFrame, split: str, params: Params) -> pd.DataFrame:
    """Draw the pairs of one split from its samples, in whatever order they come.

    Raises:
        ValueError: when there are fewer pairs of a kind than are asked for, or no count is.
    """
    ordered = members.sort_values("id")
    known, forged = (ordered.dropna(subset=[column]) for column in ("class", "forges"))
    with named(f"pairs.{split}"):
        if getattr(params, split) is None:
            raise ValueError("null takes all the pairs that a source gives, and these are drawn: give a count")
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

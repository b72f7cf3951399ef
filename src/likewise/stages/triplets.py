"""triplets: triplets of the training samples, drawn from all there are without listing them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import Field

from likewise import artifacts
from likewise.config import Block, run_stage
from likewise.tuples import triplets


class Params(Block):
    """The `triplets` block of params.yaml."""

    strategy: Literal["uniform"]
    count: int = Field(ge=1)
    seed: int = Field(ge=0)


def run(params: Params, root: Path) -> None:
    """Write the triplets of train."""
    samples = artifacts.SAMPLES.read(root).dropna(subset=["class"]).sort_values("id")
    members = samples[samples["split"] == "train"]
    labels = members["class"].to_numpy(dtype=str)
    try:
        drawn = triplets.draw_triplets(labels, params.count, seed=params.seed)
    except ValueError as error:
        raise ValueError(f"triplets.count: {error}") from None
    ids = members["id"].to_numpy()
    names = ("anchor", "positive", "negative")
    frame = pd.DataFrame({name: ids[rows] for name, rows in zip(names, drawn, strict=True)})
    artifacts.TRIPLETS.write(frame, root)
    print(f"triplets: {len(frame):,} of {triplets.Triplets(labels).count:,} triplets", flush=True)


if __name__ == "__main__":
    run_stage("triplets", Params, run)

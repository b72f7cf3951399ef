"""ingest: the raw source becomes checked, hashed, split samples and one array of media."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from likewise import artifacts
from likewise.config import Block, run_stage
from likewise.data.images import ImageSpec
from likewise.data.ingestion import ingest
from likewise.data.sources import open_source
from likewise.data.splits import assign

PROGRESS_EVERY = 10_000


class Split(Block):
    """How samples are divided into train, val and test."""

    by: Literal["class", "sample", "source", "file"]
    val: float = Field(gt=0, lt=1)
    test: float = Field(gt=0, lt=1)
    fold: int = Field(ge=0)
    seed: int = Field(ge=0)
    file: str | None

    @model_validator(mode="after")
    def _fits(self) -> Split:
        if self.val + self.test >= 1:
            raise ValueError(f"val {self.val} and test {self.test} leave nothing to train on")
        if (self.by == "file") != (self.file is not None):
            raise ValueError("by: file needs file: NAME (inside ingest.path), and only by: file takes it")
        return self


class Params(Block):
    """The `ingest` block of params.yaml."""

    source: Literal["digits", "folder", "idx"]
    path: str = Field(min_length=1)
    kind: Literal["image"]
    height: int = Field(ge=4, le=4096)
    width: int = Field(ge=4, le=4096)
    channels: Literal[1, 3]
    min_side: int = Field(ge=1)
    split: Split


def run(params: Params, root: Path) -> None:
    """Write the samples, their media, the quarantine and the summary."""
    path = root / params.path
    spec = ImageSpec(height=params.height, width=params.width, channels=params.channels)
    # The table of splits may lie among the samples, and is none.
    options = {"skip": [params.split.file]} if params.source == "folder" and params.split.file else {}
    source = open_source(params.source, path, **options)
    with artifacts.MEDIA.writing(root) as media:
        found = ingest(source, spec, media_path=media, min_side=params.min_side, progress=_line)
    division = params.split
    samples = found.samples.assign(
        split=assign(
            found.samples,
            by=division.by,
            val=division.val,
            test=division.test,
            fold=division.fold,
            seed=division.seed,
            file=read_splits(path / division.file) if division.file else None,
            ignore=set(found.quarantine["id"]),
        )
    )
    artifacts.SAMPLES.write(samples[artifacts.SAMPLES.types.names], root)
    artifacts.write_offsets(np.arange(len(samples) + 1, dtype=np.int64), root)
    artifacts.QUARANTINE.write(found.quarantine, root)
    train = samples[(samples["split"] == "train") & samples["class"].notna()]
    artifacts.CLASSES.write(train[["id", "class"]], root)
    summary = {
        "source": params.source,
        "kind": params.kind,
        "shape": list(spec.shape),
        "found": found.found,
        "kept": len(samples),
        "quarantined": kinds(found.quarantine["reason"]),
        "splits": held(samples),
    }
    artifacts.SUMMARY.write(summary, root)
    print(describe(summary), flush=True)


def read_splits(path: Path) -> pd.DataFrame:
    """Read the CSV that says which sample is in which split.

    Raises:
        ValueError: when it is missing or not a table.
    """
    try:
        return pd.read_csv(path, dtype=str)
    except (OSError, pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"ingest.split.file: {path}: {error}") from None


def kinds(reasons: pd.Series[str]) -> dict[str, int]:
    """Count the reasons without their particulars: "duplicate of a/1.png" counts as "duplicate"."""
    short = Counter(re.sub(r"\d+", "N", re.split(r" of | with |: ", reason)[0]) for reason in reasons)
    return dict(short.most_common())


def held(samples: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Count the samples and classes of each split."""
    return {
        str(split): {"samples": len(rows), "classes": int(rows["class"].nunique())}
        for split, rows in samples.groupby("split")
    }


def describe(summary: dict[str, Any]) -> str:
    """Say what was found, what was left out and why, and what each split holds."""
    left_out = summary["found"] - summary["kept"]
    lines = [f"ingest: {summary['found']:,} found, {summary['kept']:,} kept, {left_out:,} in quarantine"]
    lines += [f"ingest: quarantine: {count:,} {reason}" for reason, count in summary["quarantined"].items()]
    lines += [
        f"ingest: {split}: {counts['samples']:,} samples of {counts['classes']:,} classes"
        for split, counts in summary["splits"].items()
    ]
    return "\n".join(lines)


def _line(done: int, found: int) -> None:
    if done % PROGRESS_EVERY == 0:
        print(f"ingest: {done:,} of {found:,} read", flush=True)


if __name__ == "__main__":
    run_stage("ingest", Params, run)

"""What the `ingest` block of params.yaml may hold."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from likewise.config import Block
from likewise.data.checks import Mode
from likewise.data.fingerprints import MOST_BITS


class Columns(Block):
    """Which column of a table is what."""

    path: str = Field(min_length=1)
    image: str = Field(min_length=1)
    label: str = Field(min_length=1)
    group: str = Field(min_length=1)


class Split(Block):
    """How samples are divided into train, val and test."""

    by: Literal["class", "group", "sample", "column", "file"]
    val: float = Field(gt=0, lt=1)
    test: float = Field(gt=0, lt=1)
    fold: int = Field(ge=0)
    seed: int = Field(ge=0)
    column: str = Field(min_length=1)
    file: str | None

    @model_validator(mode="after")
    def _fits(self) -> Split:
        if self.val + self.test >= 1:
            raise ValueError(f"val {self.val} and test {self.test} leave nothing to train on")
        if (self.by == "file") != (self.file is not None):
            raise ValueError("by: file needs file: NAME (inside ingest.path), and only by: file takes it")
        return self


class Checks(Block):
    """What each check does when it finds something."""

    small_classes: Mode
    label_conflicts: Mode
    same_file: Mode
    same_group: Mode
    near_duplicates: Mode
    constant: Mode


class Params(Block):
    """The `ingest` block of params.yaml."""

    source: Literal["digits", "folder", "idx", "manifest", "parquet"]
    path: str = Field(min_length=1)
    table: str | None
    columns: Columns
    kind: Literal["image"]
    height: int = Field(ge=4, le=4096)
    width: int = Field(ge=4, le=4096)
    channels: Literal[1, 3]
    min_side: int = Field(ge=1)
    min_class: int = Field(ge=2)
    near_bits: int = Field(ge=0, le=MOST_BITS)
    split: Split
    checks: Checks

    @model_validator(mode="after")
    def _fits(self) -> Params:
        if self.table is not None and self.source != "manifest":
            raise ValueError(f"table: {self.table} is of source: manifest only, not of {self.source}")
        return self

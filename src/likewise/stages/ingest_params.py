"""What the `ingest` block of params.yaml may hold."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from likewise.config import Block
from likewise.data.checks import Mode
from likewise.data.downloads import CHECKSUM
from likewise.data.fingerprints import BITS
from likewise.data.kinds import Preprocessing, build
from likewise.data.remote import check_url, is_remote
from likewise.data.sounds import MAX_OVERLAP
from likewise.data.texts import MIN_LENGTH

HELD = {
    "digits": "image",
    "idx": "image",
    "omniglot": "image",
    "omniglot-small1": "image",
    "omniglot-small2": "image",
    "mnist": "image",
    "fashion-mnist": "image",
    "orl-faces": "image",
    "fsdd": "audio",
    "speech-commands": "audio",
}
"""The kind of samples that a source holds, where it holds no other."""


class Columns(Block):
    """Which column of a table is what."""

    path: str = Field(min_length=1)
    left: str = Field(min_length=1)
    right: str = Field(min_length=1)
    same: str = Field(min_length=1)
    image: str = Field(min_length=1)
    label: str = Field(min_length=1)
    group: str = Field(min_length=1)
    forged: str = Field(min_length=1)


class Split(Block):
    """How samples are divided into train, val and test."""

    by: Literal["class", "group", "sample", "column", "file"]
    val: float = Field(gt=0, lt=1)
    test: float = Field(gt=0, lt=1)
    fold: int = Field(ge=0)
    hold_out: list[str]
    seed: int = Field(ge=0)
    column: str = Field(min_length=1)
    file: str | None

    @model_validator(mode="after")
    def _fits(self) -> Split:
        if self.val + self.test >= 1:
            raise ValueError(f"val {self.val} and test {self.test} leave nothing to train on")
        if self.hold_out and (self.fold or self.by in ("column", "file")):
            wrong = f"fold: {self.fold}" if self.fold else f"by: {self.by}"
            raise ValueError(f"hold_out names the test groups itself: {wrong} does not go with it")
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


class Image(Block):
    """What images become."""

    height: int = Field(ge=4, le=4096)
    width: int = Field(ge=4, le=4096)
    channels: Literal[1, 3]
    crop: float | None = Field(ge=0, le=10)
    min_side: int = Field(ge=1)


class Audio(Block):
    """What sounds become."""

    rate: int = Field(ge=1000, le=192_000)
    seconds: float = Field(gt=0, le=600)
    overlap: float = Field(ge=0, le=MAX_OVERLAP)
    trim: float | None = Field(gt=0)
    level: float | None
    mels: int = Field(ge=1, le=512)
    frame_ms: float = Field(gt=0)
    hop_ms: float = Field(gt=0)
    lowest: float = Field(ge=0)
    highest: float | None = Field(gt=0)
    min_seconds: float = Field(ge=0)
    max_seconds: float = Field(gt=0)
    min_rate: int = Field(ge=1)


class Sequence(Block):
    """What sequences become."""

    length: int = Field(ge=2)
    channels: int | list[int | str]
    time: int | str | None
    centre: bool
    scale: bool
    together: int | None = Field(ge=1)
    differences: bool
    min_points: int = Field(ge=2)
    max_points: int = Field(ge=2)


class Text(Block):
    """What texts become."""

    length: int = Field(ge=MIN_LENGTH)


class Params(Block):
    """The `ingest` block of params.yaml."""

    source: Literal[
        "digits",
        "folder",
        "idx",
        "manifest",
        "parquet",
        "pairs",
        "omniglot",
        "omniglot-small1",
        "omniglot-small2",
        "mnist",
        "fashion-mnist",
        "orl-faces",
        "fsdd",
        "speech-commands",
    ]
    path: str = Field(min_length=1)
    checksums: dict[str, str]
    table: str | None
    trials: str | None = Field(min_length=1)
    columns: Columns
    kind: Literal["image", "audio", "sequence", "text"]
    image: Image | None
    audio: Audio | None
    sequence: Sequence | None
    text: Text | None
    min_class: int = Field(ge=2)
    near_bits: int = Field(ge=0)
    split: Split
    checks: Checks

    @model_validator(mode="after")
    def _fits(self) -> Params:
        if self.table is not None and self.source not in ("manifest", "pairs"):
            raise ValueError(f"table: {self.table} is of source: manifest or pairs only, not of {self.source}")
        if self.trials is not None and self.source == "pairs":
            raise ValueError(
                f"trials: {self.trials} does not go with source: pairs: put the trials into its table with the split "
                "test, and set split.by: column"
            )
        if self.trials is not None and self.split.hold_out:
            raise ValueError(f"trials: {self.trials} names the test samples itself: hold_out does not go with it")
        if is_remote(self.path):
            check_url(self.path)
        for name, checksum in self.checksums.items():
            if not CHECKSUM.fullmatch(checksum):
                raise ValueError(f"checksums: {name}: {checksum!r} is none: write md5: or sha256: and the hex digits")
        held = HELD.get(self.source, self.kind)
        if held != self.kind:
            raise ValueError(f"source {self.source} holds samples of kind {held}: kind {self.kind} does not go with it")
        for kind in ("image", "audio", "sequence", "text"):
            if (getattr(self, kind) is not None) != (kind == self.kind):
                wanted = f"needs the block {kind}" if kind == self.kind else f"takes no block {kind}: set {kind}: null"
                raise ValueError(f"kind {self.kind} {wanted}")
        most = BITS[self.kind] // 4
        if self.near_bits > most:
            raise ValueError(f"near_bits is {self.near_bits}: for the kind {self.kind} it may be 0 to {most}")
        self.preprocessing()
        return self

    def preprocessing(self) -> Preprocessing:
        """Return what a file becomes, in the form that travels with the model."""
        return build(self.kind, **getattr(self, self.kind).model_dump())

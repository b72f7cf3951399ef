"""Every file that a stage hands to another: its path, its schema, reading and writing it whole.

Tables are Parquet with an Arrow schema (the types on disk) and pandera checks (what the values must obey),
both applied on write and on read. A file is written beside its place and moved there, so it is whole or not there.
The bytes depend on the content only: no version, time or path is stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pandera
import pyarrow as pa
import pyarrow.parquet as pq

from likewise.files import CALIBRATION as CALIBRATION
from likewise.files import DELIVERED as DELIVERED
from likewise.files import MODEL as MODEL
from likewise.files import WEIGHTS as WEIGHTS
from likewise.files import ArtifactError as ArtifactError
from likewise.files import File as File
from likewise.files import Json as Json
from likewise.files import all_or_none as all_or_none
from likewise.files import file_sha256 as file_sha256
from likewise.files import present as present
from likewise.files import replacing as replacing
from likewise.files import sha256 as sha256

SPLITS = ("train", "val", "test")
CARRIED = "carried."
"""Prefix of the columns that came with the source and are only carried along, of the types that they have there."""


@dataclass(frozen=True)
class Table:
    """A Parquet file with a schema.

    Args:
        path: where it lies, relative to the project's root.
        types: Arrow type of each required column, in order.
        checks: what the values must obey.
        carried: whether columns named `carried.*` may follow.
        vector: whether a column `vector` follows: float32 lists of one length.
    """

    path: str
    types: pa.Schema
    checks: pandera.DataFrameSchema
    carried: bool = False
    vector: bool = False

    def read(self, root: Path) -> pd.DataFrame:
        """Read and check the table.

        Raises:
            ArtifactError: when it is missing, unreadable or not of its schema.
        """
        try:
            table = pq.read_table(present(root / self.path))
        except pa.ArrowException as error:
            raise ArtifactError(f"{self.path}: not a readable Parquet file ({error}); delete it and repro") from None
        self._check_types(table.schema)
        return self._check_values(_to_pandas(table))

    def write(self, frame: pd.DataFrame, root: Path) -> None:
        """Check the frame and write it atomically.

        Raises:
            ArtifactError: when it is not of the schema.
        """
        self._check_columns(list(frame.columns))
        frame = self._check_values(frame.reset_index(drop=True))
        try:
            table = pa.Table.from_pandas(frame, schema=self._full_schema(frame), preserve_index=False)
        except pa.ArrowException as error:
            raise ArtifactError(f"{self.path}: {error}") from None
        with replacing(root / self.path) as partial:
            pq.write_table(table.replace_schema_metadata(None), partial, compression="zstd")

    def there(self, root: Path) -> bool:
        """Tell whether the table was written: not every source has every one."""
        return (root / self.path).is_file()

    def remove(self, root: Path) -> None:
        """Take away what an earlier run wrote, if anything."""
        (root / self.path).unlink(missing_ok=True)

    def _full_schema(self, frame: pd.DataFrame) -> pa.Schema:
        if self.vector:
            width = len(frame["vector"].iloc[0]) if len(frame) else 0
            return self.types.append(pa.field("vector", pa.list_(pa.float32(), width)))
        carried = pa.Schema.from_pandas(frame[list(frame.columns[len(self.types) :])], preserve_index=False)
        return pa.schema([*self.types, *carried])

    def _check_columns(self, columns: list[str]) -> None:
        known = [*self.types.names, "vector"] if self.vector else self.types.names
        extra = columns[len(known) :]
        if columns[: len(known)] != known or not all(self.carried and c.startswith(CARRIED) for c in extra):
            raise ArtifactError(f"{self.path}: columns are {columns}; expected {known}")

    def _check_types(self, found: pa.Schema) -> None:
        self._check_columns(found.names)
        for field in self.types:
            given = found.field(field.name).type
            if given != field.type:
                raise ArtifactError(f"{self.path}: column {field.name} is {given}; expected {field.type}")

    def _check_values(self, frame: pd.DataFrame) -> pd.DataFrame:
        try:
            self.checks.validate(frame, lazy=False)
        except (pandera.errors.SchemaError, pandera.errors.SchemaErrors) as error:
            raise ArtifactError(f"{self.path}: {str(error).splitlines()[0]}") from None
        return frame


@dataclass(frozen=True)
class Csv:
    """A CSV file for people and plots, with its columns fixed: numbers in their shortest exact form."""

    path: str
    columns: tuple[str, ...]

    def read(self, root: Path) -> pd.DataFrame:
        """Read the table.

        Raises:
            ArtifactError: when it is missing or has other columns.
        """
        return self._check(pd.read_csv(present(root / self.path)))

    def write(self, frame: pd.DataFrame, root: Path) -> None:
        """Write the table atomically.

        Raises:
            ArtifactError: when it has other columns.
        """
        with replacing(root / self.path) as partial:
            self._check(frame).to_csv(partial, index=False, lineterminator="\n")

    def _check(self, frame: pd.DataFrame) -> pd.DataFrame:
        if tuple(frame.columns) != self.columns:
            raise ArtifactError(f"{self.path}: columns are {list(frame.columns)}; expected {list(self.columns)}")
        return frame


def _to_pandas(table: pa.Table) -> pd.DataFrame:
    """Return the frame; what was only carried along keeps its Arrow types, in which whole numbers may have gaps."""
    carried = [name for name in table.column_names if name.startswith(CARRIED)]
    own: pd.DataFrame = table.drop_columns(carried).to_pandas()
    if not carried:
        return own
    others: pd.DataFrame = table.select(carried).to_pandas(types_mapper=pd.ArrowDtype)
    return pd.concat([own, others], axis=1)


def read_media(root: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the media of all samples as a memory map and the offsets of each sample in it.

    Sample `i` is `media[offsets[i]:offsets[i + 1]]`: one row or more, all of the same shape.

    Raises:
        ArtifactError: when a file is missing or they do not fit each other.
    """
    media = np.load(MEDIA.existing(root), mmap_mode="r")
    offsets = np.load(OFFSETS.existing(root))
    if offsets.ndim != 1 or [*offsets[:1], *offsets[-1:]] != [0, len(media)] or (np.diff(offsets) < 1).any():
        raise ArtifactError(f"{OFFSETS.path}: does not fit {MEDIA.path}; run `dvc repro -f ingest`")
    return media, offsets


def write_offsets(offsets: np.ndarray[Any, Any], root: Path) -> None:
    """Write where each sample begins in the media, and where the last one ends: int64 (samples + 1)."""
    with OFFSETS.writing(root) as partial, partial.open("wb") as stream:
        np.save(stream, offsets)


def _column(*checks: pandera.Check, nullable: bool = False, unique: bool = False) -> pandera.Column:
    return pandera.Column(checks=list(checks), nullable=nullable, unique=unique, coerce=False)


def _checks(columns: dict[str, pandera.Column], *rows: pandera.Check) -> pandera.DataFrameSchema:
    return pandera.DataFrameSchema(columns, checks=list(rows))


def _differ(left: str, right: str) -> pandera.Check:
    def check(frame: pd.DataFrame) -> pd.Series[bool]:
        return frame[left] != frame[right]

    return pandera.Check(check, error=f"{left} and {right} are the same sample")


def _classless_forgeries() -> pandera.Check:
    def check(frame: pd.DataFrame) -> pd.Series[bool]:
        return frame["class"].isna() | frame["forges"].isna()

    return pandera.Check(check, error="a forgery has a class of its own")


_STRING = pa.string()
_PAIR_TYPES = pa.schema([("left", _STRING), ("right", _STRING), ("same", pa.int8())])
_PAIR_CHECKS = _checks(
    {"left": _column(), "right": _column(), "same": _column(pandera.Check.isin([0, 1]))},
    _differ("left", "right"),
)

SAMPLES = Table(
    "data/ingest/samples.parquet",
    pa.schema([(name, _STRING) for name in ("id", "class", "split", "hash", "group", "path", "forges")]),
    _checks(
        {
            "id": _column(unique=True),
            "class": _column(nullable=True),
            "split": _column(pandera.Check.isin(SPLITS)),
            "hash": _column(pandera.Check.str_matches(r"^[0-9a-f]{64}$")),
            "group": _column(nullable=True),
            "path": _column(),
            "forges": _column(nullable=True),
        },
        _classless_forgeries(),
    ),
    carried=True,
)
"""What every stage knows of the samples; a forgery has no class of its own, `forges` is the one that it imitates."""
QUARANTINE = Table(
    "data/ingest/quarantine.parquet",
    pa.schema([(name, _STRING) for name in ("id", "class", "path", "reason")]),
    _checks({"id": _column(), "class": _column(nullable=True), "path": _column(), "reason": _column()}),
    carried=True,
)
SUMMARY = Json(
    "data/ingest/summary.json",
    (
        "source",
        "kind",
        "found",
        "kept",
        "rows",
        "left_out",
        "quarantined",
        "splits",
        "shape",
        "checks",
        "preprocessing",
    ),
)
GIVEN_PAIRS = Table("data/ingest/pairs.parquet", _PAIR_TYPES, _PAIR_CHECKS, carried=True)
"""The pairs of all splits as a source gives them, in its order; there only where it gives pairs and no classes."""
REJECTED_PAIRS = Table(
    "data/ingest/rejected_pairs.parquet",
    pa.schema([("row", pa.int64()), *((name, _STRING) for name in ("left", "right", "reason"))]),
    _checks(
        {
            "row": _column(pandera.Check.gt(0), unique=True),
            "left": _column(nullable=True),
            "right": _column(nullable=True),
            "reason": _column(),
        }
    ),
)
"""The rows of a table of pairs that cannot be used; there where `GIVEN_PAIRS` is."""
TRIALS = Table("data/ingest/trials.parquet", _PAIR_TYPES, _PAIR_CHECKS)
"""The test trials as a list gives them, in its order; there only where `ingest.trials` names one."""
MEDIA = File("data/ingest/media.npy")
OFFSETS = File("data/ingest/offsets.npy")
CLASSES = Table(
    "data/classes/train.parquet",
    pa.schema([("id", _STRING), ("class", _STRING)]),
    _checks({"id": _column(unique=True), "class": _column()}),
)
PAIRS = {split: Table(f"data/pairs/{split}.parquet", _PAIR_TYPES, _PAIR_CHECKS) for split in SPLITS}
TRIPLETS = Table(
    "data/triplets/train.parquet",
    pa.schema([(name, _STRING) for name in ("anchor", "positive", "negative")]),
    _checks(
        {name: _column() for name in ("anchor", "positive", "negative")},
        _differ("anchor", "positive"),
        _differ("anchor", "negative"),
    ),
)
HISTORY = Csv(
    "models/train/history.csv",
    ("epoch", "loss", "val_eer", "zero_loss_share", "learning_rate", "gradient_norm", "collapsed_loss"),
)
LAYERS = Csv(
    "models/train/layers.csv",
    ("epoch", "layer", "activation_mean", "activation_var", "gradient_mean", "gradient_var"),
)
"""What each layer does to one batch, before training (epoch 0) and after each epoch."""
TRAIN = Json("models/train/train.json", ("train_key", "params", "epochs", "best_epoch", "best_val_eer"))
METRICS = Json("reports/evaluate/metrics.json", ("verification", "retrieval", "oneshot"))
ROC = Csv("reports/evaluate/roc.csv", ("far", "tar"))
DET = Csv("reports/evaluate/det.csv", ("far", "frr", "far_deviate", "frr_deviate"))
RELIABILITY = Csv("reports/evaluate/reliability.csv", ("probability", "genuine", "trials"))
SCORES = Csv("reports/evaluate/scores.csv", ("score", "genuine", "impostor"))
ERRORS = Table(
    "reports/evaluate/errors.parquet",
    pa.schema(
        [
            ("error", _STRING),
            ("left", _STRING),
            ("right", _STRING),
            ("left_class", _STRING),
            ("right_class", _STRING),
            ("score", pa.float64()),
        ]
    ),
    _checks(
        {
            "error": _column(pandera.Check.isin(["false accept", "false reject"])),
            **{name: _column() for name in ("left", "right", "score")},
            **{name: _column(nullable=True) for name in ("left_class", "right_class")},
        }
    ),
)
REPORT = File("reports/evaluate/report.html")
EMBEDDINGS = Table(
    "data/export/embeddings.parquet",
    pa.schema([("id", _STRING), ("class", _STRING), ("split", _STRING)]),
    _checks(
        {
            "id": _column(unique=True),
            "class": _column(nullable=True),
            "split": _column(pandera.Check.isin(SPLITS), nullable=True),
        }
    ),
    vector=True,
)
"""An embedding a sample; one that came after the model was made is in no split."""
INDEX = File("data/export/index.faiss")
ABOUT_INDEX = Json(
    "data/export/index.json",
    (
        "format",
        "kind",
        "distance",
        "count",
        "settings",
        "recall",
        "weights_sha256",
        "embeddings_sha256",
        "index_sha256",
    ),
)
"""What the index belongs to, how it was built, and what it finds of the exact answer."""
SEARCHED = (EMBEDDINGS.path, INDEX.path, ABOUT_INDEX.path)
"""What a search needs; in the folder of a delivered model the files lie side by side."""
PORTABLE = File("data/export/encoder.onnx")
VARIANTS = {name: File(f"data/export/encoder.{name}.onnx") for name in ("fp16", "int8")}
"""Smaller encoders; there only where they were asked for and could be made."""
ABOUT_PORTABLE = Json("data/export/onnx.json", ("split", "trials", "samples", "encoders"))
"""What each ONNX encoder gives on the test trials, and how large it is; or why there is none."""

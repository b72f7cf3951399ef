"""Embeddings of files that come later, in Parquet parts: each content once a model, whatever breaks in between.

A model has a folder of its own, named by its weights. Who embeds stages a part: a file whose name is the hash of the
hashes in it, so that the same work done twice is the same file. One process at a time takes staged parts over
(`Pile.commit`), without what is there already. What a crash leaves between the two is taken over next time: nothing is
there twice, and nothing that was staged is embedded again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pandera.pandas as pandera
import pyarrow as pa
import pyarrow.parquet as pq

from likewise.artifacts import ArtifactError, Table

WEIGHTS = 16
"""So many digits of the weights' SHA-256 name a model's folder."""

HASH = pandera.Column(checks=pandera.Check.str_matches(r"^[0-9a-f]{64}$"), unique=True)
EMBEDDED = Table(
    "parts",
    pa.schema([("hash", pa.string()), ("constant", pa.bool_())]),
    pandera.DataFrameSchema({"hash": HASH, "constant": pandera.Column(bool)}),
    vector=True,
)
"""A content's SHA-256, whether its rows are the same all over, and its embedding."""
REFUSED = Table(
    "refused",
    pa.schema([("hash", pa.string()), ("reason", pa.string())]),
    pandera.DataFrameSchema({"hash": HASH, "reason": pandera.Column(str)}),
)
"""A content's SHA-256, and why this model cannot read it."""


@dataclass(frozen=True)
class Pile:
    """Parts of one kind in a folder: those taken over in `path` below it, those staged in `staged/` and that.

    Args:
        folder: of the model.
        table: what a part holds; its first column is the hash.
    """

    folder: Path
    table: Table

    def stage(self, frame: pd.DataFrame) -> None:
        """Write a part beside the others, whole or not at all; nothing where there are no rows."""
        if len(frame):
            self._write(frame, f"staged/{self.table.path}")

    def commit(self) -> int:
        """Take over what is staged, each hash once, and return how many rows that were.

        A process killed in here leaves a part staged, taken over, or both; both is mended by the next call.
        """
        known, taken = self.hashes(), 0
        for staged in self._files(f"staged/{self.table.path}"):
            hashes = self._hashes(staged)
            new = hashes - known
            if new == hashes:
                self._place(self.table.path).mkdir(parents=True, exist_ok=True)
                staged.replace(self._place(self.table.path) / staged.name)
            else:
                if new:
                    frame = self._read(staged)
                    self._write(frame[frame["hash"].isin(new)], self.table.path)
                staged.unlink()
            known |= new
            taken += len(new)
        return taken

    def hashes(self, *, staged: bool = False) -> set[str]:
        """Return the hashes taken over, or those and the staged ones."""
        places = [self.table.path, *([f"staged/{self.table.path}"] if staged else [])]
        return set().union(*(self._hashes(file) for place in places for file in self._files(place)))

    def rows(self, *, since: float = 0.0) -> pd.DataFrame:
        """Return what was taken over, sorted by hash.

        Args:
            since: leaves out parts written before this time, in seconds as `time.time` counts them.

        Raises:
            ArtifactError: when a part is broken; names it.
        """
        files = [file for file in self._files(self.table.path) if file.stat().st_mtime >= since]
        if not files:
            columns = [*self.table.types.names, *(["vector"] if self.table.vector else [])]
            return pd.DataFrame({name: pd.Series(dtype=object) for name in columns})
        frame = pd.concat([self._read(file) for file in files], ignore_index=True)
        return frame.sort_values("hash", ignore_index=True)

    def _place(self, place: str) -> Path:
        return self.folder / place

    def _files(self, place: str) -> list[Path]:
        return sorted(self._place(place).glob("*.parquet"))

    def _read(self, file: Path) -> pd.DataFrame:
        return replace(self.table, path=file.relative_to(self.folder).as_posix()).read(self.folder)

    def _hashes(self, file: Path) -> set[str]:
        try:
            return set(pq.read_table(file, columns=["hash"])["hash"].to_pylist())
        except FileNotFoundError:
            # Another process took it over between listing and reading.
            return set()
        except pa.ArrowException as error:
            name = file.relative_to(self.folder).as_posix()
            raise ArtifactError(f"{name}: not a readable Parquet file ({error}); delete it and run again") from None

    def _write(self, frame: pd.DataFrame, place: str) -> None:
        frame = frame.sort_values("hash", ignore_index=True)
        replace(self.table, path=f"{place}/{name_of(frame['hash'])}.parquet").write(frame, self.folder)


def name_of(hashes: Iterable[str]) -> str:
    """Return the name of a part by the hashes in it, in whatever order they come.

    Example:
        >>> name_of(["b", "a"]) == name_of(["a", "b"]), name_of(["a"]) == name_of(["b"])
        (True, False)
    """
    return hashlib.sha256("\n".join(sorted(hashes)).encode()).hexdigest()[:32]


def model_folder(out: Path, weights: str) -> Path:
    """Return the folder of a model's embeddings by the SHA-256 of its weights."""
    return out / f"model={weights[:WEIGHTS]}"

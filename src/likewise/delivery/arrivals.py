"""Files that come later: which there are, which content each has, and what became of it under a model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pandera
import pyarrow as pa

from likewise.artifacts import Table
from likewise.data.folders import FolderReader, name_samples, open_tree
from likewise.data.manifest import open_manifest
from likewise.data.raw import Content, Raw, Source, Unreadable
from likewise.delivery.model import Item, Model
from likewise.delivery.parts import EMBEDDED, REFUSED, Pile

NO_CLASS = "no class folder"
"""What training refuses a file for, and what is no matter here."""

_STRING = pa.string()
FILES = Table(
    "files.parquet",
    pa.schema(
        dict.fromkeys(("id", "class", "hash"), _STRING)
        | {name: pa.int64() for name in ("size", "changed")}
        | {"reason": _STRING}
    ),
    pandera.DataFrameSchema(
        {"id": pandera.Column(unique=True), "hash": pandera.Column(nullable=True)},
        checks=pandera.Check(lambda frame: frame["hash"].isna() == frame["reason"].notna(), error="hash or reason"),
    ),
)
"""Every file that was ever seen: its content's hash, or why it cannot be read; a file that is as it was is not read."""
QUARANTINE = Table(
    "quarantine.parquet",
    pa.schema([(name, _STRING) for name in ("id", "class", "hash", "reason")]),
    pandera.DataFrameSchema(
        {"id": pandera.Column(unique=True), "hash": pandera.Column(nullable=True), "reason": pandera.Column()}
    ),
)
"""Every file of the last run that has no embedding, and why."""


def open_arrivals(path: Path, table: str = "") -> Source:
    """Return the files of a folder or an archive, with or without classes, or those that a table in the folder names.

    Raises:
        ValueError: no such folder, archive or table.
    """
    if table:
        return open_manifest(path, table=table)
    tree = open_tree(path)
    raws = name_samples(tree.members, strip_top=tree.packed)
    return Source(tuple(replace(raw, refused=None) if raw.refused == NO_CLASS else raw for raw in raws), tree.reader)


def scan(source: Source, seen: pd.DataFrame) -> pd.DataFrame:
    """Return the files of a source as `FILES` has them.

    Args:
        source: the files.
        seen: what an earlier scan returned; a file of the same size that was not changed since is not read again.
    """
    whole = seen[seen["hash"].notna() & (seen["changed"] >= 0)]
    states = zip(whole["id"], whole["size"], whole["changed"], strict=True)
    known = dict(zip(states, whole["hash"], strict=True))
    rows = []
    with source.reader.reading() as read:
        for raw in source:
            size, changed = _state(source, raw)
            digest, reason = known.get((raw.id, size, changed)), None
            if digest is None:
                try:
                    digest = digest_of(_content(read, raw))
                except Unreadable as error:
                    reason = str(error)
            rows.append((raw.id, raw.label, digest, size, changed, reason))
    return _typed(pd.DataFrame(rows, columns=FILES.types.names))


def seen_before(out: Path) -> pd.DataFrame:
    """Return the files that earlier runs saw."""
    return _typed(FILES.read(out) if FILES.there(out) else pd.DataFrame(columns=FILES.types.names))


def remember(found: pd.DataFrame, out: Path) -> pd.DataFrame:
    """Keep the files found, beside those seen before that are gone since, and return all of them."""
    before = seen_before(out)
    gone = before[~before["id"].isin(found["id"])]
    everything = _typed(pd.concat([found, gone]).sort_values("id", ignore_index=True))
    FILES.write(everything, out)
    return everything


def shard_of(digest: str, shards: int) -> int:
    """Return which of so many shards a content belongs to, by its hash.

    Example:
        >>> shard_of("0000000a" + 56 * "0", 4)
        2
    """
    return int(digest[:8], 16) % shards


@dataclass(frozen=True)
class Shard:
    """A part of the work: contents whose hash falls to it, and where their embeddings go.

    Attributes:
        folder: of the model's embeddings.
        number: from 0.
        shards: how many there are in all.
        files_per_part: contents read, embedded and written together.
    """

    folder: Path
    number: int = 0
    shards: int = 1
    files_per_part: int = 2048

    def wanted(self, found: pd.DataFrame) -> dict[str, str]:
        """Return the ids to embed and their hashes: each content once, none that is known or staged."""
        known = Pile(self.folder, EMBEDDED).hashes(staged=True) | Pile(self.folder, REFUSED).hashes(staged=True)
        new = found.dropna(subset=["hash"]).drop_duplicates("hash")
        return {
            id_: digest
            for id_, digest in zip(new["id"], new["hash"], strict=True)
            if digest not in known and shard_of(digest, self.shards) == self.number
        }

    def run(self, model: Model, source: Source, found: pd.DataFrame) -> int:
        """Embed what is wanted of this shard, stage it, and return how many contents got an embedding or a reason.

        A file that is another than when it was scanned, or gone, is left to the next run.
        """
        wanted = self.wanted(found)
        done = 0
        for contents in self._contents(source, wanted):
            whole, refused = _sorted_out(model, contents)
            embedded = _embedded(model, whole)
            Pile(self.folder, EMBEDDED).stage(embedded)
            Pile(self.folder, REFUSED).stage(refused)
            done += len(embedded) + len(refused)
        return done

    def _contents(self, source: Source, wanted: dict[str, str]) -> Iterator[dict[str, bytes]]:
        """Yield so many contents at a time, by their hashes."""
        batch: dict[str, bytes] = {}
        with source.reader.reading() as read:
            for raw in source:
                if raw.id not in wanted:
                    continue
                try:
                    content = _content(read, raw)
                except Unreadable:
                    continue
                if digest_of(content) == wanted[raw.id]:
                    batch[wanted[raw.id]] = content
                if len(batch) == self.files_per_part:
                    yield batch
                    batch = {}
        if batch:
            yield batch


@dataclass(frozen=True)
class Outcome:
    """What became of the files of one run; the counts add up to `found`.

    Attributes:
        found: files in the source.
        embedded: files whose content got its embedding in this run.
        known: files whose content had one before.
        quarantined: files that have none, for a reason; by the reason.
        left: files without an outcome: a shard did not come to its end, or a file changed meanwhile.
        contents: different contents among the embedded.
    """

    found: int
    embedded: int
    known: int
    quarantined: dict[str, int]
    left: int
    contents: int

    def __str__(self) -> str:
        bad, left = sum(self.quarantined.values()), f", {self.left:,} left for the next run" if self.left else ""
        new = f"{self.embedded:,} embedded" if self.embedded else "nothing new"
        copies = f" ({self.contents:,} different)" if self.contents != self.embedded else ""
        return f"{self.found:,} files: {new}{copies}, {self.known:,} known already, {bad:,} in quarantine{left}"


def settle(found: pd.DataFrame, before: set[str], folder: Path) -> Outcome:
    """Write the quarantine of a run, and return what became of each of its files.

    Args:
        found: the files, as `scan` returns them.
        before: hashes that were embedded before this run.
        folder: of the model's embeddings.
    """
    after, refused = Pile(folder, EMBEDDED).hashes(), Pile(folder, REFUSED).rows()
    told = dict(zip(refused["hash"], refused["reason"], strict=True))
    reasons = found["reason"].where(found["reason"].notna(), found["hash"].map(told))
    bad = found.assign(reason=reasons)[reasons.notna()]
    QUARANTINE.write(_typed(bad[QUARANTINE.types.names].reset_index(drop=True)), folder)
    embedded, known = found["hash"].isin(after - before), found["hash"].isin(before)
    return Outcome(
        found=len(found),
        embedded=int(embedded.sum()),
        known=int(known.sum()),
        quarantined={str(reason): int(count) for reason, count in bad["reason"].value_counts().items()},
        left=int((~embedded & ~known & reasons.isna()).sum()),
        contents=found.loc[embedded, "hash"].nunique(),
    )


def digest_of(content: bytes) -> str:
    """Return the SHA-256 of a content."""
    return hashlib.sha256(content).hexdigest()


def _state(source: Source, raw: Raw) -> tuple[int, int]:
    """Return the size of a plain file and when it was changed last; -1 where it is none, or is not there.

    That is the time of its inode, which nobody can set back as that of its content.
    """
    if not isinstance(source.reader, FolderReader):
        return -1, -1
    try:
        said = (source.reader.root / raw.path).stat()
    except OSError:
        return -1, -1
    return said.st_size, said.st_ctime_ns


def _content(read: Callable[[Raw], Content], raw: Raw) -> bytes:
    if raw.refused is not None:
        raise Unreadable(raw.refused)
    content = read(raw)
    return content.tobytes() if isinstance(content, np.ndarray) else content


def _sorted_out(model: Model, contents: dict[str, bytes]) -> tuple[dict[str, tuple[Item, bool]], pd.DataFrame]:
    """Return the contents that the model can read, and whether each is constant; and why it cannot read the others."""
    whole: dict[str, tuple[Item, bool]] = {}
    refused: dict[str, str] = {}
    for digest, content in contents.items():
        try:
            rows = model.preprocessing.rows(content)
        except Unreadable as error:
            refused[digest] = str(error)
            continue
        # One row is embedded as it is decoded; the windows of a longer sound the model has to put together itself.
        whole[digest] = (rows[0] if len(rows) == 1 else content, constant(rows))
    return whole, pd.DataFrame({"hash": list(refused), "reason": list(refused.values())}, dtype="str")


def constant(rows: np.ndarray[Any, Any]) -> bool:
    """Tell whether each row and channel of a sample (rows, channels, ...) is one value all over, as silence is.

    Example:
        >>> constant(np.zeros((1, 1, 2, 2))), constant(np.arange(4).reshape(1, 1, 2, 2))
        (True, False)
    """
    channels = rows[:, None] if rows.ndim == 2 else rows.reshape(*rows.shape[:2], -1)
    return bool((channels.min(axis=2) == channels.max(axis=2)).all())


def _embedded(model: Model, whole: dict[str, tuple[Item, bool]]) -> pd.DataFrame:
    vectors = model.embed(item for item, _ in whole.values())
    constants = np.array([each for _, each in whole.values()], dtype=bool)
    return pd.DataFrame({"hash": pd.Series(list(whole), dtype="str"), "constant": constants, "vector": list(vectors)})


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with texts as texts, also where a column is empty."""
    whole = {"size": "int64", "changed": "int64"}
    return frame.astype({name: whole.get(str(name), "str") for name in frame.columns})

"""Files written whole, their hashes, and those of a delivered model: what needs no tables, and so imports little."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class ArtifactError(ValueError):
    """A stage's file that is missing, broken or not of its schema."""


@dataclass(frozen=True)
class Json:
    """A JSON file: an object with at least the keys named, written with sorted keys and no NaN."""

    path: str
    keys: tuple[str, ...]

    def read(self, root: Path) -> dict[str, Any]:
        """Read the object.

        Raises:
            ArtifactError: when it is missing, not JSON, or lacks a key.
        """
        path = present(root / self.path)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ArtifactError(f"{self.path}: not JSON ({error}); delete it and repro") from None
        return self._check(content)

    def write(self, content: dict[str, Any], root: Path) -> None:
        """Write the object atomically.

        Raises:
            ArtifactError: when it lacks a key or holds a NaN or an infinity.
        """
        try:
            text = json.dumps(self._check(content), indent=2, sort_keys=True, allow_nan=False) + "\n"
        except ValueError as error:
            raise ArtifactError(f"{self.path}: {error}") from None
        with replacing(root / self.path) as partial:
            partial.write_text(text, encoding="utf-8")

    def _check(self, content: Any) -> dict[str, Any]:
        missing = [key for key in self.keys if key not in content] if isinstance(content, dict) else self.keys
        if missing:
            raise ArtifactError(f"{self.path}: lacks {', '.join(missing)}")
        return dict(content)


@dataclass(frozen=True)
class File:
    """Any other file that a stage writes: only its place is fixed."""

    path: str

    def existing(self, root: Path) -> Path:
        """Return where it lies.

        Raises:
            ArtifactError: when it is missing.
        """
        return present(root / self.path)

    def remove(self, root: Path) -> None:
        """Take away what an earlier run wrote, if anything."""
        (root / self.path).unlink(missing_ok=True)

    @contextmanager
    def writing(self, root: Path) -> Iterator[Path]:
        """Give a path to write to; the file appears in its place when the block ends well."""
        with replacing(root / self.path) as partial:
            yield partial


def present(path: Path) -> Path:
    """Return `path` if it is there.

    Raises:
        ArtifactError: when it is not, with what to do.
    """
    if not path.exists():
        raise ArtifactError(f"{path}: missing; run `dvc repro` (or `dvc pull`) first")
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`: moved into its place if the block ends well, else removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def all_or_none(root: Path, *paths: str) -> Iterator[None]:
    """Take these files away if the block ends badly: what is left of a stage is whole."""
    try:
        yield
    except BaseException:
        for path in paths:
            (root / path).unlink(missing_ok=True)
        raise


def sha256(*paths: Path) -> str:
    """Return the SHA-256 of files and folders: of names relative to each path given, and of contents."""
    digest = hashlib.sha256()
    for top in paths:
        files = sorted(p for p in present(top).rglob("*") if p.is_file()) if top.is_dir() else [present(top)]
        for file in files:
            digest.update(f"{file.relative_to(top).as_posix()}\0".encode())
            digest.update(bytes.fromhex(file_sha256(file)))
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, as `sha256sum` gives it."""
    with present(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


WEIGHTS = File("models/train/encoder.safetensors")
MODEL = Json("models/train/model.json", ("format", "preprocessing", "encoder", "distance", "weights_sha256"))
CALIBRATION = Json("reports/evaluate/calibration.json", ("distance", "threshold", "probability"))
"""The chosen threshold and calibration, which a delivered model reads; and all others beside them."""
DELIVERED = (MODEL.path, WEIGHTS.path, CALIBRATION.path)
"""What a delivered model consists of; in its folder the files lie side by side."""
EXPORTED = "data/export"
"""Where `export` writes; with the model beside its embeddings it is all that a search needs."""
EXPORTED_MODEL = f"{EXPORTED}/model"
ABOUT_INDEX = "index.json"
"""The file that tells of the index in its folder."""

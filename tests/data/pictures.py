"""Small real files for the tests of this wing."""

import io
import os
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def noise(seed: int, *, height: int = 12, width: int = 10, channels: int = 0) -> NDArray[np.uint8]:
    shape = (height, width, channels) if channels else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(pixels: NDArray[np.generic], kind: str = "PNG", mode: str | None = None, **options: object) -> bytes:
    image = Image.fromarray(pixels)
    buffer = io.BytesIO()
    (image.convert(mode) if mode else image).save(buffer, kind, **options)
    return buffer.getvalue()


def put(file: Path, content: bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def class_folders(root: Path, *, classes: Sequence[str] = ("a", "b", "c"), each: int = 3) -> Path:
    for number, name in enumerate(classes):
        for sample in range(each):
            put(root / name / f"{sample:03d}.png", encoded(noise(1000 * number + sample)))
    return root


def zipped(folder: Path, archive: Path, *, below: str = "") -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name in _names(folder):
            file.write(folder / name, f"{below}{name}")
    return archive


def tarred(folder: Path, archive: Path, *, mode: str = "w", below: str = "") -> Path:
    with tarfile.open(archive, mode) as file:  # type: ignore[call-overload]
        # Backwards, because an archive need not be in the order of its names.
        for name in reversed(_names(folder)):
            file.add(folder / name, f"{below}{name}")
    return archive


def _names(folder: Path) -> list[str]:
    below = (Path(at).relative_to(folder) / name for at, _, names in os.walk(folder) for name in names)
    return sorted(name.as_posix() for name in below)

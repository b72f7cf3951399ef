"""Sources whose images are arrays already: scikit-learn's digits, and MNIST's IDX files."""

import gzip
import importlib.util
import math
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from likewise.data.folders import refuse_link
from likewise.data.raw import Content, Pixels, Raw, Source

IMAGES, LABELS = 0x803, 0x801
"""IDX's magic numbers: unsigned bytes with three axes, and with one."""

MAX_IDX = 1 << 31
"""An IDX file is read whole, so 2 GiB are as much as it may hold."""

IDX_PARTS = {"train": "train", "t10k": "test"}


@dataclass(frozen=True, eq=False)
class ArrayReader:
    """Hands out the images of one array (n, H, W), or of several in turn."""

    images: tuple[Pixels, ...]
    reach: Literal["memory"] = "memory"

    def reading(self) -> AbstractContextManager[Callable[[Raw], Content]]:
        """Return a context that reads any sample."""
        return nullcontext(self._read)

    def _read(self, raw: Raw) -> Pixels:
        if not isinstance(raw.place, int):
            raise ValueError(f"the sample {raw.id!r} is not of an array")
        row = raw.place
        for images in self.images:
            if row < len(images):
                image: Pixels = images[row]
                return image
            row -= len(images)
        raise ValueError(f"the sample {raw.id!r} is not of this source")


def open_digits(path: Path) -> Source:  # noqa: ARG001
    """Return the 1,797 handwritten digits (8x8, 0 to 16, here 0 to 255) that ship inside scikit-learn.

    The file is read without importing scikit-learn; `path` is not used.

    Raises:
        ValueError: scikit-learn is not installed, or has lost the file.
    """
    found = importlib.util.find_spec("sklearn")
    if found is None or found.origin is None:
        raise ValueError("the source 'digits' is a file of scikit-learn, which is not installed: install it")
    file = Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if not file.is_file():
        raise ValueError(f"the source 'digits' needs {file}, which is missing: install scikit-learn again")
    with gzip.open(file, "rt", encoding="ascii") as lines:
        table = np.loadtxt(lines, delimiter=",")
    images = np.rint(table[:, :64] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8)
    return Source(_label(images, table[:, 64].astype(int), part="digits", path=file.name), ArrayReader((images,)))


def open_idx(path: Path) -> Source:
    """Return the samples of MNIST's four IDX files in a folder; their split is carried along as the column `split`.

    The files are `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
    `t10k-labels-idx1-ubyte`, each with `.gz` or without; `.idx3` and `.idx1` instead of the dash will do.

    Raises:
        ValueError: a file is missing, truncated, not IDX, or the counts of images and labels differ.
    """
    if not path.is_dir():
        raise ValueError(f"{path} is not a folder: give the folder that holds MNIST's four IDX files")
    import pyarrow as pa

    raws: list[Raw] = []
    parts: list[Pixels] = []
    splits: list[str] = []
    for prefix, split in IDX_PARTS.items():
        images_file = _find(path, f"{prefix}-images", "idx3-ubyte")
        labels_file = _find(path, f"{prefix}-labels", "idx1-ubyte")
        images, labels = _read_idx(images_file, magic=IMAGES), _read_idx(labels_file, magic=LABELS)
        if len(images) != len(labels):
            raise ValueError(f"{labels_file} has {len(labels)} labels for {len(images)} images: the files do not match")
        raws.extend(_label(images, labels, part=split, path=images_file.name, start=len(raws)))
        parts.append(images)
        splits += [split] * len(images)
    order = sorted(range(len(raws)), key=lambda row: raws[row].id)
    carried = pa.table({"split": [splits[row] for row in order]})
    return Source(tuple(raws[row] for row in order), ArrayReader(tuple(parts)), carried)


def _label(
    images: Pixels,
    labels: np.ndarray[tuple[int, ...], np.dtype[np.integer]],
    *,
    part: str,
    path: str,
    start: int = 0,
) -> tuple[Raw, ...]:
    width = max(5, len(str(len(images) - 1)))
    return tuple(
        Raw(
            id=f"{part}/{row:0{width}d}",
            label=str(label),
            path=f"{path}#{row}",
            place=start + row,
        )
        for row, label in enumerate(labels.tolist())
    )


def _find(folder: Path, name: str, kind: str) -> Path:
    wanted = [f"{name}{dash}{kind}{packed}" for dash in "-." for packed in ("", ".gz")]
    found = next((folder / candidate for candidate in wanted if (folder / candidate).is_file()), None)
    if found is None:
        raise ValueError(f"{folder} has no {wanted[0]} or {wanted[1]}: put MNIST's four IDX files there")
    refuse_link(found, folder)
    return found


def _read_idx(file: Path, *, magic: int) -> Pixels:
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            shape = _shape(stream.read(4 + 4 * (magic & 0xFF)), file, magic=magic)
            expected = math.prod(shape)
            # One byte more shows that a file is too long, whatever it would unpack to.
            content = stream.read(expected + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{file} cannot be read: {error}") from error
    if len(content) != expected:
        state = "truncated" if len(content) < expected else "too long"
        raise ValueError(f"{file} is {state}: its header {shape} says {expected} bytes")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _shape(header: bytes, file: Path, *, magic: int) -> tuple[int, ...]:
    axes = magic & 0xFF
    if len(header) < 4 + 4 * axes or int.from_bytes(header[:4], "big") != magic:
        raise ValueError(f"{file} begins with {header[:4].hex()!r} and not with IDX's magic number {magic:08x}")
    shape = tuple(int.from_bytes(header[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(axes))
    if math.prod(shape) > MAX_IDX:
        raise ValueError(f"{file} says that it holds {math.prod(shape)} bytes {shape}, more than {MAX_IDX}")
    return shape

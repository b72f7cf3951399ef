"""Ingesting a folder of small PNG files, against the bare decode of a pool, and again after more files have come.

The files are 28 x 28 and made from scikit-learn's handwritten digits, enlarged and moved at random: as small as
MNIST's, so that all that is not decoding weighs most.

- Ours: `ingest` on the opened folder, all that it does: reading, hashing, decoding on all cores, finding duplicates,
  the array, the frames; and with the decode cache, which is empty, or knows all but the newest files.
- The bare decode: as many processes read and decode the same files with the same decoder, a few hundred at a time, and
  throw everything away: nothing is hashed, sent, or written.
- Processor seconds: the same two by the work of all processes together, which others on the machine hardly change.
- The stage: `python -m likewise.stages.ingest` as a process, with its imports, its checks and its files.
- Memory: a million files of different content, by how much the resident memory of all processes together rises at most.

    python -m benchmarks.ingest
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from benchmarks import timing
from likewise.config import project_root
from likewise.data.decoded import DecodeCache
from likewise.data.decoding import available_cores
from likewise.data.ingestion import Ingested, ingest
from likewise.data.kinds import build
from likewise.data.raw import Raw, Source
from likewise.data.sources import open_source

SIDE, CLASSES = 28, 10
FILES, NEW, MANY = 60_000, 100, 1_000_000
AT_A_TIME = 256
LIMIT = 10**10
IMAGE = build("image", height=SIDE, width=SIDE, channels=1)


def digits(count: int, *, seed: int) -> list[Image.Image]:
    """Return handwritten digits, each enlarged to 16 to 22 pixels, turned and moved, white on black, 28 x 28."""
    draw = np.random.Generator(np.random.Philox(seed))
    source = open_source("digits", "")
    with source.reader.reading() as read:
        drawn = [Image.fromarray(np.asarray(read(raw))) for raw in source]
    images = []
    for _ in range(count):
        size = int(draw.integers(16, 23))
        digit = drawn[draw.integers(len(drawn))].resize((size, size), Image.Resampling.BICUBIC)
        image = Image.new("L", (SIDE, SIDE))
        x, y = draw.integers(0, SIDE - size + 1, 2).tolist()
        image.paste(digit.rotate(draw.uniform(-15, 15), Image.Resampling.BILINEAR), (x, y))
        images.append(image)
    return images


def write_files(folder: Path, count: int, *, seed: int) -> None:
    """Write PNG files, ten folders of them."""
    for number in range(CLASSES):
        (folder / str(number)).mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(digits(count, seed=seed)):
        image.save(folder / str(number % CLASSES) / f"{seed}-{number:06d}.png")


def ingested(source: Source, out: Path) -> Ingested:
    """Ingest the source into the folder `out`, with the decode cache that is there."""
    with DecodeCache(out / "cache", "key", shape=IMAGE.shape, dtype=IMAGE.dtype, limit=LIMIT) as known:
        return ingest(source, IMAGE, media_path=out / "media.npy", cache=known)


def place(root: Path) -> Path:
    """Return a new folder: what an earlier turn has left would have to go first, which a stage does not see."""
    return Path(tempfile.mkdtemp(dir=root))


def decode_files(names: Sequence[str]) -> int:
    """Read and decode files, and return how many."""
    for name in names:
        with open(name, "rb") as file:  # noqa: PTH123 - what takes least time
            IMAGE.decode(file.read())
    return len(names)


def bare(names: Sequence[str]) -> int:
    """Decode all files on all cores, and throw the pixels away."""
    parts = [names[start : start + AT_A_TIME] for start in range(0, len(names), AT_A_TIME)]
    with ProcessPoolExecutor(available_cores(), mp_context=get_context("fork")) as pool:
        return sum(pool.map(decode_files, parts))


def measure(root: Path, files: int, repeats: int) -> list[dict[str, Any]]:
    """Return the lines about speed."""
    folder = root / "files"
    write_files(folder, files, seed=0)
    source = open_source("folder", folder)
    names = [f"{folder}/{raw.path}" for raw in source]
    peer = "the bare decode of the pool"
    work = f"{files:,} PNG files of {SIDE} x {SIDE}"

    def anew() -> Ingested:
        return ingested(source, place(root))

    def decoded() -> int:
        return bare(names)

    lines = [
        timing.compare(f"{work}, ingested", peer, anew, decoded, repeats=repeats),
        timing.compare(
            f"{work}, ingested, processor seconds", peer, anew, decoded, repeats=repeats, clock=timing.worked
        ),
        timing.compare(f"{work}, the whole stage", peer, stage(root), decoded, repeats=repeats),
    ]
    return [{**line, "items": files} for line in [*lines, again(root, source, repeats)]]


def again(root: Path, old: Source, repeats: int) -> dict[str, Any]:
    """Return the line about a few new files among many that are known."""
    state = place(root)
    ingested(old, state)
    write_files(root / "files", NEW, seed=1)
    source = open_source("folder", root / "files")

    def known() -> None:
        out = place(root)
        shutil.copytree(state / "cache", out / "cache")
        if ingested(source, out).recalled != len(old):
            raise AssertionError("the cache does not know the files that it should")

    def anew() -> Ingested:
        return ingested(source, place(root))

    return timing.compare(f"{len(old):,} known files and {NEW} new ones", "all decoded", known, anew, repeats=repeats)


def stage(root: Path) -> Callable[[], object]:
    """Return a call that runs the stage as a process, in a project of its own."""
    project = root / "project"
    project.mkdir()
    here = project_root(Path(__file__).parent)
    shutil.copy2(here / "dvc.yaml", project)
    text = (here / "params.yaml").read_text(encoding="utf-8")
    for old, new in [("source: digits", "source: folder"), ("path: data/raw", f"path: {root / 'files'}")]:
        text = text.replace(old, new, 1)
    (project / "params.yaml").write_text(text, encoding="utf-8")
    environment = os.environ | {"LIKEWISE_DECODED": str(root / "of-the-stage"), "PYTHONPATH": str(here / "src")}
    command = [sys.executable, "-m", "likewise.stages.ingest"]

    def run() -> None:
        shutil.rmtree(root / "of-the-stage", ignore_errors=True)
        subprocess.run(command, cwd=project, env=environment, check=True, stdout=subprocess.DEVNULL)

    return run


@dataclass(frozen=True)
class Varied:
    """Reads a few images, each time followed by the sample's name, which no decoder looks at but every hash."""

    contents: tuple[bytes, ...]
    reach: Literal["anywhere"] = "anywhere"

    def reading(self) -> AbstractContextManager[Callable[[Raw], bytes]]:
        """Return a context that reads any sample."""
        return nullcontext(self._read)

    def _read(self, raw: Raw) -> bytes:
        name = raw.path.encode()
        return self.contents[sum(name) % len(self.contents)] + name


def many(folder: Path, count: int) -> Ingested:
    """Ingest a source of so many samples, made as a folder's are, with the decode cache."""
    contents = tuple(path.read_bytes() for path in sorted(folder.glob("files/0/*.png"))[:1000])
    labels = [f"class {number:05d}" for number in range(1 + count // 100)]
    named = ((labels[number // 100], f"{labels[number // 100]}/{number:07d}.png") for number in range(count))
    source = Source(tuple(Raw(id=name, label=label, path=name) for label, name in named), Varied(contents))
    with tempfile.TemporaryDirectory(dir=folder) as out:
        return ingested(source, Path(out))


def memory(folder: Path, count: int) -> int:
    """Return by how much memory rises at most while so many samples are ingested; to be called in a new process."""
    many(folder, 1000)
    return timing.family_peak(lambda: many(folder, count))


def main() -> None:
    """Measure, print and write `benchmarks/results/ingest.json`."""
    parser = argparse.ArgumentParser(description="Time ingesting PNG files against the bare decode of a pool.")
    parser.add_argument("--files", type=int, default=FILES)
    parser.add_argument("--many", type=int, default=MANY)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        lines = measure(root, asked.files, asked.repeats)
        fewer = asked.many // 10
        sizes = [timing.fresh(memory, root, count) for count in (asked.many, fewer)]
        about = {"work": f"what {asked.many:,} files take besides the array", "peer_name": f"the same for {fewer:,}"}
        lines.append(about | {"ours_bytes": sizes[0], "peer_bytes": sizes[1]})
    machine = timing.machine("likewise", "numpy", "pandas", "pillow")
    timing.write("ingest", lines, machine=machine, threads=available_cores())


if __name__ == "__main__":
    main()

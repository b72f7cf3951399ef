"""The embed flow's work by two workers against one, on a model that takes nearly all of the time.

A turn is what `flows/embed.py` has its workers do: each a process of its own that starts, loads the model, reads its
share of the PNG files, embeds them on one thread and stages its parts. Listing the files, taking the parts over and the
index are the flow's own, once in either case, and not in the clock. There is no warm-up, for the start is part of it.

The model is an untrained `vit` that takes some 35 ms an image: what its weights are makes no difference to the time.
`start_s` is what a worker takes for two images: Python, PyTorch and the model. `cpu_ratio` is the same figure in
seconds of CPU, of which other work on the machine takes none: twice those of one worker over those of both.

    python -m benchmarks.embed_flow
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import timing
from flows import shards
from likewise.config import wait_passively

SIDE, EMBEDDING = 48, 128
VIT: dict[str, Any] = {"patch": 4, "width": 384, "depth": 8, "heads": 6}
FILES_PER_PART = 256
WORK = f"embedding PNG files by a vit of {SIDE} x {SIDE} pixels, two workers"
ROOT = Path(__file__).resolve().parents[1]


def write_images(folder: Path, count: int) -> None:
    """Write grey PNG files of noise, no two alike."""
    draw = np.random.Generator(np.random.Philox(0))
    folder.mkdir(parents=True)
    for index in range(count):
        pixels = draw.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:06}.png", compress_level=1)


def write_model(folder: Path) -> None:
    """Write the files of a model that was never trained."""
    from safetensors.torch import save_file

    from likewise import artifacts
    from likewise.data import kinds
    from likewise.evaluation.calibration import calibrate
    from likewise.evaluation.thresholds import Threshold
    from likewise.files import Json
    from likewise.learning import encoders

    folder.mkdir(parents=True)
    encoder = encoders.build("vit", (1, SIDE, SIDE), EMBEDDING, mean=[128.0], std=[64.0], **VIT)
    description, weights, calibration = (Path(name).name for name in artifacts.DELIVERED)
    save_file({name: value.contiguous() for name, value in encoder.state_dict().items()}, folder / weights)
    model = {
        "format": 2,
        "preprocessing": kinds.build("image", height=SIDE, width=SIDE, channels=1).describe(),
        "encoder": encoder.describe(),
        "distance": "euclidean",
        "weights_sha256": artifacts.file_sha256(folder / weights),
    }
    Json(description, artifacts.MODEL.keys).write(model, folder)
    scores, same = np.array([-0.9, -0.7, -0.4, -0.1]), np.array([0, 1, 0, 1])
    probability = calibrate(scores, same, distance="euclidean", split="val").to_dict()
    threshold = Threshold(-0.5, "accuracy", "euclidean", "val", None, 0.5, 0.5, 0.5, 2, 2).to_dict()
    judged = {"distance": "euclidean", "threshold": threshold, "probability": probability}
    Json(calibration, artifacts.CALIBRATION.keys).write(judged, folder)


def by(workers: int, root: Path, count: int, cpu: list[float]) -> Callable[[], None]:
    """Return a call that has so many workers embed the images below `root`, each from nothing.

    Args:
        workers: how many.
        root: the folder of the images and the model.
        count: how many images there are.
        cpu: gets the seconds of CPU that a call took.

    Raises:
        RuntimeError: when a worker fails, or not every image was embedded.
    """
    from likewise.delivery import arrivals
    from likewise.delivery.parts import EMBEDDED, Pile

    images, out = root / "images", root / "out"
    order = shards.Order(str(images), str(out), str(root / "model"), files_per_part=FILES_PER_PART)
    orders = [replace(order, number=number, shards=workers) for number in range(workers)]
    found = arrivals.scan(arrivals.open_arrivals(images), arrivals.seen_before(out))

    def turn() -> None:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        arrivals.remember(found, out)
        before = children()
        failed = shards.side_by_side(orders, ROOT, watch=lambda: None)
        cpu.append(children() - before)
        (folder,) = out.glob("model=*")
        embedded = len(Pile(folder, EMBEDDED).hashes(staged=True))
        if failed or embedded != count:
            raise RuntimeError("\n".join([*failed, f"{embedded} of {count} images were embedded"]))

    return turn


def children() -> float:
    """Return the seconds of CPU of all processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure, print and write `benchmarks/results/embed_flow.json`."""
    parser = argparse.ArgumentParser(description="Time two workers of the embed flow against one.")
    parser.add_argument("--images", type=int, default=1536)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    wait_passively()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_model(root / "model")
        write_images(root / "images", 2)
        start = timing.seconds(by(1, root, 2, []))
        shutil.rmtree(root / "images")
        write_images(root / "images", asked.images)
        two: list[float] = []
        one: list[float] = []
        sides = (by(2, root, asked.images, two), by(1, root, asked.images, one))
        line = timing.compare(WORK, "one worker", *sides, repeats=asked.repeats, warmup=0)
    about = timing.machine("likewise", "torch", "pillow")
    lines = [line | {"items": asked.images}]
    ratio = round(2 * statistics.median(one) / statistics.median(two), 3)
    timing.write("embed_flow", lines, machine=about, threads=1, start_s=round(start, 3), cpu_ratio=ratio)


if __name__ == "__main__":
    main()

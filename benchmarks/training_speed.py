"""Training as the product does it, against the bare step on one batch and against a DataLoader of PNG files.

A turn is an epoch: 20,000 images of 28 x 28 in 100 classes, 32 classes x 8 images a batch, the conv encoder, semi-hard
triplets, AdamW, the gradient clipped, everything else as in `params.yaml`. All sides take as many steps.

- Ours: the product's own stages on a folder of PNG files, which `ingest` decodes once, before the clock starts; the
  epoch is timed whole, with its plan of batches, its records, the copy of the weights and a validation on 40 pairs.
- The bare step: a loop by hand over one batch that is already in memory; what no training can beat.
- The peer: a loop by hand over torch's DataLoader, which decodes the same files with Pillow, with
  pytorch-metric-learning's sampler, miner and loss; with no worker and with two.

    python -m benchmarks.training_speed
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from benchmarks import timing
from likewise.config import load_params, project_root, wait_passively

if TYPE_CHECKING:
    from torch import Tensor

    from likewise.learning.encoders import Network
    from likewise.learning.training import Fit
    from likewise.stages.train_params import Params

CLASSES, SIDE, THREADS = 100, 28, 2
HELD_OUT = 120
"""Images of val, and of test: about so many."""

CHANGES: dict[str, dict[str, Any]] = {
    "ingest": {
        "source": "folder",
        "path": "images",
        "image": {"height": SIDE, "width": SIDE, "channels": 1, "crop": None, "min_side": 4},
    },
    "pairs": {"train": 40, "val": 40, "test": 40},
    "train": {
        "feed": "classes",
        "encoder": "conv",
        "loss": "triplet",
        "mining": "semihard",
        "margin": 0.2,
        "optimizer": "adamw",
        "schedule": "constant",
        # More than are taken: each turn takes the next.
        "epochs": 10_000,
        "patience": 0,
        "classes_per_batch": 32,
        "samples_per_class": 8,
        "clip": 1.0,
        "device": "cpu",
        "threads": THREADS,
    },
}
"""What differs from the project's `params.yaml`."""

Epoch = Callable[[], object]
Cost = Callable[["Tensor", "Tensor"], "Tensor"]


def write_images(folder: Path, count: int) -> None:
    """Write grey PNG files, a folder a class: each class's own smooth pattern under heavy noise."""
    draw = np.random.Generator(np.random.Philox(0))
    coarse = draw.normal(size=(CLASSES, 7, 7))
    patterns = 128 + 25 * coarse.repeat(SIDE // 7, axis=1).repeat(SIDE // 7, axis=2)
    for index in range(count):
        pixels = patterns[index % CLASSES] + draw.normal(scale=40, size=(SIDE, SIDE))
        path = folder / f"{index % CLASSES:03}" / f"{index:06}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


def prepare(root: Path, count: int) -> tuple[Fit, Params]:
    """Run the product's stages up to a training that is set up, on the `count` images below `root`."""
    from likewise import runtime
    from likewise.stages import ingest, pairs, train_assembly

    blocks: dict[str, Any] = dict(load_params(project_root(Path(__file__).parent)))
    for stage, changes in CHANGES.items():
        blocks[stage] = type(blocks[stage]).model_validate(blocks[stage].model_dump() | changes)
    held_out = {"by": "sample", "val": HELD_OUT / count, "test": HELD_OUT / count}
    split = blocks["ingest"].split.model_copy(update=held_out)
    ingest.run(blocks["ingest"].model_copy(update={"split": split}), root)
    pairs.run(blocks["pairs"], root)
    runtime.set_up(threads=THREADS)
    return train_assembly.set_up(blocks["train"], root), blocks["train"]


def product(fit: Fit) -> Callable[[], int]:
    """Return a call that trains the product's next epoch and says of how many steps."""
    import torch

    from likewise.learning.training import Step

    records = fit.run()

    def epoch() -> int:
        torch.set_deterministic_debug_mode("error")
        return sum(1 for _ in takewhile(lambda record: isinstance(record, Step), records))

    return epoch


def by_hand(encoder: Network, cost: Cost, batches: Callable[[], Iterator[Any]], params: Params) -> Epoch:
    """Return a call that trains one pass over the batches as few lines as it takes, with PyTorch's own defaults."""
    import torch

    encoder.train()
    parameters = list(encoder.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=params.learning_rate, weight_decay=params.weight_decay)

    def epoch() -> None:
        torch.set_deterministic_debug_mode("default")
        for images, labels in batches():
            value = cost(encoder(images), labels)
            optimizer.zero_grad(set_to_none=True)
            value.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(parameters, params.clip)
            optimizer.step()

    return epoch


class Files:
    """PNG files as a data set of torch's: decoded one by one, (1, height, width) uint8 and the class number."""

    def __init__(self, paths: list[Path], labels: list[int]) -> None:
        self.paths, self.labels = paths, labels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        import torch

        with Image.open(self.paths[index]) as image:
            return torch.from_numpy(np.array(image)[None]), self.labels[index]


def training_files(root: Path) -> Files:
    """Return the files that the product trains on."""
    from likewise import artifacts

    samples = artifacts.SAMPLES.read(root)
    train = samples[samples["split"] == "train"]
    folder = root / CHANGES["ingest"]["path"]
    return Files([folder / path for path in train["path"]], train["class"].astype(int).tolist())


def one_batch(files: Files, classes: int, each: int) -> tuple[Tensor, Tensor]:
    """Return the first `each` images of the first classes as one tensor, and their labels."""
    import torch

    labels = np.array(files.labels)
    rows = np.concatenate([np.flatnonzero(labels == c)[:each] for c in range(classes)])
    return torch.stack([files[row][0] for row in rows]), torch.from_numpy(labels[rows])


def loader(files: Files, params: Params, *, images: int, workers: int) -> Any:
    """Return torch's DataLoader with pytorch-metric-learning's sampler; its workers outlive an epoch."""
    from pytorch_metric_learning.samplers import MPerClassSampler
    from torch.utils.data import DataLoader

    each, size = params.samples_per_class, params.samples_per_class * params.classes_per_batch
    sampler = MPerClassSampler(files.labels, m=each, batch_size=size, length_before_new_iter=images)
    return DataLoader(
        files,  # type: ignore[arg-type]
        batch_size=size,
        sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        drop_last=True,
    )


def peer_cost(margin: float) -> Cost:
    """Return pytorch-metric-learning's semi-hard triplet loss."""
    from pytorch_metric_learning.losses import TripletMarginLoss
    from pytorch_metric_learning.miners import TripletMarginMiner

    loss = TripletMarginLoss(margin=margin)
    miner = TripletMarginMiner(margin=margin, type_of_triplets="semihard")
    return lambda embeddings, labels: loss(embeddings, labels, miner(embeddings, labels))


def measure(root: Path, count: int, repeats: int) -> list[dict[str, Any]]:
    """Return a line against the bare step, and one against each DataLoader."""
    from copy import deepcopy

    fit, params = prepare(root, count)
    files, ours = training_files(root), product(fit)
    batch = one_batch(files, params.classes_per_batch, params.samples_per_class)
    first, loss = deepcopy(fit.encoder), fit.loss
    steps = ours()
    images = steps * len(batch[0])
    work = f"training, conv, {SIDE} x {SIDE}, batch {len(batch[0])}"
    bare = by_hand(deepcopy(first), loss, lambda: iter([batch] * steps), params)
    lines = [timing.compare(work, "the bare step on one batch in memory", ours, bare, repeats=repeats)]
    for workers in (0, 2):
        batches = loader(files, params, images=images, workers=workers)
        peer = by_hand(deepcopy(first), peer_cost(params.margin or 0), lambda b=batches: iter(b), params)  # type: ignore[misc]
        against = f"DataLoader of PNG files, {workers} workers, and pytorch-metric-learning"
        lines.append(timing.compare(work, against, ours, peer, repeats=max(2, repeats - 2)))
    return [{**line, "items": images} for line in lines]


def main() -> None:
    """Measure, print and write `benchmarks/results/training_speed.json`."""
    parser = argparse.ArgumentParser(description="Time training against the bare step and a DataLoader.")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    wait_passively()
    # Made-up images have no place in the user's cache.
    os.environ["LIKEWISE_DECODED"] = "off"
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_images(root / CHANGES["ingest"]["path"], asked.images)
        begin = time.perf_counter()
        lines = measure(root, asked.images, asked.repeats)
    print(f"all turns and the preparation: {time.perf_counter() - begin:.0f} s")
    about = timing.machine("likewise", "torch", "pytorch-metric-learning", "pillow")
    timing.write("training_speed", lines, machine=about, threads=THREADS)


if __name__ == "__main__":
    main()

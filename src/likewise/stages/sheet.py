"""What training sees, for a person to look at: samples as they are stored beside their augmented versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from likewise import artifacts
from likewise.data.batches import Media
from likewise.evaluation.contact_sheet import Row, contact_sheet
from likewise.evaluation.portraits import portrait
from likewise.learning.feeds import Batch
from likewise.stages import train_assembly, train_checks
from likewise.stages.augment_params import Augment
from likewise.stages.train_params import Params

Array = np.ndarray[Any, Any]

RIGHT_ANGLE = 90


def write(params: Params, root: Path, out: Path, *, classes: int, versions: int, seed: int) -> None:
    """Write the contact sheet of a few training samples, a class each, as a PNG file.

    The versions are what `train` makes of the samples: a row of each, turned where `train.rotations` says so, changed
    by `train.augment`. The same seed gives the same sheet.

    Args:
        params: the `train` block.
        root: the project.
        out: where it goes.
        classes: so many classes, drawn by the seed.
        versions: so many of each sample.
        seed: decides what is drawn.

    Raises:
        ValueError: when `out` is no PNG file, there are no samples yet, or the augmentation does not fit them.
    """
    if out.suffix.lower() != ".png":
        raise ValueError(f"{out}: a contact sheet is a PNG file: give a name that ends in .png")
    summary, samples = artifacts.SUMMARY.read(root), artifacts.SAMPLES.read(root)
    chosen = draw(samples[samples["split"] == "train"], classes, seed=seed)
    batch = turned(chosen.index.to_numpy(dtype=np.int64), rotations=params.rotations)
    stored, seen = views(params, root, batch, versions=versions, seed=seed)
    rows = []
    for place, number in enumerate(batch.samples):
        scale = np.concatenate([stored[place], seen[:, place]])
        shown = [stored[place], *seen[:, place : place + 1]]
        name = named(chosen.loc[number], int(batch.quarters[place]) if batch.quarters is not None else 0)
        rows.append(Row(*name, tuple(portrait(summary["kind"], each, scale=scale) for each in shown)))
    sheet = contact_sheet(
        rows,
        title=f"What training sees: {len(chosen)} samples, {versions} versions each",
        notes=[described(params.augment), *remarks(summary["kind"], params), f"Drawn by the seed {seed}."],
        captions=("as stored", "as training may see it"),
    )
    with artifacts.replacing(out) as partial:
        partial.write_bytes(sheet)


def draw(samples: pd.DataFrame, count: int, *, seed: int) -> pd.DataFrame:
    """Return a sample each of so many classes, sorted by class; or samples, where there are no classes.

    Raises:
        ValueError: when there are no samples.
    """
    if not len(samples):
        raise ValueError("there are no training samples to show")
    generator = np.random.default_rng(seed)
    labelled = samples.dropna(subset=["class"])
    if not len(labelled):
        return samples.sample(min(count, len(samples)), random_state=generator).sort_values("id")
    names = np.array(sorted(labelled["class"].unique()), dtype=object)
    picked = generator.choice(names, min(count, len(names)), replace=False)
    return labelled[labelled["class"].isin(picked)].groupby("class").sample(1, random_state=generator)


def turned(samples: Array, *, rotations: int) -> Batch:
    """Return a batch of the samples, each in all its turns."""
    quarters = torch.arange(rotations).repeat(len(samples)) if rotations > 1 else None
    repeated = np.repeat(samples, rotations)
    return Batch(repeated, torch.zeros(len(repeated), dtype=torch.int64), quarters=quarters)


def views(params: Params, root: Path, batch: Batch, *, versions: int, seed: int) -> tuple[list[Array], Array]:
    """Return all rows of each sample as stored, and its versions (versions, samples, ...), as training makes them."""
    array, offsets = artifacts.read_media(root)
    if params.rotations > 1:
        train_checks.refuse_not_square(array.shape[1:], rotations=params.rotations)
    media = Media(array, offsets, device=torch.device("cpu"), resident_bytes=0)
    augment = train_assembly.augmentation(params, root)
    generator = torch.Generator().manual_seed(seed)
    seen = [
        augment(batch.gathered(media, seed=number), generator=generator).numpy()
        for number in np.random.SeedSequence(seed).generate_state(versions).tolist()
    ]
    if batch.quarters is None:
        return [np.asarray(array[slice(*offsets[number : number + 2])]) for number in batch.samples], np.stack(seen)
    # What is turned is an image, of one row.
    return [row[None] for row in batch.gathered(media, seed=0).numpy()], np.stack(seen)


def named(sample: pd.Series[Any], quarters: int) -> tuple[str, str]:
    """Return what stands beside a sample: its class and how it is turned, and its id."""
    label = "no class" if pd.isna(sample["class"]) else str(sample["class"])
    turn = f", turned by {quarters % 4 * RIGHT_ANGLE}°" if quarters % 4 else ""
    turn += ", mirrored" if quarters >= 4 else ""
    return label + turn, str(sample["id"])


def described(augment: Augment) -> str:
    """Say which changes are on, and how strong.

    >>> described(Augment(image=None, audio=None, sequence=None, text=None))
    'train.augment: nothing is on; training sees the samples as they are stored.'
    """
    for kind, block in augment.model_dump().items():
        wanted = {name: strength for name, strength in (block or {}).items() if strength}
        if wanted:
            return f"train.augment.{kind}: {', '.join(f'{name} {strength:g}' for name, strength in wanted.items())}"
    return "train.augment: nothing is on; training sees the samples as they are stored."


def remarks(kind: str, params: Params) -> list[str]:
    """Return what has to be known to read the sheet."""
    said = {
        "audio": "Spectrograms: low bands below, loud parts bright, a row on one scale. Of a long sound four windows "
        "are shown; a version is one of all.",
        "text": "A character that the font lacks stands as its number.",
        "sequence": "Lines: the first two channels, y upwards, or the only one over the points; a row on one scale.",
    }
    turns = ["train.rotations: turned samples are of classes of their own."] if params.rotations > 1 else []
    return [said[kind], *turns] if kind in said else turns

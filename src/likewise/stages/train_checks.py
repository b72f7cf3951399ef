"""What is checked before a training starts: whether the samples are enough for its batches, and can be turned."""

from __future__ import annotations

import pandas as pd

from likewise.stages.train_params import WIDEST, Params

NAMED = 3


def check_classes(params: Params, labels: pd.Series[str]) -> str | None:
    """Return in a line which classes are too small for the feed, or None.

    The feed classes wants `train.samples_per_class` samples of a class, and else shows some of its samples several
    times in a batch. Pairs and triplets want two, for a genuine pair.

    Args:
        params: the `train` block.
        labels: the class of each training sample that has one.

    Raises:
        ValueError: when there are fewer classes than `train.classes_per_batch`, or such classes, and
            `train.small_classes` is "fail".
    """
    sizes = labels.value_counts().sort_index()
    if params.feed == "classes":
        _refuse_few(params, len(sizes))
    least = params.samples_per_class if params.feed == "classes" else 2
    small = sizes[sizes < least].sort_values(kind="stable")
    if params.small_classes == "off" or small.empty:
        return None
    told = _told(small, len(sizes), params)
    if params.small_classes == "fail":
        ways = "lower train.samples_per_class, " if params.feed == "classes" else ""
        raise ValueError(f"{told}; add samples, {ways}raise ingest.min_class, or set train.small_classes: warn")
    return told


def refuse_not_square(shape: tuple[int, ...], *, rotations: int) -> None:
    """Check that samples can be turned by right angles.

    Raises:
        ValueError: they are no images, or not square.
    """
    if len(shape) != 3 or shape[1] != shape[2]:
        sides = " x ".join(map(str, shape[1:] if len(shape) == 3 else shape))
        raise ValueError(f"train.rotations: {rotations} turns square images, and the samples are {sides}: set it to 1")


def refuse_wide(params: Params, features: int) -> None:
    """Check that embeddings of a number for each of the features are not too long, where such are wanted.

    Raises:
        ValueError: they are.
    """
    wide = params.members * features
    if params.whiten and wide > WIDEST:
        raise ValueError(
            f"train.whiten: {params.members} x {features:,} features make embeddings of {wide:,} numbers, and "
            f"{WIDEST:,} are the most: lower train.members or a width in train.encoder_options, or set whiten: 0"
        )


def _refuse_few(params: Params, classes: int) -> None:
    there = classes * params.rotations
    if there < params.classes_per_batch:
        turned = f" in {params.rotations} turns" if params.rotations > 1 else ""
        raise ValueError(
            f"train.classes_per_batch is {params.classes_per_batch}, and there are {classes} training classes{turned}: "
            f"set it to {there} or less"
        )


def _told(small: pd.Series[int], classes: int, params: Params) -> str:
    listed = ", ".join(f"{name} ({size})" for name, size in small.iloc[:NAMED].items())
    more = f" and {len(small) - NAMED:,} more" if len(small) > NAMED else ""
    few = f"{len(small):,} of {classes:,} classes have fewer than"
    if params.feed == "classes":
        wanted = f"the {params.samples_per_class} training samples of train.samples_per_class"
        return f"{few} {wanted}: {listed}{more}: batches show some samples several times"
    return f"{few} two training samples: {listed}{more}: feed {params.feed} has no genuine pair of them"

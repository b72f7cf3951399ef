"""A training put together from the params and the files: encoder, loss, feed, samples, validation."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from likewise import artifacts, distances, runtime
from likewise.data import augmentations
from likewise.data.batches import Media, channel_statistics
from likewise.evaluation.verification import roc_from_trials
from likewise.learning import encoders, feeds, losses, members, training
from likewise.learning.embedding import embed
from likewise.learning.member_losses import MemberLosses
from likewise.learning.memory import CrossBatchMemory
from likewise.learning.processes import Processes
from likewise.stages import train_checks
from likewise.stages.train_params import Params

FEEDS = {"classes": artifacts.CLASSES, "pairs": artifacts.PAIRS["train"], "triplets": artifacts.TRIPLETS}


def set_up(params: Params, root: Path) -> training.Fit:
    """Put together the encoder, the loss, the feed and the samples."""
    samples = artifacts.SAMPLES.read(root)
    array, offsets = artifacts.read_media(root)
    media = Media(array, offsets, device=runtime.device(params.device))
    if params.rotations > 1:
        train_checks.refuse_not_square(array.shape[1:], rotations=params.rotations)
    if params.compile:
        runtime.check_compiler(media.device)
    train = samples[samples["split"] == "train"]
    told = train_checks.check_classes(params, train["class"].dropna())
    if told and Processes.joined().rank == 0:
        print(f"train: {told}", flush=True)
    classes = pd.Index(sorted(train["class"].dropna().unique()))
    table = FEEDS[params.feed].read(root)
    if not len(table):
        raise ValueError(f"train.feed: {params.feed} needs classes, and no sample of train has one: set feed: pairs")
    feed = feeds.build(
        params.feed,
        table,
        pd.Index(samples["id"]),
        classes.get_indexer(pd.Index(samples["class"])),
        batch_size=params.batch_size,
        classes_per_batch=params.classes_per_batch,
        samples_per_class=params.samples_per_class,
        seed=params.seed,
        rotations=params.rotations,
    )
    encoder = new_encoder(params, array, media.rows(train.index.to_numpy())[0]).to(media.device)
    train_checks.refuse_wide(params, encoder.singles()[0].backbone.features)
    given = {name: getattr(params, name) for name in training.Settings.__annotations__}
    given["augment"] = augmentation(params, root)
    return training.Fit(
        encoder,
        new_loss(params, classes=params.rotations * len(classes)).to(media.device),
        feed,
        media,
        validate=validation(params, samples, media, artifacts.PAIRS["val"].read(root)),
        settings=training.Settings(**given),
        processes=Processes.joined(),
    )


def augmentation(params: Params, root: Path) -> augmentations.Augment:
    """Return how the samples of each batch are changed."""
    return augmentations.build(artifacts.SUMMARY.read(root)["preprocessing"], params.augment.model_dump())


def new_encoder(params: Params, array: np.ndarray[Any, Any], rows: np.ndarray[Any, Any]) -> encoders.Network:
    """Return the encoder, or its members, with the first weights, standardising by `rows` of the media."""
    mean, std = channel_statistics(array, rows)
    return members.build(
        params.encoder,
        array.shape[1:],
        params.embedding,
        members=params.members,
        normalise=params.normalise,
        mirror=params.mirror,
        shifts=params.shifts,
        initialiser=params.initialiser,
        mean=mean,
        std=std,
        seed=params.seed,
        **params.encoder_options,
    )


def new_loss(params: Params, *, classes: int) -> losses.Loss:
    """Return the loss, or one a member, which draw what they draw from the seed of the block."""
    each = [one_loss(params, classes=classes, seed=seed) for seed in members.seeds(params.seed, params.members)]
    return each[0] if params.members == 1 else MemberLosses(each)


def one_loss(params: Params, *, classes: int, seed: int) -> losses.Loss:
    """Return the loss of a member, with a memory of its own where there is one."""
    options: dict[str, Any] = {**params.options()}
    if "seed" in inspect.signature(losses.LOSSES[params.loss]).parameters:
        options["seed"] = seed
    loss = losses.build(params.loss, classes=classes, embedding=params.embedding, distance=params.distance, **options)
    return CrossBatchMemory(loss, size=params.memory, embedding=params.embedding) if params.memory else loss


def validation(
    params: Params, samples: pd.DataFrame, media: Media, pairs: pd.DataFrame
) -> Callable[[encoders.Network], float]:
    """Return a function that gives an encoder's EER on the val pairs."""
    distance = distances.build(params.distance)
    ids = pd.Index(samples["id"])
    sides = np.stack([feeds.rows_of(pairs["left"], ids), feeds.rows_of(pairs["right"], ids)])
    asked, where = np.unique(sides, return_inverse=True)
    left, right = where.reshape(sides.shape)
    same = pairs["same"].to_numpy()

    def eer(encoder: encoders.Network) -> float:
        embeddings = embed(encoder, media, asked)
        scores = distance.score(distance.paired(embeddings[left], embeddings[right]))
        return roc_from_trials(scores, same).eer

    return eer

"""train: the Siamese network, resumed where it was cut short."""

from __future__ import annotations

import inspect
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from likewise import artifacts
from likewise.config import run_stage
from likewise.stages.train_params import Params

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from likewise.data.batches import Media
    from likewise.learning.encoders import Encoder
    from likewise.learning.losses import Loss
    from likewise.learning.training import Fit

__all__ = ["Params", "run"]

FEEDS = {"classes": artifacts.CLASSES, "pairs": artifacts.PAIRS["train"], "triplets": artifacts.TRIPLETS}


def run(params: Params, root: Path) -> None:
    """Write the encoder's weights, its description, the history and the train key."""
    from likewise import runtime
    from likewise.delivery.tracking import Tracker
    from likewise.learning.checkpoint import Checkpoints
    from likewise.learning.training import Epoch
    from likewise.stages import progress, resume

    block = params.model_dump()
    key = resume.train_key(block, artifacts.present(root / FEEDS[params.feed].path), root)
    flat = {f"train.{name}": value for name, value in block.items() if name != "augment"}
    flat |= {f"train.augment.{name}": value for name, value in block["augment"].items()}
    store = Checkpoints(resume.checkpoint_url(), key, lock_folder=resume.cache_folder() / "locks")
    runtime.set_up(threads=params.threads, seed=params.seed)
    with store.locked(), Tracker(root, key, params=flat) as tracker:
        fit = set_up(params, root)
        state = store.load(device=runtime.device(params.device))
        if state is not None:
            fit.restore(state)
            print(f"train: goes on after epoch {len(fit.progress.history)}", flush=True)
        with progress.shown(params.epochs) as show:
            for record in fit.run():
                show(record)
                if isinstance(record, Epoch):
                    store.save(fit.state())
                    tracker.log_epochs([asdict(epoch) for epoch in fit.progress.history])
        write(fit, params, root, key=key)
        store.delete()


def set_up(params: Params, root: Path) -> Fit:
    """Put together the encoder, the loss, the feed and the samples."""
    from likewise import runtime
    from likewise.data.augment import Augmentation
    from likewise.data.batches import Media
    from likewise.learning import feeds, training

    samples = artifacts.SAMPLES.read(root)
    array, _ = artifacts.read_media(root)
    media = Media(array, device=runtime.device(params.device))
    train = samples[samples["split"] == "train"]
    classes = pd.Index(sorted(train["class"].dropna().unique()))
    feed = feeds.build(
        params.feed,
        FEEDS[params.feed].read(root),
        pd.Index(samples["id"]),
        classes.get_indexer(pd.Index(samples["class"])),
        batch_size=params.batch_size,
        classes_per_batch=params.classes_per_batch,
        samples_per_class=params.samples_per_class,
        seed=params.seed,
    )
    given = {name: getattr(params, name) for name in training.Settings.__annotations__}
    given["augment"] = Augmentation(**params.augment.model_dump())
    return training.Fit(
        new_encoder(params, array, train.index.to_numpy()).to(media.device),
        new_loss(params, classes=len(classes)).to(media.device),
        feed,
        media,
        validate=validation(params, samples, media, artifacts.PAIRS["val"].read(root)),
        settings=training.Settings(**given),
    )


def new_encoder(params: Params, array: np.ndarray[Any, Any], rows: np.ndarray[Any, Any]) -> Encoder:
    """Return the encoder with its first weights, standardising by the samples `rows`."""
    from likewise.data.batches import channel_statistics
    from likewise.learning import encoders

    mean, std = channel_statistics(array, rows)
    return encoders.build(
        params.encoder,
        array.shape[1:],
        params.embedding,
        normalise=params.normalise,
        initialiser=params.initialiser,
        mean=mean,
        std=std,
        seed=params.seed,
    )


def new_loss(params: Params, *, classes: int) -> Loss:
    """Return the loss, which draws what it draws from the seed of the block."""
    from likewise.learning import losses

    options: dict[str, Any] = {**params.options()}
    if "seed" in inspect.signature(losses.LOSSES[params.loss]).parameters:
        options["seed"] = params.seed
    return losses.build(params.loss, classes=classes, embedding=params.embedding, distance=params.distance, **options)


def validation(
    params: Params, samples: pd.DataFrame, media: Media, pairs: pd.DataFrame
) -> Callable[[nn.Module], float]:
    """Return a function that gives an encoder's EER on the val pairs."""
    from likewise import distances
    from likewise.evaluation.verification import roc_from_trials
    from likewise.learning.embedding import embed
    from likewise.learning.feeds import rows_of

    distance = distances.build(params.distance)
    ids = pd.Index(samples["id"])
    members = np.stack([rows_of(pairs["left"], ids), rows_of(pairs["right"], ids)])
    rows, where = np.unique(members, return_inverse=True)
    left, right = where.reshape(members.shape)
    same = pairs["same"].to_numpy()

    def eer(encoder: nn.Module) -> float:
        embeddings = embed(encoder, media, rows)
        scores = distance.score(distance.paired(embeddings[left], embeddings[right]))
        return roc_from_trials(scores, same).eer

    return eer


def write(fit: Fit, params: Params, root: Path, *, key: str) -> None:
    """Write what was learnt."""
    from safetensors.torch import save_file

    weights = {name: value.contiguous().cpu() for name, value in fit.encoder.state_dict().items()}
    with artifacts.WEIGHTS.writing(root) as path:
        save_file(weights, path)
    model = {
        "format": 1,
        "kind": "image",
        "encoder": fit.encoder.describe(),
        "distance": params.distance,
        "weights_sha256": artifacts.sha256(artifacts.WEIGHTS.existing(root)),
    }
    artifacts.MODEL.write(model, root)
    artifacts.HISTORY.write(pd.DataFrame([asdict(epoch) for epoch in fit.progress.history]), root)
    summary = {
        "train_key": key,
        "params": params.model_dump(),
        "epochs": len(fit.progress.history),
        "best_epoch": fit.progress.best_epoch,
        "best_val_eer": fit.progress.best_val_eer,
    }
    artifacts.TRAIN.write(summary, root)
    print(f"train: kept epoch {fit.progress.best_epoch}: val EER {fit.progress.best_val_eer:.3%}", flush=True)


if __name__ == "__main__":
    run_stage("train", Params, run)

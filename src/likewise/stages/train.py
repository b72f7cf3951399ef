"""train: the Siamese network, resumed where it was cut short."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from likewise import artifacts
from likewise.config import cache_folder, run_stage
from likewise.stages.train_params import Params

if TYPE_CHECKING:
    from likewise.learning.checkpoint import Checkpoints
    from likewise.learning.training import Fit

__all__ = ["Params", "run"]


def run(params: Params, root: Path) -> None:
    """Write the encoder's weights, its description, the history and the train key.

    With several processes this one starts them and waits; the first of them writes, the others only compute.
    """
    from likewise import runtime

    if params.processes > 1 and not runtime.launched():
        runtime.launch("likewise.stages.train", processes=params.processes)
        return
    runtime.set_up(threads=params.threads, seed=params.seed)
    with runtime.process_group(params.device, processes=params.processes):
        from likewise.learning.processes import Processes

        (train if Processes.joined().rank == 0 else take_part)(params, root)


def train(params: Params, root: Path) -> None:
    """Train, or go on where the same training was cut short; keep a checkpoint an epoch."""
    from likewise import runtime
    from likewise.delivery import labels, tracking
    from likewise.delivery.tracker import Tracker
    from likewise.learning.training import Epoch
    from likewise.stages import progress, train_assembly

    key, store = kept(params, root)
    known_by, flat = labels.of_training(root, key), labels.flat(params.model_dump(), "train.")
    with store.locked(), Tracker(root, key, params=flat, labels=known_by) as tracker:
        fit = train_assembly.set_up(params, root)
        state = store.load(device=runtime.device(params.device))
        if state is not None:
            fit.restore(state)
            print(f"train: goes on after epoch {len(fit.progress.history)}", flush=True)
        with progress.shown(params.epochs) as show:
            for record in fit.run():
                show(record)
                if isinstance(record, Epoch):
                    store.save(fit.state())
                    tracker.log_epochs(tracking.records(*course(fit)))
        write(fit, params, root, key=key)
        store.delete()


def take_part(params: Params, root: Path) -> None:
    """Compute this process's share of every batch; the first process writes what comes of it."""
    from likewise import runtime
    from likewise.stages import train_assembly

    fit = train_assembly.set_up(params, root)
    state = kept(params, root)[1].load(device=runtime.device(params.device))
    if state is not None:
        fit.restore(state)
    for _ in fit.run():
        pass


def kept(params: Params, root: Path) -> tuple[str, Checkpoints]:
    """Return the train key, and where the checkpoints of this training lie."""
    from likewise.learning.checkpoint import Checkpoints
    from likewise.stages import resume
    from likewise.stages.train_assembly import FEEDS

    key = resume.train_key(params.model_dump(), artifacts.present(root / FEEDS[params.feed].path), root)
    return key, Checkpoints(resume.checkpoint_url(), key, lock_folder=cache_folder() / "locks")


def course(fit: Fit) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return one row an epoch, and one row a layer and epoch."""
    history = pd.DataFrame([asdict(epoch) for epoch in fit.progress.history])
    return history, pd.DataFrame(fit.progress.layers)


def write(fit: Fit, params: Params, root: Path, *, key: str) -> None:
    """Write what was learnt."""
    from safetensors.torch import save_file

    weights = {name: value.contiguous().cpu() for name, value in fit.encoder.state_dict().items()}
    with artifacts.WEIGHTS.writing(root) as path:
        save_file(weights, path)
    model = {
        "format": 2,
        "preprocessing": artifacts.SUMMARY.read(root)["preprocessing"],
        "encoder": fit.encoder.describe(),
        "distance": params.distance,
        "weights_sha256": artifacts.file_sha256(artifacts.WEIGHTS.existing(root)),
    }
    artifacts.MODEL.write(model, root)
    history, layers = course(fit)
    artifacts.HISTORY.write(history, root)
    artifacts.LAYERS.write(layers, root)
    summary = {
        "train_key": key,
        "params": params.model_dump(),
        "epochs": len(fit.progress.history),
        "best_epoch": fit.progress.best_epoch,
        "best_val_eer": fit.progress.best_val_eer,
    }
    artifacts.TRAIN.write(summary, root)
    fitted = f", its head fitted anew (whiten: {params.whiten})" if params.whiten else ""
    print(f"train: kept epoch {fit.progress.best_epoch}{fitted}: val EER {fit.progress.best_val_eer:.3%}", flush=True)


if __name__ == "__main__":
    run_stage("train", Params, run)

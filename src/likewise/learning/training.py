"""Training of a Siamese network: one encoder for both twins, a loss, a feed; a record a step and an epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from likewise.choices import choose
from likewise.data.augment import Augmentation
from likewise.data.augmentations import Augment
from likewise.data.batches import Media
from likewise.learning import optimisation, parts
from likewise.learning.averaging import Average
from likewise.learning.diagnosis import Diagnosis
from likewise.learning.encoders import Network
from likewise.learning.feeds import Batch, Feed
from likewise.learning.losses import Loss, LossResult, PairTuples, TripletTuples
from likewise.learning.member_losses import weights_apart
from likewise.learning.processes import ALONE, Processes
from likewise.learning.whitening import Spread, head

State = dict[str, Any]
LOOKED_AT = 128
"""Samples of a batch that is looked at after each epoch, about."""


@dataclass(frozen=True)
class Settings:
    """How to train.

    Args:
        epochs: at most this many.
        optimizer: a name in `OPTIMIZERS`.
        learning_rate: the highest of the schedule.
        weight_decay: decay of the weights (decoupled for AdamW).
        schedule: a name in `SCHEDULES`.
        keep: the weights that are kept: `best`, of the epoch with the best val EER, or `last`.
        patience: epochs since the best val EER after which training stops; 0 never stops early.
        clip: greatest norm of the gradient, of each member's by itself; 0 does not clip.
        precision: `fp32`, or `bf16` for autocast of the encoder.
        seed: seed of what is drawn while training.
        augment: how the samples of each batch are changed; as they are by default.
        loss_learning_rate: the highest of the schedule for what the loss learns; none: `learning_rate`.
        warmup: epochs over which the rate rises from nothing, besides the schedule.
        ema: decay of the running average of the weights, which is validated and kept; 0: the weights themselves.
        accumulate: parts that a batch is embedded in, to save memory; the gradient stays that of the whole.
        channels_last: images as (n, height, width, channels) in memory.
        compile: the encoder's passes through PyTorch's compiler.
        whiten: rounds through the samples, changed as in training, by which the head is fitted anew after it; 0: none.
    """

    epochs: int
    optimizer: str
    learning_rate: float
    weight_decay: float
    schedule: str
    keep: str
    patience: int
    clip: float
    precision: str
    seed: int
    augment: Augment = field(default_factory=Augmentation)
    loss_learning_rate: float | None = None
    warmup: float = 0.0
    ema: float = 0.0
    accumulate: int = 1
    channels_last: bool = False
    compile: bool = False
    whiten: int = 0


@dataclass(frozen=True)
class Step:
    """One step that was taken, on so many samples; the tensors are scalars on the device."""

    epoch: int
    step: int
    steps: int
    samples: int
    loss: Tensor
    zero_share: Tensor


@dataclass(frozen=True)
class Epoch:
    """One epoch that was finished: means over its steps, and the EER on val after it.

    `collapsed_loss` is what the loss of a fixed batch would be if its embeddings were all alike.
    """

    epoch: int
    loss: float
    val_eer: float
    zero_loss_share: float
    learning_rate: float
    gradient_norm: float
    collapsed_loss: float


@dataclass
class Progress:
    """What has been reached: everything but the weights that a checkpoint needs."""

    history: list[Epoch] = field(default_factory=list)
    layers: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_val_eer: float = math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)


class TrainingError(ValueError):
    """Training that cannot go on, with what to try."""


class Fit:
    """A training that can be stopped after any epoch and taken up again with the same result, bit for bit.

    Args:
        encoder: the network, on its device; it may be several members.
        loss: the loss, on the same device, for members one of each; its own parameters are trained too.
        feed: the batches of each epoch.
        media: the samples.
        validate: gives the val EER of the encoder as it will be delivered.
        settings: how to train.
        processes: who trains; each of several is given the same of all the above.

    Raises:
        ValueError: when the optimizer or the schedule is unknown, or the decay of the average out of range.
    """

    def __init__(
        self,
        encoder: Network,
        loss: Loss,
        feed: Feed,
        media: Media,
        *,
        validate: Callable[[Network], float],
        settings: Settings,
        processes: Processes = ALONE,
    ) -> None:
        self.encoder, self.loss = encoder, loss
        self.progress = Progress()
        self._feed, self._media, self._validate, self._settings = feed, media, validate, settings
        self._processes = processes
        if settings.channels_last:
            encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._encode = torch.compile(encoder) if settings.compile else encoder
        self._parameters = [*encoder.parameters(), *loss.parameters()]
        self._clipped = weights_apart(encoder, loss)
        self._factor = choose("schedule", settings.schedule, optimisation.SCHEDULES)
        self._optimizer = optimisation.build(
            settings.optimizer,
            encoder,
            loss,
            learning_rate=settings.learning_rate,
            loss_learning_rate=settings.loss_learning_rate,
            weight_decay=settings.weight_decay,
        )
        self._average = Average(self._parameters, decay=settings.ema) if settings.ema else None
        self._diagnosis: Diagnosis | None = None

    @property
    def finished(self) -> bool:
        """Whether every epoch is done, or the best val EER is `patience` epochs old."""
        done, patience = len(self.progress.history), self._settings.patience
        return done >= self._settings.epochs or (patience > 0 and done - self.progress.best_epoch >= patience)

    def run(self) -> Iterator[Step | Epoch]:
        """Train to the end from wherever this is: yields each step, and each epoch after its steps.

        Raises:
            TrainingError: when the loss is no longer finite.
        """
        if not (self.finished or self.progress.layers):
            self._look(0)
        while not self.finished:
            yield from self._epoch(len(self.progress.history) + 1)
        self._weights().load_state_dict(self.progress.best_weights)
        self._rescale()
        if self._settings.whiten:
            self._whiten()

    def state(self) -> State:
        """Return all that `restore` needs: plain types and tensors only."""
        progress = self.progress
        return {
            "weights": self._weights().state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "average": self._average.state() if self._average else None,
            "history": [asdict(epoch) for epoch in progress.history],
            "layers": progress.layers,
            "best_epoch": progress.best_epoch,
            "best_val_eer": progress.best_val_eer,
            "best_weights": progress.best_weights,
        }

    def restore(self, state: State) -> None:
        """Take up a training where `state` was taken."""
        self._weights().load_state_dict(state["weights"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._average:
            self._average.restore(state["average"])
        self.progress = Progress(
            history=[Epoch(**epoch) for epoch in state["history"]],
            layers=list(state["layers"]),
            best_epoch=state["best_epoch"],
            best_val_eer=state["best_val_eer"],
            best_weights=state["best_weights"],
        )

    def _weights(self) -> nn.ModuleDict:
        return nn.ModuleDict({"encoder": self.encoder, "loss": self.loss})

    def _epoch(self, number: int) -> Iterator[Step | Epoch]:
        # Dropout draws from the global generator: seeded anew each epoch, so that a resumed run draws the same.
        torch.manual_seed(self._seed(number, 0, self._processes.rank))
        self.encoder.train()
        self.loss.train()
        steps, batches = self._feed.epoch(number)
        totals = torch.zeros(3, dtype=torch.float64)
        rate = 0.0
        for step, batch in enumerate(batches, start=1):
            rate = self._set_rate(number - 1 + (step - 1) / steps, per_step=1 / steps)
            result, norm = self._step(batch, number, step)
            _check_finite(result.loss, epoch=number, step=step)
            totals += torch.stack([result.loss.detach(), result.zero_share, norm]).double().cpu()
            yield Step(number, step, steps, len(batch.samples), result.loss.detach(), result.zero_share)
        loss, zero_share, norm_mean = (totals / steps).tolist()
        collapsed_loss = self._look(number)
        with self._average.in_place() if self._average else nullcontext():
            self._keep(Epoch(number, loss, self._val_eer(), zero_share, rate, norm_mean, collapsed_loss))
        yield self.progress.history[-1]

    def _step(self, batch: Batch, epoch: int, step: int) -> tuple[LossResult, Tensor]:
        device, count = self._media.device, len(batch.samples)
        share = self._processes.share(count)
        samples = self._seen(batch, epoch, step, rank=self._processes.rank, part=share)
        own, send_back = parts.embed(self._embed, samples, parts=self._settings.accumulate)
        embeddings = self._processes.gather(own, count).requires_grad_()
        self._optimizer.zero_grad(set_to_none=True)
        result = self.loss.measure(embeddings, batch.labels.to(device), _moved(batch.tuples, device))
        result.loss.backward()  # type: ignore[no-untyped-call]
        if embeddings.grad is not None:
            send_back(embeddings.grad[share])
        self._processes.add_gradients(self.encoder.parameters())
        norm = self._clip()
        self._optimizer.step()
        if self._average:
            self._average.update()
        return result, norm.detach()

    def _seen(self, batch: Batch, epoch: int, step: int, *, rank: int = 0, part: slice = slice(None)) -> Tensor:
        generator = torch.Generator().manual_seed(self._seed(epoch, step, rank))
        samples = batch.gathered(self._media, seed=self._seed(epoch, step), part=part)
        return self._settings.augment(samples, generator=generator)

    @torch.no_grad()
    def _whiten(self) -> None:
        """Fit the heads anew, on batches of epochs after the last, alike in all processes; judge the whole again."""
        self.encoder.eval()
        singles, device = self.encoder.singles(), self._media.device
        spreads = [Spread(encoder.backbone.features, device=device) for encoder in singles]
        for epoch in range(self._settings.epochs + 1, self._settings.epochs + self._settings.whiten + 1):
            for step, batch in enumerate(self._feed.epoch(epoch)[1], start=1):
                samples = self._seen(batch, epoch, step)
                for encoder, spread in zip(singles, spreads, strict=True):
                    spread.add(encoder.features(samples), batch.labels.to(device))
        self.encoder.refit([head(spread) for spread in spreads])
        self.progress.best_val_eer = self._val_eer()

    def _clip(self) -> Tensor:
        """Clip each member's gradient by itself, so that none slows another; return the norm of all before that."""
        most = self._settings.clip or math.inf
        norms = [nn.utils.clip_grad_norm_(weights, most) for weights in self._clipped]
        found: Tensor = torch.linalg.vector_norm(torch.stack(norms))
        return found

    def _embed(self, samples: Tensor) -> Tensor:
        if self._settings.channels_last and samples.ndim == 4:
            samples = samples.contiguous(memory_format=torch.channels_last)
        with torch.autocast(samples.device.type, torch.bfloat16, enabled=self._settings.precision == "bf16"):
            embeddings: Tensor = self._encode(samples)
        return embeddings.float()

    def _set_rate(self, done: float, *, per_step: float) -> float:
        factor = self._factor(done / self._settings.epochs)
        return optimisation.set_rate(
            self._optimizer, factor * optimisation.warm(done + per_step, self._settings.warmup)
        )

    def _look(self, epoch: int) -> float:
        """Note what each layer does to the first batch of the first epoch; return the loss that collapse would have."""
        if self._diagnosis is None:
            batch, device = next(self._feed.epoch(1)[1]), self._media.device
            tuples = _moved(batch.tuples, device)
            # Given tuples may name any row; of a batch that is mined, a few classes tell enough.
            part = slice(LOOKED_AT) if tuples is None else slice(None)
            samples = batch.gathered(self._media, seed=self._seed(1, 1), part=part)
            self._diagnosis = Diagnosis(samples, batch.labels[part].to(device), tuples)
        seen = self._diagnosis.look(self.encoder, self.loss, epoch=epoch)
        self.progress.layers.extend(seen.layers)
        return seen.collapsed_loss

    def _val_eer(self) -> float:
        eer = math.nan
        if self._processes.rank == 0:
            with self._rescaled():
                eer = self._validate(self.encoder)
        return self._processes.agreed(eer, self._media.device)

    @contextmanager
    def _rescaled(self) -> Iterator[None]:
        """Let the encoder have for a while the weights that the loss has learnt so far."""
        before = self.encoder.scale.clone()
        self._rescale()
        try:
            yield
        finally:
            self.encoder.scale.copy_(before)

    @torch.no_grad()
    def _rescale(self) -> None:
        self.encoder.rescale(self.loss.project(torch.ones_like(self.encoder.scale)[None])[0])

    def _keep(self, epoch: Epoch) -> None:
        progress = self.progress
        progress.history.append(epoch)
        # On a tie the later epoch wins: its learning rate is lower and its margins are wider.
        if self._settings.keep == "last" or epoch.val_eer <= progress.best_val_eer:
            progress.best_epoch, progress.best_val_eer = epoch.epoch, epoch.val_eer
            progress.best_weights = {k: v.detach().clone() for k, v in self._weights().state_dict().items()}

    def _seed(self, *key: int) -> int:
        """Return the seed of what is drawn in one step, by all processes or one, the same when it is taken up again."""
        return int(np.random.SeedSequence(self._settings.seed, spawn_key=key).generate_state(1)[0])


def _moved(tuples: PairTuples | TripletTuples | None, device: torch.device) -> PairTuples | TripletTuples | None:
    return None if tuples is None else tuples.to(device)


def _check_finite(loss: Tensor, *, epoch: int, step: int) -> None:
    if not torch.isfinite(loss):
        raise TrainingError(
            f"the loss is {loss.item()} at epoch {epoch}, step {step}; try a lower train.learning_rate, "
            "train.clip: 1.0, train.normalise: true, or train.precision: fp32"
        )

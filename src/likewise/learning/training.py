"""Training of a Siamese network: one encoder for both twins, a loss, a feed; a record a step and an epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from likewise.choices import choose
from likewise.data.augment import Augmentation
from likewise.data.batches import Media
from likewise.learning.encoders import Encoder
from likewise.learning.feeds import Batch, Feed
from likewise.learning.losses import Loss, LossResult

State = dict[str, Any]
CHECK_EVERY = 20
"""Steps between two looks at whether the loss is still finite; each look waits for the device."""


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
        clip: greatest norm of the gradient; 0 does not clip.
        precision: `fp32`, or `bf16` for autocast of the encoder.
        seed: seed of what is drawn while training.
        augment: how the samples of each batch are changed; as they are by default.
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
    augment: Augmentation = field(default_factory=Augmentation)


@dataclass(frozen=True)
class Step:
    """One step that was taken; the tensors are scalars on the device."""

    epoch: int
    step: int
    steps: int
    loss: Tensor
    zero_share: Tensor


@dataclass(frozen=True)
class Epoch:
    """One epoch that was finished: means over its steps, and the EER on val after it."""

    epoch: int
    loss: float
    val_eer: float
    zero_loss_share: float
    learning_rate: float
    gradient_norm: float


@dataclass
class Progress:
    """What has been reached: everything but the weights that a checkpoint needs."""

    history: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0
    best_val_eer: float = math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)


class TrainingError(ValueError):
    """Training that cannot go on, with what to try."""


class Fit:
    """A training that can be stopped after any epoch and taken up again with the same result, bit for bit.

    Args:
        encoder: the network, on its device.
        loss: the loss, on the same device; its own parameters are trained too.
        feed: the batches of each epoch.
        media: the samples.
        validate: gives the val EER of the encoder as it stands.
        settings: how to train.

    Raises:
        ValueError: when the optimizer or the schedule is unknown.
    """

    def __init__(
        self,
        encoder: Encoder,
        loss: Loss,
        feed: Feed,
        media: Media,
        *,
        validate: Callable[[nn.Module], float],
        settings: Settings,
    ) -> None:
        self.encoder, self.loss = encoder, loss
        self.progress = Progress()
        self._feed, self._media, self._validate, self._settings = feed, media, validate, settings
        self._parameters = [*encoder.parameters(), *loss.parameters()]
        self._factor = choose("schedule", settings.schedule, SCHEDULES)
        self._optimizer = choose("optimizer", settings.optimizer, OPTIMIZERS)(
            self._parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay
        )

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
        while not self.finished:
            yield from self._epoch(len(self.progress.history) + 1)
        self._weights().load_state_dict(self.progress.best_weights)
        with torch.no_grad():
            self.encoder.rescale(self.loss.project(torch.ones_like(self.encoder.scale)[None])[0])

    def state(self) -> State:
        """Return all that `restore` needs: plain types and tensors only."""
        progress = self.progress
        return {
            "weights": self._weights().state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "history": [asdict(epoch) for epoch in progress.history],
            "best_epoch": progress.best_epoch,
            "best_val_eer": progress.best_val_eer,
            "best_weights": progress.best_weights,
        }

    def restore(self, state: State) -> None:
        """Take up a training where `state` was taken."""
        self._weights().load_state_dict(state["weights"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.progress = Progress(
            history=[Epoch(**epoch) for epoch in state["history"]],
            best_epoch=state["best_epoch"],
            best_val_eer=state["best_val_eer"],
            best_weights=state["best_weights"],
        )

    def _weights(self) -> nn.ModuleDict:
        return nn.ModuleDict({"encoder": self.encoder, "loss": self.loss})

    def _epoch(self, number: int) -> Iterator[Step | Epoch]:
        # Dropout draws from the global generator: seeded anew each epoch, so that a resumed run draws the same.
        torch.manual_seed(self._settings.seed * 1_000_003 + number)
        self.encoder.train()
        self.loss.train()
        steps, batches = self._feed.epoch(number)
        totals = torch.zeros(3, dtype=torch.float64)
        rate = 0.0
        for step, batch in enumerate(batches, start=1):
            rate = self._set_rate((number - 1 + (step - 1) / steps) / self._settings.epochs)
            result, norm = self._step(batch, _generator(self._settings.seed, number, step))
            if step % CHECK_EVERY == 0 or step == steps:
                _check_finite(result.loss, epoch=number, step=step)
            totals += torch.stack([result.loss.detach(), result.zero_share, norm]).double().cpu()
            yield Step(number, step, steps, result.loss.detach(), result.zero_share)
        eer = self._validate(_Projected(self.encoder, self.loss))
        loss, zero_share, norm_mean = (totals / steps).tolist()
        epoch = Epoch(number, loss, eer, zero_share, rate, norm_mean)
        self._keep(epoch)
        yield epoch

    def _step(self, batch: Batch, generator: torch.Generator) -> tuple[LossResult, Tensor]:
        device = self._media.device
        samples = self._settings.augment(self._media.gather(batch.rows), generator=generator)
        with torch.autocast(device.type, torch.bfloat16, enabled=self._settings.precision == "bf16"):
            embeddings = self.encoder(samples)
        tuples = batch.tuples.to(device) if batch.tuples else None
        result = self.loss.measure(embeddings.float(), batch.labels.to(device), tuples)
        self._optimizer.zero_grad(set_to_none=True)
        result.loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self._parameters, self._settings.clip or math.inf)
        self._optimizer.step()
        return result, norm.detach()

    def _set_rate(self, done: float) -> float:
        rate = self._settings.learning_rate * self._factor(done)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _keep(self, epoch: Epoch) -> None:
        progress = self.progress
        progress.history.append(epoch)
        # On a tie the later epoch wins: its learning rate is lower and its margins are wider.
        if self._settings.keep == "last" or epoch.val_eer <= progress.best_val_eer:
            progress.best_epoch, progress.best_val_eer = epoch.epoch, epoch.val_eer
            progress.best_weights = {k: v.detach().clone() for k, v in self._weights().state_dict().items()}


class _Projected(nn.Module):
    """The encoder as it will be delivered, with the weights that the loss has learnt so far."""

    def __init__(self, encoder: Encoder, loss: Loss) -> None:
        super().__init__()
        self.encoder, self.loss = encoder, loss

    def forward(self, samples: Tensor) -> Tensor:
        return self.loss.project(self.encoder(samples))


def _generator(seed: int, epoch: int, step: int) -> torch.Generator:
    """Return a CPU generator for one step, so that a resumed training draws what it would have drawn."""
    state = np.random.SeedSequence(seed, spawn_key=(epoch, step)).generate_state(1)
    return torch.Generator().manual_seed(int(state[0]))


def _check_finite(loss: Tensor, *, epoch: int, step: int) -> None:
    if not torch.isfinite(loss):
        raise TrainingError(
            f"the loss is {loss.item()} at epoch {epoch}, step {step}; try a lower train.learning_rate, "
            "train.clip: 1.0, train.normalise: true, or train.precision: fp32"
        )


def constant(done: float) -> float:  # noqa: ARG001 - all schedules are called alike
    """Return 1: the learning rate stays as it is, whatever share of the training is done."""
    return 1.0


def cosine(done: float) -> float:
    """Return the factor of the cosine schedule when the share `done` of the training is done.

    `(1 + cos(pi done)) / 2` (Loshchilov and Hutter 2017, without restarts).

    Example:
        >>> [round(cosine(done), 3) for done in (0.0, 0.5, 1.0)]
        [1.0, 0.5, 0.0]
    """
    return (1 + math.cos(math.pi * done)) / 2


def one_cycle(done: float) -> float:
    """Return the factor of the one-cycle schedule when the share `done` of the training is done.

    From 1/25 up to 1 over the first three tenths, down to nothing over the rest, both along a cosine
    (Smith and Topin 2018).

    Example:
        >>> [round(one_cycle(done), 3) for done in (0.0, 0.3, 0.65, 1.0)]
        [0.04, 1.0, 0.5, 0.0]
    """
    rise = 0.3
    if done < rise:
        return 1 - (1 - 1 / 25) * cosine(done / rise)
    return cosine((done - rise) / (1 - rise))


def _sgd(parameters: list[nn.Parameter], *, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=lr, weight_decay=weight_decay, momentum=0.9, nesterov=True)


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": constant,
    "cosine": cosine,
    "one_cycle": one_cycle,
}

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "sgd": _sgd,
    "rmsprop": torch.optim.RMSprop,
}

"""Training on changed samples; the rest of `learning/training.py` is tested in `test_training.py`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from likewise.data.augment import Augmentation
from likewise.learning import encoders, losses
from likewise.learning.feeds import ClassFeed
from likewise.learning.training import Epoch, Fit
from tests.learning.test_training import CLASSES, LABELS, MEDIA, eer, epochs, make, same_weights, settings, stored

HEAVY = Augmentation(flip=0.5, shift=0.2, rotation=20, elastic=0.05, brightness=0.2, blur=1, erase=0.3)


class Spy(Augmentation):
    """Changes nothing, and remembers the generator's seed and the batches."""

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "seen", [])

    def __call__(self, batch: Tensor, *, generator: torch.Generator) -> Tensor:
        self.__dict__["seen"].append((generator.initial_seed(), generator.device.type, batch.dtype, len(batch)))
        return batch


def cut_short(fit: Fit, *, after: int) -> None:
    for record in fit.run():
        if isinstance(record, Epoch) and record.epoch == after:
            return


@pytest.mark.parametrize("after", [1, 2])
def test_cut_short_it_draws_what_it_would_have_drawn(after: int) -> None:
    whole, first, second = (make(epochs=4, augment=HEAVY) for _ in range(3))
    history = epochs(whole)
    cut_short(first, after=after)
    second.restore(stored(first.state()))
    assert epochs(second) == history[after:]
    assert same_weights(whole.encoder, second.encoder)


def test_what_is_drawn_decides_the_weights() -> None:
    plain, off, heavy = make(), make(augment=Augmentation()), make(augment=HEAVY)
    for fit in (plain, off, heavy):
        epochs(fit)
    assert same_weights(plain.encoder, off.encoder)
    assert not same_weights(plain.encoder, heavy.encoder)


def test_each_step_has_numbers_of_its_own_from_the_cpu() -> None:
    seeds = []
    for seed in (0, 1, 0):
        spy = Spy()
        epochs(make(epochs=3, seed=seed, augment=spy))
        seen = spy.__dict__["seen"]
        assert {each[1:] for each in seen} == {("cpu", torch.uint8, seen[0][3])}
        seeds.append([each[0] for each in seen])
    assert len(seeds[0]) == 9
    assert len(set(seeds[0] + seeds[1])) == 18
    assert seeds[0] == seeds[2]


def turning(**changes: Any) -> Fit:
    feed = ClassFeed(np.arange(len(LABELS)), LABELS, classes_per_batch=6, samples_per_class=2, seed=0, rotations=4)
    network = encoders.build("mlp", MEDIA.shape, 8, width=16)
    loss = losses.build("arcface", classes=4 * CLASSES, embedding=8)
    return Fit(network, loss, feed, MEDIA, validate=lambda _: 0.5, settings=settings(**changes))


def test_samples_come_turned_as_their_class_says() -> None:
    taken: list[Tensor] = []
    spy, fit = Spy(), turning(epochs=1)
    fit.encoder.register_forward_pre_hook(lambda _, inputs: taken.append(inputs[0]))
    epochs(fit)
    epochs(turning(epochs=1, augment=spy))
    feed = ClassFeed(np.arange(len(LABELS)), LABELS, classes_per_batch=6, samples_per_class=2, seed=0, rotations=4)
    plan = list(feed.epoch(1)[1])
    media = MEDIA.gather(np.arange(len(LABELS))).numpy()
    # Looked at before and after: the first batch.
    for batch, samples in zip([plan[0], *plan, plan[0]], taken, strict=True):
        for row, label, sample in zip(batch.samples, batch.labels.tolist(), samples.numpy(), strict=True):
            assert label // 4 == LABELS[row]
            np.testing.assert_array_equal(sample, np.rot90(media[row], label % 4, axes=(1, 2)))
    # The augmentation is given them as bytes.
    assert {each[2] for each in spy.__dict__["seen"]} == {torch.uint8}


def test_turned_classes_are_trained_alike_where_it_was_cut_short() -> None:
    whole, first, second = (turning(epochs=3, augment=HEAVY) for _ in range(3))
    history = epochs(whole)
    cut_short(first, after=1)
    second.restore(stored(first.state()))
    assert epochs(second) == history[1:]
    assert same_weights(whole.encoder, second.encoder)


def test_val_is_judged_on_the_samples_as_they_are() -> None:
    fit = make(epochs=1, augment=HEAVY)
    (last,) = epochs(fit)
    assert last.val_eer == eer(fit.loss.distance)(fit.encoder)


def test_autocast_leaves_the_changes_alone() -> None:
    taken: list[Tensor] = []
    for precision in ("fp32", "bf16"):
        fit = make(epochs=1, augment=HEAVY, precision=precision)
        fit.encoder.register_forward_pre_hook(lambda _, inputs: taken.append(inputs[0]))
        next(iter(fit.run()))
        # The look before the first step sees the samples as they are.
        assert taken.pop(-2).dtype == torch.uint8
    assert taken[0].dtype == torch.float32
    assert torch.equal(taken[0], taken[1])
    assert taken[0].shape[1:] == MEDIA.shape

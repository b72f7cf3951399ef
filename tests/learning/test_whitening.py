from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from likewise import distances
from likewise.learning import encoders, losses, members, whitening
from likewise.learning.encoders import Network
from likewise.learning.feeds import ClassFeed
from likewise.learning.losses import Loss
from likewise.learning.member_losses import MemberLosses
from likewise.learning.training import Fit
from likewise.learning.whitening import Spread
from tests.learning.test_training import CLASSES, CPU, LABELS, MEDIA, settings

WIDE = 5


def drawn(*, seed: int = 0, count: int = 40) -> tuple[Tensor, Tensor]:
    """Features whose classes differ in one direction and spread in another."""
    draw = np.random.default_rng(seed)
    labels = np.tile(np.arange(4), count // 4)
    turn = np.linalg.qr(draw.normal(size=(WIDE, WIDE)))[0]
    spread = draw.normal(size=(count, WIDE)) * [5.0, 1.0, 0.5, 0.3, 0.1]
    values = (spread + draw.normal(size=(4, WIDE))[labels]) @ turn + 3.0
    return torch.from_numpy(values).float(), torch.from_numpy(labels)


def by_hand(values: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    total = np.zeros((values.shape[1], values.shape[1]))
    for name in set(labels.tolist()):
        own = values[labels == name]
        for value in own:
            total += np.outer(value - own.mean(axis=0), value - own.mean(axis=0))
    return total / len(values)


@pytest.mark.parametrize("parts", [1, 3, 40])
def test_the_spread_is_that_of_all_samples_whatever_the_batches(parts: int) -> None:
    values, labels = drawn()
    spread = Spread(WIDE, device=CPU)
    for value, label in zip(values.tensor_split(parts), labels.tensor_split(parts), strict=True):
        spread.add(value, label)
    np.testing.assert_allclose(spread.within(), by_hand(values.double().numpy(), labels.numpy()), atol=1e-9)
    np.testing.assert_allclose(spread.mean(), values.double().mean(dim=0), rtol=1e-9)


def test_numbers_of_classes_that_are_not_there_and_long_features_do_not_matter() -> None:
    values, labels = drawn()
    far = Spread(WIDE, device=CPU)
    far.add(values + 1000, labels * 7 + 2)
    np.testing.assert_allclose(far.within(), by_hand(values.double().numpy(), labels.numpy()), rtol=1e-3, atol=1e-3)


def test_distances_are_in_units_of_the_spread() -> None:
    values, labels = drawn()
    spread = Spread(WIDE, device=CPU)
    spread.add(values, labels)
    within = by_hand(values.double().numpy(), labels.numpy())
    level = whitening.SHRINKAGE * np.trace(within) / WIDE
    inverse = np.linalg.inv(within + level * np.eye(WIDE))
    wide = values.double().numpy()
    wanted = [[(x - y) @ inverse @ (x - y) for y in wide[:6]] for x in wide[:6]]
    with torch.no_grad():
        found = whitening.head(spread)(values)
    np.testing.assert_allclose(distances.build("squared_euclidean").pairwise(found[:6]), wanted, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found.mean(dim=0), np.zeros(WIDE), atol=1e-5)


def test_hardly_shrunk_the_spread_is_alike_in_all_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whitening, "SHRINKAGE", 1e-9)
    values, labels = drawn()
    spread = Spread(WIDE, device=CPU)
    spread.add(values, labels)
    with torch.no_grad():
        found = whitening.head(spread)(values)
    np.testing.assert_allclose(by_hand(found.double().numpy(), labels.numpy()), np.eye(WIDE), atol=1e-4)


@pytest.mark.parametrize("values", [torch.ones(4, 2), torch.full((4, 2), torch.nan)])
def test_features_without_spread_are_refused(values: Tensor) -> None:
    spread = Spread(2, device=CPU)
    spread.add(values, torch.tensor([0, 0, 1, 1]))
    with pytest.raises(ValueError, match="the features of each class are all alike, or not finite"):
        whitening.head(spread)


def fit(*, count: int = 1, whiten: int = 2, **changes: Any) -> Fit:
    network = members.build("mlp", MEDIA.shape, 8, members=count, width=16)
    each: list[Loss] = [losses.build("arcface", classes=CLASSES, embedding=8, seed=seed) for seed in range(count)]
    loss = each[0] if count == 1 else MemberLosses(each)
    feed = ClassFeed(np.arange(len(LABELS)), LABELS, classes_per_batch=CLASSES, samples_per_class=4, seed=0)
    changed = settings(whiten=whiten, keep="last", **changes)
    return Fit(network, loss, feed, MEDIA, validate=lambda network: 1 / network.embedding, settings=changed)


def done(fit: Fit) -> Network:
    list(fit.run())
    return fit.encoder.eval()


@pytest.mark.parametrize("count", [1, 2])
def test_after_training_each_head_is_fitted_to_the_features_and_the_whole_is_judged_again(count: int) -> None:
    learnt, training = done(fit(count=count, whiten=0)), fit(count=count)
    found = done(training)
    assert (learnt.embedding, found.embedding) == (8 * count, 16 * count)
    assert training.progress.history[-1].val_eer == 1 / (8 * count)
    assert training.progress.best_val_eer == 1 / (16 * count)
    feed = ClassFeed(np.arange(len(LABELS)), LABELS, classes_per_batch=CLASSES, samples_per_class=4, seed=0)
    batches = [batch for epoch in (4, 5) for batch in feed.epoch(epoch)[1]]
    rows, labels = np.concatenate([batch.samples for batch in batches]), torch.cat([batch.labels for batch in batches])
    for before, after in zip(learnt.singles(), found.singles(), strict=True):
        with torch.no_grad():
            features = before.features(MEDIA.gather(rows))
        spread = Spread(16, device=CPU)
        spread.add(features, labels)
        wanted = whitening.head(spread)
        torch.testing.assert_close(after.head.weight, wanted.weight, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(after.head.bias, wanted.bias, rtol=1e-3, atol=1e-4)
        with torch.no_grad():
            embedding = nn.functional.normalize(wanted(features))
        torch.testing.assert_close(after(MEDIA.gather(rows)), embedding, rtol=1e-3, atol=1e-4)
    assert found(MEDIA.gather(rows)).norm(dim=1).tolist() == pytest.approx([1.0] * len(rows), abs=1e-5)


@pytest.mark.parametrize("count", [1, 2])
def test_a_fitted_head_travels_in_the_description_and_the_weights(count: int) -> None:
    found = done(fit(count=count, epochs=1))
    again = members.from_description(found.describe())
    again.load_state_dict(found.state_dict())
    pictures = MEDIA.gather(np.arange(5))
    assert torch.equal(again.eval()(pictures), found(pictures))


def test_a_training_taken_up_after_its_last_epoch_ends_in_the_same_head() -> None:
    whole, cut, again = fit(), fit(), fit()
    list(whole.run())
    for _ in cut.run():
        state = cut.state()
        if len(cut.progress.history) == 3:
            break
    again.restore(state)
    assert again.finished
    list(again.run())
    ours, theirs = again.encoder.state_dict(), whole.encoder.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_other_heads_start_at_scale_one() -> None:
    network = encoders.build("mlp", (4,), 3, width=8)
    network.rescale(torch.tensor([0.5, 1.0, 2.0]))
    network.refit([nn.Linear(8, 6)])
    assert network.scale.tolist() == [1.0] * 6
    assert network(torch.ones(2, 4)).shape == (2, 6)
    assert network.describe()["embedding"] == 6

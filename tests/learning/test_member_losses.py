from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from likewise.data.augment import Augmentation
from likewise.data.batches import Media
from likewise.learning import losses, members
from likewise.learning.encoders import Network
from likewise.learning.feeds import ClassFeed
from likewise.learning.losses import LOSSES, Loss, PairTuples, TripletTuples
from likewise.learning.member_losses import MemberLosses, weights_apart
from likewise.learning.members import Members
from likewise.learning.memory import CrossBatchMemory
from likewise.learning.training import Epoch, Fit, Settings

CLASSES, EACH, WIDTH, TWO = 4, 8, 6, 2
LABELS = torch.arange(20) % CLASSES
PAIRS = PairTuples(torch.tensor([0, 3, 19]), torch.tensor([4, 6, 10]), same=torch.tensor([1, 0, 0]))
TRIPLETS = TripletTuples(torch.tensor([0, 5]), torch.tensor([4, 9]), torch.tensor([2, 8]))
NAMES = [*LOSSES, "contrastive of pairs", "triplet of triplets"]


def drawn(count: int, *, seed: int = 0) -> Tensor:
    """Embeddings of `count` members in a row, each member's of length 1 before the division by the root."""
    parts = torch.randn(20, count, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return nn.functional.normalize(parts, dim=2).flatten(1) / math.sqrt(count)


def one(name: str, *, seed: int) -> Loss:
    kind = name.split()[0]
    options: dict[str, Any] = {"seed": seed} if "seed" in inspect.signature(LOSSES[kind]).parameters else {}
    return losses.build(kind, classes=CLASSES, embedding=WIDTH, **options).double()


def tuples(name: str) -> PairTuples | TripletTuples | None:
    given: dict[str, PairTuples | TripletTuples] = {"pairs": PAIRS, "triplets": TRIPLETS}
    return given.get(name.split()[-1])


@pytest.mark.parametrize("name", NAMES)
def test_a_member_gets_the_gradient_that_it_would_get_alone(name: str) -> None:
    together = MemberLosses([one(name, seed=seed) for seed in range(3)]).double()
    embeddings = drawn(3).requires_grad_()
    result = together.measure(embeddings, LABELS, tuples(name))
    result.loss.backward()  # type: ignore[no-untyped-call]
    assert embeddings.grad is not None
    found = embeddings.grad.chunk(3, dim=1)
    total, shares, seen = 0.0, [], 0
    for place, part in enumerate(drawn(3).chunk(3, dim=1)):
        alone, own = one(name, seed=place), (part * math.sqrt(3)).requires_grad_()
        wanted = alone.measure(own, LABELS, tuples(name))
        wanted.loss.backward()  # type: ignore[no-untyped-call]
        assert own.grad is not None
        # The encoder divides its part by the root of three, which takes the factor out again.
        np.testing.assert_allclose(found[place] / math.sqrt(3), own.grad, rtol=1e-9, atol=1e-12)
        mine = dict(together.losses[place].named_parameters())
        for weight_name, weight in alone.named_parameters():
            torch.testing.assert_close(mine[weight_name].grad, weight.grad, rtol=1e-9, atol=1e-12)
        total, seen = total + wanted.loss.item(), seen + int(wanted.candidates)
        shares.append(float(wanted.zero_share))
    assert result.loss.item() == pytest.approx(total)
    assert result.zero_share.item() == pytest.approx(np.mean(shares))
    assert int(result.candidates) == seen


def test_learnt_weights_of_the_distance_are_each_members_own() -> None:
    each = [losses.build("binary_l1", classes=CLASSES, embedding=3) for _ in range(2)]
    with torch.no_grad():
        for loss, value in zip(each, (0.5, 2.0), strict=True):
            next(weight for weight in loss.parameters() if weight.numel() == 3).fill_(value)
    ones = torch.ones(1, 6)
    found = MemberLosses(each).project(ones)
    torch.testing.assert_close(found, torch.cat([loss.project(ones[:, :3]) for loss in each], dim=1))
    assert found[0, 0] != found[0, 3]


def test_each_member_remembers_its_own_part() -> None:
    losses_ = [CrossBatchMemory(one("triplet", seed=0), size=20, embedding=WIDTH).double() for _ in range(2)]
    together = MemberLosses(losses_)
    together.measure(drawn(2), LABELS)
    for loss, part in zip(losses_, drawn(2).chunk(2, dim=1), strict=True):
        torch.testing.assert_close(loss.past, part * math.sqrt(2))
    assert (
        together.measure(drawn(2, seed=1), LABELS).candidates
        > one("triplet", seed=0).measure(drawn(1, seed=1), LABELS).candidates * 2
    )


def pictures() -> np.ndarray[Any, Any]:
    draw = np.random.default_rng(0)
    means = draw.uniform(70, 180, (CLASSES, 1, 8, 8))
    return np.clip(draw.normal(means[np.repeat(np.arange(CLASSES), EACH)], 50), 0, 255).astype(np.uint8)


def fit(encoder: Network, loss: Loss, **changes: Any) -> Fit:
    plain: dict[str, Any] = {
        "epochs": 2,
        "optimizer": "adamw",
        "learning_rate": 0.01,
        "weight_decay": 1e-2,
        "schedule": "cosine",
        "keep": "last",
        "patience": 0,
        "clip": 0.5,
        "precision": "fp32",
        "seed": 0,
        "augment": Augmentation(shift=0.1),
    }
    labels = np.repeat(np.arange(CLASSES), EACH)
    feed = ClassFeed(np.arange(len(labels)), labels, classes_per_batch=3, samples_per_class=3, seed=0)
    media = Media(pictures(), device=torch.device("cpu"))
    return Fit(encoder, loss, feed, media, validate=lambda _: 0.25, settings=Settings(**{**plain, **changes}))


def arcface(seed: int, *, scale: float = 8.0) -> Loss:
    return losses.build("arcface", classes=CLASSES, embedding=WIDTH, seed=seed, scale=scale)


@pytest.mark.parametrize(
    "changes", [{}, {"accumulate": 2}, {"ema": 0.9}, {"optimizer": "sgd", "clip": 0.0}], ids=lambda each: str(each)
)
def test_members_trained_side_by_side_are_those_trained_alone_on_the_same_batches(changes: dict[str, Any]) -> None:
    # The second member's steep loss has a gradient far above the clip, which must not slow the first.
    scales = (1.0, 64.0)
    network = members.build("conv", (1, 8, 8), WIDTH, members=TWO, width=8)
    assert isinstance(network, Members)
    every = fit(network, MemberLosses([arcface(seed, scale=scale) for seed, scale in enumerate(scales)]), **changes)
    history = [record for record in every.run() if isinstance(record, Epoch)]
    losses_, norms = [], []
    for place, seed in enumerate(members.seeds(0, TWO)):
        encoder = members.build("conv", (1, 8, 8), WIDTH, width=8, seed=seed)
        alone = fit(encoder, arcface(place, scale=scales[place]), **changes)
        (last,) = [record for record in alone.run() if isinstance(record, Epoch)][-1:]
        losses_.append(last.loss)
        norms.append(last.gradient_norm)
        found, wanted = network.encoders[place].state_dict(), encoder.state_dict()
        for name, value in wanted.items():
            torch.testing.assert_close(found[name], value, rtol=1e-3, atol=2e-4)
    assert history[-1].loss == pytest.approx(sum(losses_), rel=1e-3)
    assert max(norms) <= history[-1].gradient_norm <= sum(norms)
    assert min(norms) * 5 < max(norms)


def test_a_training_of_members_is_taken_up_again_bit_for_bit() -> None:
    def made() -> Fit:
        network = members.build("conv", (1, 8, 8), WIDTH, members=TWO, width=8)
        return fit(network, MemberLosses([arcface(seed) for seed in range(TWO)]), epochs=3, ema=0.9)

    whole, cut, again = made(), made(), made()
    list(whole.run())
    for record in cut.run():
        if isinstance(record, Epoch):
            break
    again.restore(cut.state())
    list(again.run())
    ours, theirs = again.encoder.state_dict(), whole.encoder.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert again.progress.history == whole.progress.history


def test_weights_apart_are_all_weights_once() -> None:
    network = members.build("mlp", (4,), WIDTH, members=3, width=8)
    loss = MemberLosses([arcface(seed) for seed in range(3)])
    groups = weights_apart(network, loss)
    assert len(groups) == 3
    assert {id(weight) for group in groups for weight in group} == {
        id(weight) for weight in [*network.parameters(), *loss.parameters()]
    }
    alone = weights_apart(members.build("mlp", (4,), WIDTH, width=8), arcface(0))
    assert [len(group) for group in alone] == [len(groups[0])]

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from likewise import distances
from likewise.data.batches import Media
from likewise.delivery import portable
from likewise.learning import encoders, members
from likewise.learning.embedding import embed
from likewise.learning.encoders import Network
from likewise.learning.members import Members

IMAGE = (1, 12, 12)
PICTURES = torch.randint(0, 256, (9, *IMAGE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def build(*, count: int, embedding: int = 4, normalise: bool = True, **arguments: Any) -> Network:
    made = members.build("conv", IMAGE, embedding, members=count, normalise=normalise, width=8, **arguments)
    return made.eval()


def of(network: Network) -> list[encoders.Encoder]:
    assert isinstance(network, Members)
    return [each for each in network.encoders if isinstance(each, encoders.Encoder)]


def numbers(network: nn.Module, samples: Tensor = PICTURES) -> Tensor:
    with torch.no_grad():
        found: Tensor = network(samples)
    return found


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    left, right = one.state_dict(), other.state_dict()
    return list(left) == list(right) and all(torch.equal(left[key], right[key]) for key in left)


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("views", [{}, {"mirror": True, "shifts": 1}])
def test_an_embedding_is_the_members_in_a_row_divided_by_the_root_of_their_number(
    normalise: bool, views: dict[str, Any]
) -> None:
    network = build(count=3, normalise=normalise, **views)
    found = numbers(network).numpy()
    wanted = np.concatenate([numbers(each).numpy() for each in of(network)], axis=1) / math.sqrt(3)
    assert found.shape == (9, 12)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    if normalise:
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)


MEANS: dict[str, Callable[..., Any]] = {
    "cosine": np.mean,
    "squared_euclidean": np.mean,
    "euclidean": lambda each, axis: np.sqrt(np.mean(np.square(each), axis=axis)),
    "manhattan": lambda each, axis: np.mean(each, axis=axis) * math.sqrt(3),
}


@pytest.mark.parametrize("name", MEANS)
def test_a_distance_is_a_mean_of_the_members(name: str) -> None:
    network, distance = build(count=3), distances.build(name)
    each = np.stack([distance.pairwise(numbers(member)).numpy() for member in of(network)])
    found = distance.pairwise(numbers(network)).numpy()
    np.testing.assert_allclose(found, MEANS[name](each, axis=0), atol=2e-6)
    assert np.ptp(each, axis=0).max() > 0.05


def test_squared_distances_of_any_length_are_the_mean_too() -> None:
    network, distance = build(count=2, normalise=False), distances.build("squared_euclidean")
    each = np.stack([distance.pairwise(numbers(member)).numpy() for member in of(network)])
    np.testing.assert_allclose(distance.pairwise(numbers(network)).numpy(), each.mean(axis=0), rtol=1e-4, atol=1e-6)


def test_one_member_is_the_encoder_as_it_is() -> None:
    network = build(count=1, seed=3)
    assert isinstance(network, encoders.Encoder)
    assert same_weights(network, encoders.build("conv", IMAGE, 4, width=8, seed=3))
    assert "members" not in network.describe()


def test_each_member_starts_from_weights_of_its_own_and_more_leave_the_first_as_they_are() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    three, two = of(build(count=3, seed=5)), of(build(count=2, seed=5))
    assert torch.equal(torch.get_rng_state(), before)
    assert same_weights(three[0], encoders.build("conv", IMAGE, 4, width=8, seed=5))
    assert all(same_weights(one, other) for one, other in zip(three[:2], two, strict=True))
    heads = [each.head.weight for each in [*three, *of(build(count=3, seed=6))]]
    assert all(not torch.equal(a, b) for i, a in enumerate(heads) for b in heads[:i])


@pytest.mark.parametrize("seed", [0, 7, 2**40])
def test_seeds_are_the_first_and_others_that_stay(seed: int) -> None:
    assert members.seeds(seed, 1) == [seed]
    assert members.seeds(seed, 8)[:3] == members.seeds(seed, 3)
    assert len(set(members.seeds(seed, 64))) == 64


def test_a_description_survives_json_and_rebuilds_all_members() -> None:
    network = build(count=2, mean=100.0, std=50.0, mirror=True)
    description = json.loads(json.dumps(network.describe()))
    again = members.from_description(description)
    assert again.describe() == network.describe() == description
    assert (description["members"], description["embedding"], again.embedding) == (2, 4, 8)
    again.load_state_dict(network.state_dict())
    torch.testing.assert_close(numbers(again.eval()), numbers(network), rtol=0, atol=0)


def test_a_description_without_members_is_of_one_encoder() -> None:
    alone = encoders.build("conv", IMAGE, 4, width=8)
    assert isinstance(members.from_description(alone.describe()), encoders.Encoder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"members": 0}, "members is 0, but must be a whole number >= 1"),
        ({"members": 2.0}, "members is 2.0"),
        ({"member": 2}, "unknown entry of the description of the encoder 'member'"),
    ],
)
def test_a_wrong_description_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        members.from_description(build(count=2).describe() | change)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="members x embedding is 16384, but must be a whole number from 1 to 8192"):
        members.build("conv", IMAGE, 4096, members=4)
    with pytest.raises(ValueError, match="members is 0"):
        members.build("conv", IMAGE, 8, members=0)
    with pytest.raises(ValueError, match=r"takes a batch \(n, 1, 12, 12\), but was given \(3, 1, 8, 8\)"):
        build(count=2)(torch.zeros(3, 1, 8, 8))


@pytest.mark.parametrize("normalise", [True, False])
def test_samples_of_several_rows_are_joined_member_by_member(normalise: bool) -> None:
    network = build(count=3, normalise=normalise)
    weights = torch.rand(12, generator=torch.Generator().manual_seed(1)) + 0.5
    network.rescale(weights)
    media = Media(PICTURES.numpy(), np.array([0, 2, 3, 9]), device=torch.device("cpu"))
    found = embed(network, media, np.arange(3)).numpy()
    parts = []
    for member in of(network):
        rows = numbers(member).double().numpy()
        means = np.stack([rows[a:b].mean(axis=0) for a, b in ((0, 2), (2, 3), (3, 9))])
        parts.append(means / np.linalg.norm(means, axis=1, keepdims=True) if normalise else means)
    wanted = np.concatenate(parts, axis=1) / math.sqrt(3) * weights.numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
    network.rescale(torch.arange(12.0) % 4)
    lost = embed(network, media, np.arange(3))
    assert torch.isfinite(lost).all()
    assert not lost[:, ::4].any()


def test_onnx_gives_the_numbers_of_all_members() -> None:
    network = build(count=2, mirror=True, mean=120.0, std=60.0)
    network.rescale(torch.linspace(0.5, 2, 8))
    content = portable.export(network, PICTURES.numpy())
    assert portable.check_parity(network, content, PICTURES.numpy()) <= portable.TOLERANCE
    broken = build(count=2, mirror=True, mean=120.0, std=60.0)
    broken.load_state_dict(network.state_dict())
    with torch.no_grad():
        of(broken)[1].head.bias.add_(0.1)
    with pytest.raises(portable.ParityError):
        portable.check_parity(broken, content, PICTURES.numpy())


def test_bf16_and_channels_last_give_about_the_same() -> None:
    network = build(count=2)
    with torch.autocast("cpu", torch.bfloat16):
        found = numbers(network)
    assert found.dtype == torch.float32
    assert (found * numbers(network)).sum(dim=1).min() > 0.98
    expected = numbers(network)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    turned = numbers(network, PICTURES.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(turned, expected, rtol=1e-4, atol=1e-5)

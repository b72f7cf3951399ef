from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from likewise.data.augment_sequences import (
    KNOTS,
    LIMITS,
    SequenceAugmentation,
    bridged,
    read_at,
    turned,
    warped_places,
    with_differences,
)

STRENGTHS: dict[str, Any] = {"warp": 0.5, "dropout": 0.3, "rotation": 20.0, "scale": 0.25, "jitter": 0.1}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def walks(count: int = 6, channels: int = 3, length: int = 17, *, seed: int = 0) -> Tensor:
    return torch.randn(count, channels, length, generator=generator(seed)).cumsum(dim=2)


def changed(batch: Tensor, *, seed: int = 0, differences: bool = False, **strengths: float) -> Tensor:
    return SequenceAugmentation(**strengths, differences=differences)(batch, generator=generator(seed))


def test_off_is_the_batch_itself() -> None:
    for batch in (walks(), torch.zeros(3, 1, 28, 28, dtype=torch.uint8)):
        assert SequenceAugmentation()(batch, generator=generator()) is batch
        assert SequenceAugmentation(differences=True)(batch, generator=generator()) is batch
    assert SequenceAugmentation().off
    assert not any(SequenceAugmentation(**{name: value}).off for name, value in STRENGTHS.items())


@pytest.mark.parametrize("kind", STRENGTHS)
def test_each_kind_changes_a_copy(kind: str) -> None:
    batch = walks()
    before = batch.clone()
    found = changed(batch, **{kind: STRENGTHS[kind]})
    assert found.dtype == torch.float32
    assert found.shape == batch.shape
    assert not torch.allclose(found, batch)
    assert torch.equal(batch, before)


def test_the_kinds_are_those_with_limits() -> None:
    names = [each.name for each in fields(SequenceAugmentation)]
    assert names == [*LIMITS, "differences"]
    assert list(LIMITS) == list(STRENGTHS)


@given(
    strengths=st.fixed_dictionaries({name: st.floats(0, limit, width=32) for name, limit in LIMITS.items()}),
    seed=st.integers(0, 100),
    shape=st.tuples(st.integers(1, 4), st.integers(2, 4), st.integers(2, 9)),
)
@settings(max_examples=40, deadline=None)
def test_any_strengths_give_finite_sequences_and_the_same_ones_again(
    strengths: dict[str, Any], seed: int, shape: tuple[int, int, int]
) -> None:
    batch = walks(*shape, seed=seed)
    found = changed(batch, seed=seed, **strengths)
    assert torch.isfinite(found).all()
    assert torch.equal(found, changed(batch, seed=seed, **strengths))


@pytest.mark.parametrize("kind", STRENGTHS)
def test_another_seed_another_result(kind: str) -> None:
    one, other = (changed(walks(40), seed=seed, **{kind: STRENGTHS[kind]}) for seed in (0, 1))
    assert not torch.equal(one, other)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_type_given_does_not_matter(dtype: torch.dtype) -> None:
    batch = walks().bfloat16()
    found, wanted = (changed(each, **STRENGTHS) for each in (batch.to(dtype), batch.float()))
    assert found.dtype == torch.float32
    assert torch.equal(found, wanted)


def test_sequences_do_not_mix() -> None:
    batch = walks()
    other = batch.clone()
    other[3] = other[3].flip(0) + 1
    found, elsewhere = (changed(each, **STRENGTHS) for each in (batch, other))
    rows = [0, 1, 2, 4, 5]
    torch.testing.assert_close(found[rows], elsewhere[rows], rtol=0, atol=0)
    assert not torch.equal(found[3], elsewhere[3])


def test_places_of_a_warp_against_a_loop() -> None:
    speeds = torch.rand(3, KNOTS, generator=generator(), dtype=torch.float64) + 0.2
    length = 12
    found = warped_places(speeds, length=length)
    for row in range(3):
        logarithms, travelled = speeds[row].log().numpy(), [0.0]
        for step in range(length - 1):
            middle = (step + 0.5) / (length - 1) * (KNOTS - 1)
            travelled.append(travelled[-1] + math.exp(np.interp(middle, np.arange(KNOTS), logarithms)))
        np.testing.assert_allclose(found[row], np.array(travelled) / travelled[-1] * (length - 1), atol=1e-9)


@given(st.integers(0, 100), st.integers(2, 200), st.floats(0.0, 10.0))
@settings(deadline=None)
def test_a_warp_never_goes_back_and_keeps_both_ends(seed: int, length: int, strength: float) -> None:
    speeds = (1 + strength) ** (torch.rand(4, KNOTS, generator=generator(seed)) * 2 - 1)
    places = warped_places(speeds, length=length)
    assert (places.diff(dim=1) >= 0).all()
    assert (places[:, 0] == 0).all()
    torch.testing.assert_close(places[:, -1], torch.full((4,), length - 1.0))
    steps = places.double().diff(dim=1)
    # From step to step the speed changes by the share that lies between two knots, and rounding.
    most = (1 + strength) ** (2 * (KNOTS - 1) / max(1, length - 1))
    assert (steps[:, 1:] <= steps[:, :-1] * most + 1e-4).all()


def test_a_constant_speed_changes_nothing() -> None:
    torch.testing.assert_close(warped_places(torch.full((1, KNOTS), 3.0), length=9)[0], torch.arange(9.0))


def test_reading_against_numpy() -> None:
    batch = walks()
    places = torch.rand(6, 30, generator=generator()) * 16
    places[:, :2] = torch.tensor([0.0, 16.0])
    found = read_at(batch, places)
    for row in range(6):
        for channel in range(3):
            wanted = np.interp(places[row], np.arange(17), batch[row, channel])
            np.testing.assert_allclose(found[row, channel], wanted, atol=1e-5)


def test_a_warp_changes_all_channels_at_the_same_times() -> None:
    batch = walks(8, 1, 40).expand(-1, 3, -1) * torch.tensor([1.0, -2.0, 0.5])[:, None]
    found = changed(batch, warp=2.0)
    torch.testing.assert_close(found[:, 1], -2 * found[:, 0])
    torch.testing.assert_close(found[:, 2], 0.5 * found[:, 0])
    torch.testing.assert_close(found[:, :, [0, -1]], batch[:, :, [0, -1]])


@given(st.integers(0, 100), st.integers(2, 30), st.floats(0, 1))
@settings(deadline=None)
def test_bridges_against_numpy(seed: int, length: int, share: float) -> None:
    batch = walks(3, 2, length, seed=seed)
    kept = torch.rand(3, length, generator=generator(seed)) >= share
    found = bridged(batch, kept)
    steps = np.arange(length)
    for row in range(3):
        stay = kept[row].numpy() | (steps == 0) | (steps == length - 1)
        for channel in range(2):
            values = batch[row, channel].numpy()
            np.testing.assert_allclose(found[row, channel], np.interp(steps, steps[stay], values[stay]), atol=1e-5)
            np.testing.assert_array_equal(found[row, channel][stay], values[stay])


def test_as_many_points_are_lost_as_are_drawn() -> None:
    batch = torch.randn(500, 2, 101, generator=generator())
    lost = (changed(batch, dropout=0.4) != batch).any(dim=1)
    shares = lost[:, 1:-1].float().mean(dim=1)
    assert not lost[:, [0, -1]].any()
    assert shares.max() <= 0.4 + 0.15
    assert abs(shares.mean() - 0.2) < 4 * 0.4 / math.sqrt(12 * 500)


def test_turns_against_complex_numbers() -> None:
    batch = walks()
    angles = torch.linspace(-3, 3, 6)
    found = turned(batch, angles)
    plane = torch.view_as_complex(batch[:, :2].transpose(1, 2).contiguous()).numpy()
    for row in range(6):
        middle = plane[row].mean()
        wanted = (plane[row] - middle) * np.exp(1j * angles[row].item()) + middle
        np.testing.assert_allclose(found[row, 0], wanted.real, atol=1e-5)
        np.testing.assert_allclose(found[row, 1], wanted.imag, atol=1e-5)
    assert torch.equal(found[:, 2:], batch[:, 2:])


def test_strengths_bound_the_angle_and_the_size() -> None:
    batch = torch.tensor([[[-1.0, 1.0], [0.0, 0.0]]]).expand(600, -1, -1) + 5
    ends = changed(batch, rotation=20.0)[:, :, 1] - 5
    angles = torch.atan2(ends[:, 1], ends[:, 0]).rad2deg()
    assert angles.abs().max() <= 20.001
    assert angles.abs().max() > 19
    assert abs(angles.mean()) < 4 * 20 / math.sqrt(3 * 600)
    sizes = changed(batch, scale=0.25)[:, 0, 1] - 5
    assert sizes.max() <= 1.2501
    assert sizes.min() >= 0.7999
    assert abs(sizes.log().mean()) < 4 * math.log(1.25) / math.sqrt(3 * 600)


def test_scaling_is_one_factor_about_each_channels_mean() -> None:
    batch = walks()
    found = changed(batch, scale=1.0)
    middle = batch.mean(dim=2, keepdim=True)
    ratios = ((found - middle) / (batch - middle)).flatten(1)
    torch.testing.assert_close(ratios, ratios[:, :1].expand_as(ratios), rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(found.mean(dim=2), middle[:, :, 0])


def test_noise_is_a_share_of_each_channels_spread() -> None:
    sizes = torch.tensor([1.0, 100.0, 0.0])[:, None]
    batch = torch.randn(300, 3, 200, generator=generator(1)) * sizes + 7
    noise = changed(batch, jitter=0.4) - batch
    shares = noise.std(dim=2) / sizes[:, 0]
    assert torch.equal(noise[:, 2], torch.zeros(300, 200))
    for channel in range(2):
        assert shares[:, channel].max() <= 0.4 * 1.25
        assert abs(shares[:, channel].mean() - 0.2) < 4 * 0.4 / math.sqrt(12 * 300)
    assert abs((noise[:, 0] * noise[:, 1]).mean()) < 0.1


def test_differences_are_those_of_the_changed_sequences() -> None:
    plain = walks()
    batch = with_differences(plain)
    found = changed(batch, differences=True, **STRENGTHS)
    assert found.shape == batch.shape == (6, 6, 17)
    assert torch.equal(found[:, :3], changed(plain, **STRENGTHS))
    assert torch.equal(found[:, 3:, 0], torch.zeros(6, 3))
    torch.testing.assert_close(found[:, 3:, 1:], found[:, :3, 1:] - found[:, :3, :-1])


@pytest.mark.parametrize(("kind", "value"), [("warp", -1.0), ("dropout", 1.5), ("jitter", math.nan)])
def test_a_strength_out_of_range_is_refused(kind: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{kind} is {value}, but must be from 0"):
        changed(walks(), **{kind: value})


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (torch.zeros(3, 1, 40, 98), r"takes sequences \(n, channels, length\) of floats, but was given torch.float32"),
        (torch.zeros(3, 40, 98, dtype=torch.uint8), "of floats, but was given torch.uint8"),
        (torch.zeros(3, 2, 1), r"was given torch.float32 \(3, 2, 1\)"),
        (torch.zeros(3, 1, 9), "no plane to rotate in with one channel; set rotation to 0"),
    ],
)
def test_other_samples_are_refused(batch: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        changed(batch, rotation=10.0)


def test_differences_are_half_of_the_channels() -> None:
    with pytest.raises(ValueError, match="half of the channels cannot be differences, there are 3"):
        changed(walks(), differences=True, warp=0.1)
    with pytest.raises(ValueError, match="no plane to rotate in"):
        changed(walks(3, 2), differences=True, rotation=10.0)

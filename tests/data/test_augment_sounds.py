from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from likewise.data.augment_sounds import LIMITS, MASKS, SoundAugmentation, louder, masks, noisy, shifted
from likewise.data.spectra import LOG_FLOOR

STRENGTHS: dict[str, float] = {"shift": 0.3, "gain": 12.0, "noise": 0.5, "mask_mels": 0.3, "mask_frames": 0.4}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sounds(count: int = 6, mels: int = 11, frames: int = 17, *, seed: int = 0) -> Tensor:
    """Log-mel like those of speech, filled up with silence in the last frames."""
    batch = torch.randn(count, mels, frames, generator=generator(seed)) * 3 - 8
    batch[:, :, max(1, 3 * frames // 4) :] = LOG_FLOOR
    return batch.clamp(min=LOG_FLOOR).half()


def test_off_is_the_batch_itself() -> None:
    for batch in (sounds(), torch.zeros(3, 1, 28, 28, dtype=torch.uint8)):
        assert SoundAugmentation()(batch, generator=generator()) is batch
    assert SoundAugmentation().off
    assert not any(SoundAugmentation(**{name: value}).off for name, value in STRENGTHS.items())


@pytest.mark.parametrize("kind", STRENGTHS)
def test_each_kind_changes_a_copy(kind: str) -> None:
    batch = sounds()
    before = batch.clone()
    found = SoundAugmentation(**{kind: STRENGTHS[kind]})(batch, generator=generator())
    assert found.dtype == torch.float32
    assert found.shape == batch.shape
    assert found.min() >= LOG_FLOOR
    assert not torch.equal(found, batch.float())
    assert torch.equal(batch, before)


def test_the_kinds_are_those_with_limits() -> None:
    names = [each.name for each in fields(SoundAugmentation)]
    assert names == list(LIMITS) == list(STRENGTHS)


@given(
    strengths=st.fixed_dictionaries({name: st.floats(0, limit, width=32) for name, limit in LIMITS.items()}),
    seed=st.integers(0, 100),
    shape=st.tuples(*[st.integers(1, each) for each in (4, 7, 9)]),
)
@settings(max_examples=40, deadline=None)
def test_any_strengths_give_finite_sounds_and_the_same_ones_again(
    strengths: dict[str, float], seed: int, shape: tuple[int, int, int]
) -> None:
    batch, change = sounds(*shape, seed=seed), SoundAugmentation(**strengths)
    found = change(batch, generator=generator(seed))
    assert torch.isfinite(found).all()
    assert found.min() >= LOG_FLOOR
    assert torch.equal(found, change(batch, generator=generator(seed)))


@pytest.mark.parametrize("kind", STRENGTHS)
def test_another_seed_another_result(kind: str) -> None:
    change, batch = SoundAugmentation(**{kind: STRENGTHS[kind]}), sounds(40)
    one, other = (change(batch, generator=generator(seed)) for seed in (0, 1))
    assert not torch.equal(one, other)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_type_given_does_not_matter(dtype: torch.dtype) -> None:
    batch, change = sounds().bfloat16(), SoundAugmentation(**STRENGTHS)
    found, wanted = (change(each, generator=generator()) for each in (batch.to(dtype), batch.float()))
    assert found.dtype == torch.float32
    assert torch.equal(found, wanted)


def test_sounds_do_not_mix() -> None:
    batch, change = sounds(), SoundAugmentation(**STRENGTHS)
    other = batch.clone()
    other[3] = other[3].flip(0) + 1
    found, changed = (change(each, generator=generator()) for each in (batch, other))
    rows = [0, 1, 2, 4, 5]
    assert torch.equal(found[rows], changed[rows])
    assert not torch.equal(found[3], changed[3])


def test_shifts_against_slices() -> None:
    batch = sounds().float()
    steps = torch.tensor([0, 1, -1, 5, -16, 17])
    found = shifted(batch, steps)
    for i, step in enumerate(steps.tolist()):
        wanted = torch.full_like(batch[i], LOG_FLOOR)
        for frame in range(17):
            if 0 <= frame - step < 17:
                wanted[:, frame] = batch[i, :, frame - step]
        assert torch.equal(found[i], wanted)


def test_strengths_bound_what_is_drawn() -> None:
    """A loud frame in the middle says how far it went."""
    batch = torch.full((600, 1, 101), LOG_FLOOR)
    batch[:, :, 50] = 0
    found = SoundAugmentation(shift=0.2)(batch, generator=generator())
    steps = (found[:, 0].argmax(dim=1) - 50).float()
    assert steps.min() in (-20, -19)
    assert steps.max() in (20, 19)
    assert abs(steps.mean()) < 4 * 20 / math.sqrt(3 * 600)


def test_gain_against_the_powers() -> None:
    batch = sounds().float()
    gain = torch.tensor([0.0, 3.0, -3.0, 20.0, -20.0, -100.0])
    found = louder(batch, gain)
    for place in np.ndindex(*batch.shape):
        old = batch[place].item()
        power = math.exp(old) * 10 ** (gain[place[0]].item() / 10)
        wanted = max(math.log(power), LOG_FLOOR) if old > LOG_FLOOR else LOG_FLOOR
        assert found[place].item() == pytest.approx(wanted, abs=1e-4)
    assert torch.equal(found[0], batch[0])


def test_gain_keeps_what_was_filled_up() -> None:
    batch = sounds()
    found = SoundAugmentation(gain=40.0)(batch, generator=generator())
    assert (found[batch == LOG_FLOOR] == LOG_FLOOR).all()


def test_noise_against_the_powers() -> None:
    batch = sounds().float()
    shares = torch.tensor([0.0, 0.01, 0.1, 0.5, 1.0, 10.0])
    noise = torch.rand(batch.shape, generator=generator(1)) * 2
    found = noisy(batch, shares, noise=noise)
    for i in range(6):
        powers = [math.exp(value) for value in batch[i].flatten().tolist()]
        mean = sum(powers) / len(powers)
        pairs = zip(powers, noise[i].flatten().tolist(), strict=True)
        wanted = [math.log(power + shares[i].item() * mean * each) for power, each in pairs]
        np.testing.assert_allclose(found[i].flatten().numpy(), wanted, atol=1e-4)
    torch.testing.assert_close(found[0], batch[0])


def test_noise_has_the_power_that_is_drawn() -> None:
    batch = torch.full((300, 10, 60), -5.0)
    found = SoundAugmentation(noise=0.4)(batch, generator=generator())
    added = (found.double().exp() / math.exp(-5) - 1).mean(dim=(1, 2))
    assert added.min() >= 0
    assert added.max() <= 0.4 * 1.15
    assert abs(added.mean() - 0.2) < 4 * 0.4 / math.sqrt(12 * 300)


def test_masks_against_slices() -> None:
    places = torch.tensor([[0.0, 1.0], [0.5, 0.5], [0.3, 0.8], [0.0, 0.0]])
    lengths = torch.tensor([[0.3, 0.2], [0.0, 0.4], [1.0, 0.1], [0.0, 0.0]])
    found = masks(11, places=places, lengths=lengths)
    for i in range(4):
        wanted = [False] * 11
        for place, share in zip(places[i].tolist(), lengths[i].tolist(), strict=True):
            length = round(share * 11)
            first = round(place * (11 - length))
            wanted[first : first + length] = [True] * length
        assert found[i].tolist() == wanted


@pytest.mark.parametrize(("kind", "axis"), [("mask_mels", 1), ("mask_frames", 2)])
def test_masked_bands_and_frames_are_the_mean(kind: str, axis: int) -> None:
    batch = torch.randn(400, 40, 50, generator=generator(2))
    found = SoundAugmentation(**{kind: 0.25})(batch, generator=generator())
    middle = batch.mean(dim=(1, 2), keepdim=True)
    hidden = (found != batch).any(dim=3 - axis)
    inside = hidden.unsqueeze(3 - axis)
    assert torch.equal(found, torch.where(inside, middle, batch))
    size = batch.shape[axis]
    assert hidden.sum(dim=1).max() <= MASKS * round(0.25 * size)
    # Two masks of a quarter at most, an eighth each in the mean, of which a little overlaps.
    assert 0.2 < hidden.float().mean() < 0.25
    edges = hidden.float().diff(dim=1).clamp(min=0).sum(dim=1) + hidden[:, 0]
    assert edges.max() == MASKS
    # Every band and frame is hidden now and then.
    assert hidden.any(dim=0).all()


@pytest.mark.parametrize(("kind", "value"), [("gain", -1.0), ("mask_mels", 1.5), ("noise", math.nan)])
def test_a_strength_out_of_range_is_refused(kind: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{kind} is {value}, but must be from 0"):
        SoundAugmentation(**{kind: value})


def test_other_samples_than_log_mel_are_refused() -> None:
    for batch in (torch.zeros(3, 1, 40, 98), torch.zeros(3, 40, 98, dtype=torch.uint8)):
        with pytest.raises(ValueError, match=r"takes log-mel \(n, mels, frames\) of floats, but was given torch"):
            SoundAugmentation(gain=1.0)(batch, generator=generator())

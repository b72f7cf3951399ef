from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from likewise.data.augment import KNOTS, LIMITS, Augmentation, affine, blurred, erased, lit, moved, turned

STRENGTHS: dict[str, float] = {
    "flip": 0.5,
    "shift": 0.2,
    "rotation": 30.0,
    "scale": 0.3,
    "shear": 20.0,
    "elastic": 0.1,
    "brightness": 0.3,
    "contrast": 0.5,
    "gamma": 0.5,
    "blur": 1.5,
    "erase": 0.4,
}


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_turned_is_what_numpy_turns(kind: torch.dtype) -> None:
    images = pictures(9, height=7, width=7).to(kind)
    quarters = torch.tensor([0, 1, 2, 3, 7, 6, 5, 4, 1])
    result = turned(images, quarters)
    assert result.dtype == kind
    for image, quarter, found in zip(images, quarters.tolist(), result, strict=True):
        upright = np.rot90(image.numpy(), quarter % 4, axes=(1, 2))
        np.testing.assert_array_equal(found.numpy(), upright if quarter < 4 else np.flip(upright, axis=2))


def test_the_eight_ways_of_turning_differ() -> None:
    one = pictures(1, height=5, width=5)
    every = turned(one.expand(8, -1, -1, -1), torch.arange(8))
    assert len({way.numpy().tobytes() for way in every}) == 8


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int = 6, channels: int = 2, height: int = 13, width: int = 9, *, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (count, channels, height, width), generator=generator(seed), dtype=torch.uint8)


def smooth(count: int = 6, channels: int = 2, height: int = 13, width: int = 9) -> Tensor:
    """Pictures without sharp edges, so that the last bit of a place does not decide a pixel."""
    noise = torch.randn(count, channels, height, width, generator=generator(1)).numpy()
    return torch.from_numpy(ndimage.gaussian_filter(noise, (0, 0, 1, 1))) * 100 + 128


def numbers(count: int, low: float, high: float, *, seed: int) -> Tensor:
    return torch.rand(count, generator=generator(seed)) * (high - low) + low


def still(count: int, **changes: Tensor) -> dict[str, Tensor]:
    names = ("turn", "lean", "size", "across", "down")
    return {name: changes.get(name, torch.full((count,), float(name == "size"))) for name in names}


def test_off_is_the_batch_itself() -> None:
    for batch in (pictures(), torch.zeros(3, 40)):
        assert Augmentation()(batch, generator=generator()) is batch
    assert Augmentation().off
    assert not any(Augmentation(**{name: value}).off for name, value in STRENGTHS.items())


@pytest.mark.parametrize("kind", STRENGTHS)
def test_each_kind_changes_a_copy_within_the_range(kind: str) -> None:
    batch = pictures(channels=1)
    before = batch.clone()
    found = Augmentation(**{kind: STRENGTHS[kind]})(batch, generator=generator())
    assert found.dtype == torch.float32
    assert found.shape == batch.shape
    assert found.min() >= 0
    assert found.max() <= 255
    assert not torch.equal(found, batch.float())
    assert torch.equal(batch, before)


def test_the_kinds_are_those_with_limits() -> None:
    names = [each.name for each in fields(Augmentation)]
    assert names == list(LIMITS) == list(STRENGTHS)


@given(
    strengths=st.fixed_dictionaries({name: st.floats(0, limit, width=32) for name, limit in LIMITS.items()}),
    seed=st.integers(0, 100),
    shape=st.tuples(*[st.integers(1, each) for each in (4, 3, 7, 7)]),
)
@settings(max_examples=40, deadline=None)
def test_any_strengths_give_finite_pixels_and_the_same_ones_again(
    strengths: dict[str, float], seed: int, shape: tuple[int, int, int, int]
) -> None:
    batch, change = pictures(*shape, seed=seed), Augmentation(**strengths)
    found = change(batch, generator=generator(seed))
    assert torch.isfinite(found).all()
    assert found.min() >= 0
    assert found.max() <= 255
    assert torch.equal(found, change(batch, generator=generator(seed)))


@pytest.mark.parametrize("kind", STRENGTHS)
def test_another_seed_another_result(kind: str) -> None:
    change, batch = Augmentation(**{kind: STRENGTHS[kind]}), pictures(40)
    one, other = (change(batch, generator=generator(seed)) for seed in (0, 1))
    assert not torch.equal(one, other)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float32])
def test_the_type_given_does_not_matter(dtype: torch.dtype) -> None:
    batch, change = pictures() // 2 * 2, Augmentation(**STRENGTHS)
    given = batch.to(dtype)
    found, wanted = (change(each, generator=generator()) for each in (given, given.float()))
    assert found.dtype == torch.float32
    assert torch.equal(found, wanted)


def test_images_do_not_mix() -> None:
    batch, change = pictures(), Augmentation(**STRENGTHS)
    other = batch.clone()
    other[3] = 255 - other[3]
    found, changed = (change(each, generator=generator()) for each in (batch, other))
    rows = [0, 1, 2, 4, 5]
    assert torch.equal(found[rows], changed[rows])
    assert not torch.equal(found[3], changed[3])


def test_all_channels_move_alike() -> None:
    grey = pictures(channels=1).expand(-1, 3, -1, -1)
    found = Augmentation(**STRENGTHS)(grey, generator=generator())
    torch.testing.assert_close(found, found[:, :1].expand(-1, 3, -1, -1), atol=1e-3, rtol=0)


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_the_share_of_flips(share: float) -> None:
    batch = pictures(4000, 1, 1, 8)
    found = Augmentation(flip=share)(batch, generator=generator())
    mirrored = (found == batch.flip(-1)).all(dim=(1, 2, 3))
    kept = (found == batch).all(dim=(1, 2, 3))
    assert (mirrored | kept).all()
    assert abs(mirrored.sum() - 4000 * share) <= 4 * math.sqrt(4000 * share * (1 - share)) + 1


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_quarter_turns(quarters: int) -> None:
    images = pictures(height=9, width=9).float()
    turn = torch.full((6,), quarters * math.pi / 2)
    found = moved(images, affine(**still(6, turn=turn), aspect=1.0))
    torch.testing.assert_close(found, torch.rot90(images, quarters, (2, 3)), atol=0.02, rtol=0)


def test_whole_shifts_repeat_the_edge() -> None:
    images = pictures().float()
    height, width = images.shape[2:]
    right, down = torch.tensor([0, 3, -2, 0, 5, -9]), torch.tensor([0, 0, 1, -4, -13, 2])
    found = moved(images, affine(**still(6, across=right / width, down=down / height), aspect=height / width))
    for i in range(6):
        rows = np.clip(np.arange(height) + int(down[i]), 0, height - 1)
        columns = np.clip(np.arange(width) + int(right[i]), 0, width - 1)
        wanted = images[i].numpy()[:, rows][:, :, columns]
        np.testing.assert_allclose(found[i].numpy(), wanted, atol=0.05)


def test_affine_against_scipy() -> None:
    images = smooth()
    height, width = images.shape[2:]
    placed = {
        "turn": numbers(6, -2, 2, seed=2),
        "lean": numbers(6, -0.5, 0.5, seed=3),
        "size": numbers(6, 0.6, 1.6, seed=4),
        "across": numbers(6, -0.3, 0.3, seed=5),
        "down": numbers(6, -0.3, 0.3, seed=6),
    }
    found = moved(images, affine(**placed, aspect=height / width))
    for i in range(6):
        one = {name: float(values[i]) for name, values in placed.items()}
        for channel in range(2):
            wanted = by_scipy(images[i, channel].numpy(), **one)
            np.testing.assert_allclose(found[i, channel].numpy(), wanted, atol=0.01)


def by_scipy(image: NDArray[Any], *, turn: float, lean: float, size: float, across: float, down: float) -> NDArray[Any]:
    """The formula of `affine` in pixels; scipy's axes are (y, x), the formula's (x, y)."""
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    matrix = (rotation @ np.array([[1, math.tan(lean)], [0, 1]]) / size)[::-1, ::-1]
    middle = (np.array(image.shape) - 1) / 2
    offset = middle - matrix @ middle + np.array([down, across]) * image.shape
    return np.asarray(ndimage.affine_transform(image, matrix, offset=offset, order=1, mode="nearest"))


def test_elastic_places_against_scipy() -> None:
    images = smooth(3)
    height, width = images.shape[2:]
    # The same everywhere: a cubic through equal knots is flat, so that it is a plain shift.
    drift = torch.tensor([[0.2, -0.4], [0.1, 0.3], [-0.5, 0.0]])
    knots = drift[:, :, None, None].expand(-1, -1, KNOTS, KNOTS)
    found = moved(images, affine(**still(3), aspect=height / width), knots)
    for i in range(3):
        across, down = float(drift[i, 0]) * width / 2, float(drift[i, 1]) * height / 2
        wanted = ndimage.shift(images[i].numpy(), (0, -down, -across), order=1, mode="nearest")
        np.testing.assert_allclose(found[i].numpy(), wanted, atol=0.01)


def test_elastic_is_smooth_and_differs_over_the_image() -> None:
    ramp = torch.arange(64.0).expand(8, 1, 64, 64) * 4
    found = Augmentation(elastic=0.05)(ramp, generator=generator())
    moves = (found - ramp)[..., 8:-8] / 4
    assert moves.abs().max() > 1
    assert moves.abs().max() <= 0.05 * 64 * 1.5
    assert (moves.amax(dim=(1, 2, 3)) - moves.amin(dim=(1, 2, 3)) > 1).all()
    assert moves.diff(dim=2).abs().max() < 0.6


def test_light_against_the_formula_pixel_by_pixel() -> None:
    images = pictures(height=4, width=3).float()
    brightness = numbers(6, -0.4, 0.4, seed=2)
    contrast, gamma = numbers(6, 0.4, 2.5, seed=3), numbers(6, 0.4, 2.5, seed=4)
    found = lit(images, brightness=brightness, contrast=contrast, gamma=gamma)
    for i in range(6):
        middle = images[i].mean().item()
        for place in np.ndindex(2, 4, 3):
            value = middle + contrast[i].item() * (images[i][place].item() - middle) + 255 * brightness[i].item()
            wanted = 255 * (min(max(value, 0), 255) / 255) ** gamma[i].item()
            assert found[i][place].item() == pytest.approx(wanted, abs=0.01)


def test_no_change_of_light_is_none() -> None:
    images, zero, one = pictures().float(), torch.zeros(6), torch.ones(6)
    torch.testing.assert_close(lit(images, brightness=zero, contrast=one, gamma=one), images, atol=1e-3, rtol=0)


def test_blur_against_scipy() -> None:
    images = pictures().float()
    sigma = torch.tensor([0.0, 0.3, 0.7, 1.0, 1.5, 2.0])
    found = blurred(images, sigma, radius=6)
    assert torch.equal(found[0], images[0])
    for i in range(1, 6):
        each = float(sigma[i])
        wanted = ndimage.gaussian_filter(images[i].numpy(), (0, each, each), mode="nearest", radius=(0, 6, 6))
        np.testing.assert_allclose(found[i].numpy(), wanted, atol=0.01)


def test_erasing_against_slices() -> None:
    images = pictures().float()
    places = torch.tensor([[0.0, 1.0, 0.5, 0.3, 0.0, 0.0], [0.0, 1.0, 0.5, 0.8, 0.0, 0.0]])
    sides = torch.tensor([[0.5, 0.3, 0.4, 0.2, 1.0, 0.0], [0.5, 0.5, 0.3, 0.6, 1.0, 0.7]])
    found = erased(images, places=places, sides=sides)
    for i in range(6):
        wanted = images[i].clone()
        (top, tall), (left, wide) = (
            (round(float(p) * (n - round(float(s) * n))), round(float(s) * n))
            for p, s, n in zip(places[:, i], sides[:, i], images.shape[2:], strict=True)
        )
        for channel in range(2):
            wanted[channel, top : top + tall, left : left + wide] = images[i, channel].mean()
        torch.testing.assert_close(found[i], wanted, atol=1e-3, rtol=0)


def test_the_erased_area_is_at_most_the_share() -> None:
    batch = torch.zeros(500, 1, 40, 50)
    batch[:, :, ::2] = 255
    found = Augmentation(erase=0.3)(batch, generator=generator())
    areas = (found != batch).float().mean(dim=(1, 2, 3))
    assert areas.max() <= 0.3 + 0.03
    assert abs(areas.mean() - 0.15) < 0.015


def test_strengths_bound_what_is_drawn() -> None:
    """A shift of a picture with one slope says how far it went."""
    ramp = torch.arange(100.0).expand(400, 1, 100, 100) * 2
    found = Augmentation(shift=0.1)(ramp, generator=generator())
    moves = (found - ramp)[:, 0, 50, 50] / 2
    assert moves.abs().max() <= 10.01
    assert moves.min() < -9
    assert moves.max() > 9
    assert abs(moves.mean()) < 4 * 10 / math.sqrt(3 * 400)


@pytest.mark.parametrize(("kind", "value"), [("blur", -1.0), ("flip", 1.5), ("rotation", math.nan)])
def test_a_strength_out_of_range_is_refused(kind: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{kind} is {value}, but must be from 0"):
        Augmentation(**{kind: value})


def test_other_samples_than_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"takes images .* given \(3, 40\)"):
        Augmentation(blur=1.0)(torch.zeros(3, 40), generator=generator())

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from likewise.data.augment_texts import LIMITS, TextAugmentation, closed_up, shortened

STRENGTHS: dict[str, Any] = {"cut": 0.4, "dropout": 0.2}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def texts(count: int = 8, length: int = 30, *, seed: int = 0) -> Tensor:
    """Texts of all lengths, in each of which every byte is another one than the next."""
    sizes = torch.randint(1, length + 1, (count, 1), generator=generator(seed))
    steps = torch.arange(length)
    return torch.where(steps < sizes, 1 + (steps * 7 + torch.arange(count)[:, None]) % 255, 0).to(torch.uint8)


def changed(batch: Tensor, *, seed: int = 0, **strengths: float) -> Tensor:
    return TextAugmentation(**strengths)(batch, generator=generator(seed))


def inside(row: Tensor) -> list[int]:
    """The bytes of a text, after which there are only zeros."""
    values: list[int] = row.tolist()
    size = sum(value != 0 for value in values)
    assert not any(values[size:])
    return values[:size]


def is_part(piece: list[int], whole: list[int]) -> bool:
    """Whether bytes of the whole can be left out so that the piece is left."""
    rest = iter(whole)
    return all(any(byte == other for other in rest) for byte in piece)


def test_off_is_the_batch_itself() -> None:
    for batch in (texts(), torch.zeros(3, 1, 28, 28)):
        assert TextAugmentation()(batch, generator=generator()) is batch
    assert TextAugmentation().off
    assert not any(TextAugmentation(**{name: value}).off for name, value in STRENGTHS.items())


def test_the_kinds_are_those_with_limits() -> None:
    assert [each.name for each in fields(TextAugmentation)] == list(LIMITS) == list(STRENGTHS)


@pytest.mark.parametrize("kind", STRENGTHS)
def test_each_kind_changes_a_copy(kind: str) -> None:
    batch = texts(40)
    before = batch.clone()
    found = changed(batch, **{kind: STRENGTHS[kind]})
    assert found.dtype == torch.uint8
    assert found.shape == batch.shape
    assert not torch.equal(found, batch)
    assert torch.equal(batch, before)
    assert not torch.equal(found, changed(batch, seed=1, **{kind: STRENGTHS[kind]}))


@given(
    st.fixed_dictionaries({name: st.floats(0, limit, width=32) for name, limit in LIMITS.items()}),
    st.integers(0, 100),
    st.integers(1, 30),
)
@settings(max_examples=60, deadline=None)
def test_something_of_each_text_is_left_in_its_order(strengths: dict[str, Any], seed: int, length: int) -> None:
    batch = texts(5, length, seed=seed)
    found = changed(batch, seed=seed, **strengths)
    assert torch.equal(found, changed(batch, seed=seed, **strengths))
    for old, new in zip(batch, found, strict=True):
        assert inside(new)
        assert is_part(inside(new), inside(old))


def test_texts_do_not_mix() -> None:
    batch = texts()
    other = batch.clone()
    other[3] = other[3].flip(0).sort(descending=True).values
    other[3, 0] = 77
    found, elsewhere = (changed(each, **STRENGTHS) for each in (batch, other))
    rows = [0, 1, 2, 4, 5, 6, 7]
    assert torch.equal(found[rows], elsewhere[rows])


def test_an_empty_text_stays_empty() -> None:
    empty = torch.zeros(3, 9, dtype=torch.uint8)
    assert torch.equal(changed(empty, cut=1.0, dropout=1.0), empty)


@given(st.integers(0, 100), st.integers(1, 30))
@settings(deadline=None)
def test_pieces_against_slices(seed: int, length: int) -> None:
    batch = texts(5, length, seed=seed)
    shares, places = torch.rand((2, 5), generator=generator(seed))
    found = shortened(batch, shares, places=places)
    for row in range(5):
        whole = inside(batch[row])
        lost = min(round(shares[row].item() * len(whole)), len(whole) - 1)
        start = round(places[row].item() * lost)
        assert inside(found[row]) == whole[start : start + len(whole) - lost]


def test_closing_up_against_a_loop() -> None:
    batch = texts()
    kept = torch.rand(batch.shape, generator=generator()) < 0.5
    found = closed_up(batch, kept)
    for row in range(8):
        left = [byte for byte, stays in zip(inside(batch[row]), kept[row].tolist(), strict=False) if stays]
        assert inside(found[row]) == left


def test_as_much_is_lost_as_is_drawn() -> None:
    batch = torch.full((500, 100), 65, dtype=torch.uint8)
    for kind, slack in (("cut", 0.01), ("dropout", 0.2)):
        strengths: dict[str, Any] = {kind: 0.4}
        shares = (changed(batch, **strengths) == 0).float().mean(dim=1)
        assert shares.max() <= 0.4 + slack
        assert abs(shares.mean() - 0.2) < 4 * 0.4 / math.sqrt(12 * 500)


def test_a_cut_takes_from_both_ends() -> None:
    batch = torch.arange(1, 101, dtype=torch.uint8).expand(300, -1)
    found = changed(batch, cut=0.5)
    before = found[:, 0].float() - 1
    after = 100 - found.max(dim=1).values.float()
    for lost in (before, after):
        assert lost.min() == 0
        assert lost.max() > 30
    assert abs(before.mean() - after.mean()) < 5


@pytest.mark.parametrize(("kind", "value"), [("cut", -0.1), ("dropout", 1.5), ("cut", math.nan)])
def test_a_strength_out_of_range_is_refused(kind: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{kind} is {value}, but must be from 0"):
        TextAugmentation(**{kind: value})


@pytest.mark.parametrize("batch", [torch.zeros(3, 1, 9, dtype=torch.uint8), torch.zeros(3, 9)])
def test_other_samples_than_texts_are_refused(batch: Tensor) -> None:
    with pytest.raises(ValueError, match=r"takes texts \(n, length\) of uint8, but was given torch"):
        changed(batch, cut=0.1)

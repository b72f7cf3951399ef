from __future__ import annotations

import pytest
import torch
from torch import nn

from likewise.learning.averaging import Average


def weights(*sizes: int) -> list[nn.Parameter]:
    draw = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(size, generator=draw)) for size in sizes]


def test_it_is_the_average_of_the_textbook() -> None:
    ours = weights(3, 5)
    average = Average(ours, decay=0.9)
    expected = [weight.detach().clone().double() for weight in ours]
    for step in range(1, 200):
        with torch.no_grad():
            for weight in ours:
                weight.add_(0.01 * step)
        average.update()
        decay = min(0.9, (1 + step) / (10 + step))
        expected = [decay * e + (1 - decay) * w.detach().double() for e, w in zip(expected, ours, strict=True)]
    with average.in_place():
        for weight, value in zip(ours, expected, strict=True):
            torch.testing.assert_close(weight.detach().double(), value, rtol=1e-5, atol=1e-5)


def test_the_weights_come_back_bit_for_bit_whatever_happens() -> None:
    (weight,) = ours = weights(4)
    average = Average(ours, decay=0.5)
    weight.data += 1
    average.update()
    before = weight.detach().clone()
    with pytest.raises(KeyError), average.in_place():
        assert not torch.equal(weight, before)
        raise KeyError
    assert torch.equal(weight, before)
    assert weight.requires_grad


def test_it_goes_on_where_its_state_was_taken() -> None:
    ours, theirs = weights(4), weights(4)
    one, other = Average(ours, decay=0.99), Average(theirs, decay=0.99)
    for _ in range(5):
        ours[0].data += 1
        one.update()
    theirs[0].data += 5
    other.restore(one.state())
    for average in (one, other):
        average.update()
    for mine, its in zip(one.state()["averages"], other.state()["averages"], strict=True):
        assert torch.equal(mine, its)


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_out_of_range_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match="at least 0 and below 1, and is"):
        Average(weights(1), decay=decay)

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from likewise.data.batches import Media
from likewise.learning import encoders
from likewise.learning.embedding import embed

PIXELS = np.random.default_rng(0).integers(0, 256, (50, 1, 8, 8), dtype=np.uint8)
MEDIA = Media(PIXELS, device=torch.device("cpu"))


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Recorder(nn.Module):
    """Gives the mean of each sample, and keeps what it was called with."""

    def __init__(self, broken: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.modes: set[tuple[bool, bool]] = set()
        self.broken = [PIXELS[row].mean() for row in broken]

    def forward(self, samples: Tensor) -> Tensor:
        self.sizes.append(len(samples))
        self.modes.add((self.training, torch.is_inference_mode_enabled()))
        means = samples.double().mean(dim=(1, 2, 3))
        means[torch.isin(means, torch.tensor(self.broken, dtype=torch.float64))] = torch.nan
        return means[:, None]


def test_rows_come_in_their_order_in_batches_of_the_size() -> None:
    recorder, rows = Recorder(), np.array([9, 3, 3, 49, 0, 12, 7])
    found = embed(recorder, MEDIA, rows, batch_size=3)
    assert recorder.sizes == [3, 3, 1]
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy()[:, 0], PIXELS[rows].mean(axis=(1, 2, 3)), rtol=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_the_encoder_is_in_evaluation_mode_and_left_as_it_was(training: bool) -> None:
    recorder = Recorder().train(training)
    embed(recorder, MEDIA, np.arange(5))
    assert recorder.modes == {(False, True)}
    assert recorder.training is training


def test_the_mode_is_restored_when_the_encoder_refuses() -> None:
    encoder = encoders.build("conv", (1, 9, 9), 4, width=8)
    with pytest.raises(ValueError, match="takes a batch"):
        embed(encoder, MEDIA, np.arange(5))
    assert encoder.training


@pytest.mark.parametrize("batch_size", [1, 7, 512])
def test_batches_decide_no_more_than_the_last_bits(batch_size: int) -> None:
    encoder = encoders.build("conv", (1, 8, 8), 4, width=8)
    with torch.no_grad():
        whole = encoder.eval()(torch.from_numpy(PIXELS))
    torch.testing.assert_close(embed(encoder, MEDIA, np.arange(50), batch_size=batch_size), whole, rtol=0, atol=1e-6)


def test_embeddings_can_be_learnt_from() -> None:
    found = embed(Recorder(), MEDIA, np.arange(5))
    weight = torch.ones(1, requires_grad=True)
    (found * weight).sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None


def test_what_is_not_finite_is_refused_and_counted() -> None:
    with pytest.raises(ValueError, match=r"2 of 50 embeddings are not finite.*lower train\.learning_rate"):
        embed(Recorder(broken=(4, 30)), MEDIA, np.arange(50), batch_size=16)


def test_no_rows_give_no_embeddings() -> None:
    found = embed(Recorder(), MEDIA, np.empty(0, dtype=np.int64))
    assert len(found) == 0
    assert found.ndim == 2

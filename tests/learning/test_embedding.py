from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
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

    def joined(self, means: Tensor) -> Tensor:
        return means


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


COUNTS = np.array([1, 30, 4, 1, 14])
SOUNDS = Media(PIXELS, np.concatenate([[0], np.cumsum(COUNTS)]), device=torch.device("cpu"))


@pytest.mark.parametrize("batch_size", [1, 7, 512])
@pytest.mark.parametrize("normalise", [True, False])
def test_a_sample_of_several_rows_has_the_mean_of_theirs(normalise: bool, batch_size: int) -> None:
    encoder = encoders.build("conv", (1, 8, 8), 4, width=8, normalise=normalise)
    samples = np.array([4, 0, 1, 3, 2, 4])
    with torch.no_grad():
        each = encoder.eval()(torch.from_numpy(PIXELS))
    parts = [each.split(COUNTS.tolist())[sample] for sample in samples]
    wanted = torch.stack([part.double().mean(dim=0).float() for part in parts])
    if normalise:
        wanted = F.normalize(wanted)
    found = embed(encoder, SOUNDS, samples, batch_size=batch_size)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)


def test_the_embedding_of_one_row_is_the_same_among_others() -> None:
    encoder = encoders.build("mlp", (1, 8, 8), 4, width=8)
    alone = embed(encoder, SOUNDS, np.array([0, 3]), batch_size=1)
    assert torch.equal(embed(encoder, SOUNDS, np.array([1, 0, 4, 3]), batch_size=1)[[1, 3]], alone)


def test_samples_and_not_rows_are_counted_where_they_are_not_finite() -> None:
    with pytest.raises(ValueError, match="1 of 5 embeddings are not finite"):
        embed(Recorder(broken=(4, 20)), SOUNDS, np.arange(5), batch_size=16)
    assert len(embed(Recorder(), SOUNDS, np.empty(0, dtype=np.int64))) == 0

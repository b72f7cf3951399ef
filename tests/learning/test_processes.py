from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from flows.servers import free_port
from likewise.data.augment import Augmentation
from likewise.data.batches import Media
from likewise.learning import encoders, losses, parts
from likewise.learning.feeds import ClassFeed
from likewise.learning.losses import LOSSES, Loss
from likewise.learning.memory import CrossBatchMemory
from likewise.learning.processes import ALONE, Processes
from likewise.learning.training import Epoch, Fit, Settings, Step

TWO = 2
LABELS = torch.arange(21) % 5
SAMPLES = torch.randint(0, 256, (21, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
PAIRS = losses.PairTuples(torch.tensor([0, 3, 20]), torch.tensor([5, 4, 10]), same=torch.tensor([1, 0, 1]))
NAMES = [*LOSSES, "contrastive of pairs", "triplet with a memory"]

Found = dict[str, Tensor]


def loss_of(name: str) -> Loss:
    base = losses.build(name.split()[0], classes=5, embedding=6)
    return (CrossBatchMemory(base, size=10, embedding=6) if "memory" in name else base).double()


def one_step(name: str, processes: Processes) -> Found:
    """Take the gradient of two batches by this process's share, in double precision."""
    network, loss = encoders.build("conv", (1, 8, 8), 6, width=8).double(), loss_of(name)
    tuples = PAIRS if "pairs" in name else None
    found: Found = {}
    share = processes.share(len(SAMPLES))
    for turn in range(2):
        weights = [*network.parameters(), *loss.parameters()]
        for weight in weights:
            weight.grad = None
        own, send_back = parts.embed(lambda x: wide(network, x), SAMPLES[share], parts=1)
        embeddings = processes.gather(own, len(SAMPLES)).requires_grad_()
        result = loss.measure(embeddings, (LABELS + turn) % 5, tuples)
        result.loss.backward()  # type: ignore[no-untyped-call]
        assert embeddings.grad is not None
        send_back(embeddings.grad[share])
        processes.add_gradients(network.parameters())
        found[f"{name}/{turn}/loss"] = result.loss.detach()
        found |= {f"{name}/{turn}/{place}": weight.grad.clone() for place, weight in enumerate(weights)}  # type: ignore[union-attr]
    return found


def wide(network: encoders.Encoder, samples: Tensor) -> Tensor:
    """The encoder without the cast to single precision at its end."""
    standard = (samples.double() - network.mean) / network.std
    found: Tensor = nn.functional.normalize(network.head(network.backbone(standard)))
    return found


def pictures() -> np.ndarray[Any, Any]:
    draw = np.random.default_rng(0)
    means = draw.uniform(70, 180, (4, 1, 6, 6))
    return np.clip(draw.normal(means[np.repeat(np.arange(4), 12)], 50), 0, 255).astype(np.uint8)


def trained(processes: Processes, *, rotations: int = 1, windows: int = 1, **changes: Any) -> Found:
    """Train for two epochs; the val EER is each process's number, so that agreeing on the first's shows."""
    labels = np.repeat(np.arange(4), 12)
    rows = np.concatenate([np.roll(pictures(), shift, axis=3) for shift in range(windows)])
    order = np.arange(len(rows)).reshape(windows, -1).T.ravel()
    media = Media(rows[order], np.arange(49) * windows, device=torch.device("cpu"))
    fit = Fit(
        encoders.build("conv", media.shape, 8, width=8),
        losses.build("arcface", classes=4 * rotations, embedding=8, scale=8.0),
        ClassFeed(np.arange(48), labels, classes_per_batch=3, samples_per_class=3, seed=0, rotations=rotations),
        media,
        validate=lambda _: float(processes.rank) + 0.25,
        settings=Settings(
            epochs=2,
            optimizer="sgd",
            learning_rate=0.05,
            weight_decay=0.001,
            schedule="constant",
            keep="last",
            patience=0,
            clip=1.0,
            precision="fp32",
            seed=0,
            **changes,
        ),
        processes=processes,
    )
    records = list(fit.run())
    history = [[r.loss, r.val_eer, r.zero_loss_share, r.gradient_norm] for r in records if isinstance(r, Epoch)]
    steps = [record.loss for record in records if isinstance(record, Step)]
    return {**fit.encoder.state_dict(), "history": torch.tensor(history), "steps": torch.stack(steps)}


def work(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=TWO)
    processes = Processes.joined()
    found: Found = {}
    for name in NAMES:
        found |= one_step(name, processes)
    found |= {f"fit/{key}": value for key, value in trained(processes).items()}
    found |= {f"parts/{key}": value for key, value in trained(processes, accumulate=2).items()}
    found |= {f"turned/{key}": value for key, value in trained(processes, rotations=4).items()}
    found |= {f"windows/{key}": value for key, value in trained(processes, windows=3).items()}
    drawn = trained(processes, augment=Augmentation(shift=0.2))
    found |= {f"drawn/{key}": value for key, value in drawn.items()}
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Found, Found]:
    """What two processes found, each by itself."""
    folder = tmp_path_factory.mktemp("processes")
    spawn(work, (free_port(), str(folder)), nprocs=TWO)  # type: ignore[no-untyped-call]
    first, second = (torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(TWO))
    return first, second


@pytest.mark.parametrize("name", NAMES)
def test_loss_and_gradient_of_two_processes_are_those_of_one(name: str, both: tuple[Found, Found]) -> None:
    alone = one_step(name, ALONE)
    assert any(bool(value.any()) for key, value in alone.items() if not key.endswith("loss"))
    for found in both:
        for key, value in alone.items():
            torch.testing.assert_close(found[key], value, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", ["fit", "parts", "turned", "windows"])
def test_a_training_by_two_processes_is_that_of_one(kind: str, both: tuple[Found, Found]) -> None:
    alone = trained(ALONE, rotations=4 if kind == "turned" else 1, windows=3 if kind == "windows" else 1)
    for found in both:
        for key, value in alone.items():
            torch.testing.assert_close(found[f"{kind}/{key}"], value, rtol=1e-4, atol=1e-5)


def test_all_processes_end_with_the_same_bits(both: tuple[Found, Found]) -> None:
    first, second = both
    assert list(first) == list(second)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_each_process_draws_changes_of_its_own(both: tuple[Found, Found]) -> None:
    assert not torch.equal(both[0]["drawn/steps"], both[0]["fit/steps"])


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [7, 8, 23])
def test_shares_are_even_and_make_up_the_batch(size: int, count: int) -> None:
    shares = [Processes(rank, size).share(count) for rank in range(size)]
    assert [row for share in shares for row in range(count)[share]] == list(range(count))
    lengths = [share.stop - share.start for share in shares]
    assert max(lengths) - min(lengths) <= 1
    assert max(lengths) == -(-count // size)


def test_a_batch_smaller_than_the_group_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"a batch of 2 samples cannot be shared by 3 processes; use another train\.batch_size"
    ):
        Processes(0, 3).share(2)


def test_alone_there_is_nothing_to_send() -> None:
    assert Processes.joined() == ALONE
    x = torch.ones(3, 2, requires_grad=True)
    assert not ALONE.gather(x, 3).requires_grad
    weight = nn.Parameter(torch.ones(2))
    weight.grad = torch.full((2,), 3.0)
    ALONE.add_gradients([weight])
    assert weight.grad.tolist() == [3.0, 3.0]
    assert ALONE.agreed(0.5, torch.device("cpu")) == 0.5

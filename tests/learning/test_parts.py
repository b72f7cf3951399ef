from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from likewise.learning import encoders, losses
from likewise.learning.parts import embed

LABELS = torch.arange(24) // 4


def gradients(network: nn.Module, encode: Callable[[Tensor], Tensor], samples: Tensor, parts: int) -> list[Tensor]:
    network.zero_grad()
    embeddings, send_back = embed(encode, samples, parts=parts)
    assert not embeddings.requires_grad
    embeddings.requires_grad_()
    losses.TripletLoss(margin=0.5)(embeddings, LABELS).backward()
    assert embeddings.grad is not None
    send_back(embeddings.grad)
    return [weight.grad.clone() for weight in network.parameters() if weight.grad is not None]


def samples() -> Tensor:
    return torch.randint(0, 256, (24, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize("parts", [1, 2, 5, 24, 100])
@pytest.mark.parametrize("name", ["conv", "vit"])
def test_the_gradient_is_that_of_the_whole_batch(name: str, parts: int) -> None:
    network = encoders.build(name, (1, 8, 8), 16, width=16).double()
    network.zero_grad()
    losses.TripletLoss(margin=0.5)(network(samples()), LABELS).backward()
    expected = [weight.grad.clone() for weight in network.parameters() if weight.grad is not None]
    found = gradients(network, network, samples(), parts)
    assert any(bool(gradient.any()) for gradient in expected)
    for ours, plain in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-6, atol=1e-9)


def test_memory_is_that_of_a_part() -> None:
    kept = 0
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2), nn.ReLU(), nn.Linear(2, 4))

    def pack(tensor: Tensor) -> Tensor:
        nonlocal kept
        if tensor.ndim == 2 and tensor.shape[1] == 64:
            kept = max(kept, len(tensor))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        gradients(network, lambda x: network(x.float()), samples(), 6)
    assert kept == 4


def test_what_is_drawn_is_drawn_alike_in_both_passes() -> None:
    seen: list[Tensor] = []
    dropout = nn.Dropout(0.5)
    network = nn.Linear(64, 4)

    def encode(batch: Tensor) -> Tensor:
        dropped = dropout(batch.flatten(1).float())
        seen.append(dropped)
        found: Tensor = network(dropped)
        return found

    torch.manual_seed(3)
    gradients(network, encode, samples(), 3)
    first, again = seen[:3], seen[3:]
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert not torch.equal(first[0] == 0, first[1] == 0)
    after = torch.rand(1)
    torch.manual_seed(3)
    for _ in range(3):
        dropout(torch.ones(8, 64))
    assert torch.equal(torch.rand(1), after)

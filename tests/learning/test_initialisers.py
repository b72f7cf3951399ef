from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from likewise.learning import initialisers
from likewise.learning.encoders import build
from likewise.learning.initialisers import INITIALISERS, layer_statistics

NAMES = sorted(INITIALISERS)
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(300, 200),
    "conv1d": lambda: nn.Conv1d(40, 60, 5),
    "conv2d": lambda: nn.Conv2d(30, 60, 3),
}


def drawn(layer: nn.Module, name: str, *, seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    initialisers.apply(layer, name, seed=seed)
    weight = layer.get_parameter("weight").detach()
    return weight.reshape(len(weight), -1).double().numpy()


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(
    ("name", "variance"),
    [
        ("default", lambda inward, outward: 1 / (3 * inward)),
        ("kaiming", lambda inward, outward: 2 / inward),
        ("xavier", lambda inward, outward: 2 / (inward + outward)),
        ("truncated_normal", lambda inward, outward: 0.02**2 * 0.7737),
    ],
)
def test_variance_is_the_formula(layer: str, name: str, variance: Callable[[int, int], float]) -> None:
    module = LAYERS[layer]()
    weights = drawn(module, name)
    kernel = module.get_parameter("weight")[0, 0].numel()
    assert weights.var() == pytest.approx(variance(weights.shape[1], len(weights) * kernel), rel=0.05)
    assert abs(weights.mean()) < 4 * weights.std() / math.sqrt(weights.size)


@pytest.mark.parametrize("name", ["default", "xavier", "truncated_normal"])
def test_bounded_schemes_keep_their_bound(name: str) -> None:
    bounds = {"default": 1 / math.sqrt(300), "xavier": math.sqrt(6 / 500), "truncated_normal": 0.04}
    largest = np.abs(drawn(nn.Linear(300, 200), name)).max()
    assert 0.99 * bounds[name] < largest <= bounds[name] * (1 + 1e-6)


@pytest.mark.parametrize("layer", LAYERS)
def test_orthogonal_rows_or_columns(layer: str) -> None:
    weights = drawn(LAYERS[layer](), "orthogonal")
    short = weights if len(weights) <= weights.shape[1] else weights.T
    np.testing.assert_allclose(short @ short.T, 2 * np.eye(len(short)), atol=1e-5)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "default"])
def test_biases_start_at_zero(name: str) -> None:
    layer = nn.Linear(3, 4)
    initialisers.apply(layer, name)
    assert torch.equal(layer.bias, torch.zeros(4))


def test_default_is_what_pytorch_draws() -> None:
    torch.manual_seed(7)
    expected = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Linear(6, 2))
    module = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Linear(6, 2))
    initialisers.apply(module, "default", seed=7)
    for left, right in zip(module.parameters(), expected.parameters(), strict=True):
        assert torch.equal(left, right)


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_decides_the_bits_and_global_state_stays(name: str) -> None:
    layer = nn.Linear(20, 10)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one = drawn(layer, name, seed=1).copy()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    assert not np.array_equal(one, drawn(layer, name, seed=2))
    assert np.array_equal(one, drawn(layer, name, seed=1))


def test_norms_and_counts_are_reset() -> None:
    norm = nn.BatchNorm1d(3)
    nn.init.constant_(norm.weight, 5.0)
    norm(torch.randn(4, 3))
    initialisers.apply(norm, "kaiming")
    assert torch.equal(norm.weight, torch.ones(3))
    assert norm.num_batches_tracked == 0


class _Bare(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(3))


def test_a_layer_that_cannot_be_reset_is_refused_and_the_generator_put_back() -> None:
    network = nn.Sequential(nn.Linear(2, 2), _Bare())
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match=r"1 \(_Bare\) holds parameters but has no reset_parameters\(\)"):
        initialisers.apply(network, "kaiming")
    assert torch.equal(torch.get_rng_state(), before)


def test_parameters_elsewhere_than_on_the_cpu_are_refused() -> None:
    with pytest.raises(ValueError, match="weight is on meta; initialise on the CPU"):
        initialisers.apply(nn.Linear(2, 2, device="meta"), "kaiming")


def test_unknown_name_lists_the_known_ones_nearest_first() -> None:
    with pytest.raises(ValueError, match="unknown initialiser 'orthogonl'; known: orthogonal, "):
        initialisers.apply(nn.Linear(2, 2), "orthogonl")


def test_statistics_equal_a_calculation_by_hand() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    batch = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    records = layer_statistics(network, batch, lambda output: output.square().sum() / 2)
    first, second, last = (x.detach().numpy() for x in _steps(network, batch))
    # Of half the sum of squares: the output itself, then back through the weights and the ReLU.
    back = last @ network.get_parameter("2.weight").detach().numpy()
    gradients = [back * (first > 0), back, last]
    assert [record.layer for record in records] == ["0", "1", "2"]
    for record, output, gradient in zip(records, (first, second, last), gradients, strict=True):
        expected = (output.mean(), output.var(), gradient.mean(), gradient.var())
        assert record[1:] == pytest.approx(expected, rel=1e-9)


def _steps(network: nn.Sequential, batch: Tensor) -> list[Tensor]:
    outputs = [batch]
    for layer in network:
        outputs.append(layer(outputs[-1]))
    return outputs[1:]


def test_statistics_leave_no_trace() -> None:
    encoder = build("conv", (1, 8, 8), 4, width=8, norm="batch").train()
    encoder(torch.rand(3, 1, 8, 8)).sum().backward()
    state = {key: value.clone() for key, value in encoder.state_dict().items()}
    gradients = [parameter.grad.clone() for parameter in encoder.parameters() if parameter.grad is not None]
    layer_statistics(encoder, torch.rand(3, 1, 8, 8), lambda embeddings: embeddings.sum())
    assert all(torch.equal(value, state[key]) for key, value in encoder.state_dict().items())
    kept = [parameter.grad for parameter in encoder.parameters()]
    assert all(left is not None and torch.equal(left, right) for left, right in zip(kept, gradients, strict=True))
    assert encoder.training
    assert _hooks(encoder) == 0


def test_hooks_go_even_when_the_loss_fails() -> None:
    encoder = build("mlp", (3,), 2, width=4)

    def broken(embeddings: Tensor) -> Tensor:
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        layer_statistics(encoder, torch.rand(2, 3), broken)
    assert _hooks(encoder) == 0


def _hooks(module: nn.Module) -> int:
    return sum(len(layer._forward_hooks) + len(layer._backward_hooks) for layer in module.modules())


def test_without_a_loss_there_are_no_gradients() -> None:
    records = layer_statistics(build("mlp", (3,), 2, width=4), torch.rand(2, 3))
    assert [record.layer for record in records][-1] == "head"
    assert all(math.isnan(record.gradient_mean) and math.isnan(record.gradient_var) for record in records)
    assert all(math.isfinite(record.activation_var) for record in records)


def test_a_frozen_layer_has_no_gradient_and_a_shared_one_two_records() -> None:
    shared = nn.ReLU()
    network = nn.Sequential(nn.Linear(3, 3), shared, nn.Linear(3, 3), shared)
    network[0].requires_grad_(False)
    records = layer_statistics(network, torch.rand(4, 3), lambda output: output.sum())
    assert [record.layer for record in records] == ["0", "1", "2", "1"]
    assert [math.isnan(record.gradient_var) for record in records] == [True, True, False, False]


def test_a_loss_that_is_no_scalar_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the shape \(2, 2\), but must be a scalar"):
        layer_statistics(build("mlp", (3,), 2, width=4), torch.rand(2, 3), lambda embeddings: embeddings)


def test_kaiming_keeps_the_variance_of_a_deep_network_and_truncated_normal_loses_it() -> None:
    network = build("mlp", (64,), 2, initialiser="kaiming", depth=8, width=128)
    batch = torch.randn(256, 64, generator=torch.Generator().manual_seed(0))

    def last_hidden(name: str) -> float:
        initialisers.apply(network, name)
        return layer_statistics(network, batch)[-2].activation_var

    assert 0.2 < last_hidden("kaiming") < 5
    assert last_hidden("truncated_normal") < 1e-3

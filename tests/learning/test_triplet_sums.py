from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from likewise.distances import Euclidean
from likewise.learning import row_blocks, triplet_sums
from likewise.learning.triplet_sums import Classmates, classmates, hinge, semihard, softplus, triplet_count

Sum = Callable[..., tuple[Tensor, Tensor]]


def hinge_cost(near: float, far: float, margin: float) -> tuple[float, float, bool]:
    return max(0.0, near - far + margin), float(far < near + margin), far < near + margin


def semihard_cost(near: float, far: float, margin: float) -> tuple[float, float, bool]:
    inside = near < far < near + margin
    return (near - far + margin) * inside, float(inside), inside


def softplus_cost(near: float, far: float, margin: float) -> tuple[float, float, bool]:
    gap = near - far + margin
    return math.log1p(math.exp(gap)), 1 / (1 + math.exp(-gap)), True


KINDS: dict[str, tuple[Sum, Callable[[float, float, float], tuple[float, float, bool]]]] = {
    "hinge": (hinge, hinge_cost),
    "semihard": (semihard, semihard_cost),
    "softplus": (softplus, softplus_cost),
}


def triple_loop(
    distances: Tensor, labels: list[int], references: list[int], itself: list[int], margin: float, kind: str
) -> tuple[float, int, Tensor, int]:
    """The definition, in Python floats: sum, active count, gradient, number of valid triplets."""
    cost, total, active, valid = KINDS[kind][1], 0.0, 0, 0
    gradient = torch.zeros(distances.shape, dtype=torch.float64)
    for a, label in enumerate(labels):
        positives = [j for j, other in enumerate(references) if other == label and j != itself[a]]
        negatives = [j for j, other in enumerate(references) if other != label]
        for p in positives:
            for n in negatives:
                value, slope, counts = cost(float(distances[a, p]), float(distances[a, n]), margin)
                total, active, valid = total + value, active + counts, valid + 1
                gradient[a, p] += slope
                gradient[a, n] -= slope
    return total, active, gradient, valid


def check(
    distances: Tensor, mates: Classmates, expected: tuple[float, int, Tensor, int], margin: float, kind: str
) -> None:
    leaf = distances.clone().requires_grad_()
    total, active = KINDS[kind][0](leaf, mates, margin=margin)
    (gradient,) = torch.autograd.grad(total, leaf)
    assert total.item() == pytest.approx(expected[0], rel=1e-6, abs=1e-6)
    assert active.item() == expected[1]
    torch.testing.assert_close(gradient.double(), expected[2], rtol=1e-6, atol=1e-6)
    assert triplet_count(mates).item() == expected[3]


eighths = st.integers(0, 16).map(lambda value: value / 8)


@st.composite
def square_cases(draw: st.DrawFn) -> tuple[Tensor, list[int], float]:
    """Labels of any class sizes, and distances on a coarse grid, so that ties with the margin are common."""
    labels = draw(st.lists(st.integers(-1, 3), min_size=1, max_size=9))
    size = len(labels)
    flat = draw(st.lists(eighths, min_size=size * size, max_size=size * size))
    return torch.tensor(flat).reshape(size, size), labels, draw(eighths)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("few", [0, 16])
@given(case=square_cases(), block=st.sampled_from([1, 7, 2**20]))
@settings(max_examples=60, deadline=None)
def test_equals_the_triple_loop_on_ties_and_any_class_sizes(
    case: tuple[Tensor, list[int], float], block: int, kind: str, few: int
) -> None:
    distances, labels, margin = case
    itself = list(range(len(labels)))
    expected = triple_loop(distances, labels, labels, itself, margin, kind)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(triplet_sums, "_FEW_BOUNDS", few)
        patch.setattr(row_blocks, "BLOCK_ELEMENTS", block)
        check(distances, classmates(torch.tensor(labels)), expected, margin, kind)
        check(distances.double(), classmates(torch.tensor(labels)), expected, margin, kind)


@pytest.mark.parametrize("kind", KINDS)
@given(
    labels=st.lists(st.integers(0, 2), min_size=1, max_size=6),
    references=st.lists(st.integers(0, 3), min_size=1, max_size=8),
    seed=st.integers(0, 10**6),
    margin=st.floats(0, 2),
)
@settings(max_examples=50, deadline=None)
def test_equals_the_triple_loop_against_a_memory(
    labels: list[int], references: list[int], seed: int, margin: float, kind: str
) -> None:
    draw = torch.Generator().manual_seed(seed)
    distances = torch.rand(len(labels), len(references), generator=draw, dtype=torch.float64) * 2
    # Some anchors are in the memory themselves, at the first reference of their class.
    places = [references.index(label) if label in references else -1 for label in labels]
    itself = [
        place if bit else -1 for place, bit in zip(places, torch.rand(len(labels), generator=draw) < 0.5, strict=True)
    ]
    mates = classmates(torch.tensor(labels), torch.tensor(references), torch.tensor(itself))
    check(distances, mates, triple_loop(distances, labels, references, itself, margin, kind), margin, kind)


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([1e-3, 1.0, 1e3]), margin=st.sampled_from([0.0, 0.1, 1e-9]))
@settings(max_examples=25, deadline=None)
def test_equals_the_triple_loop_in_single_precision(seed: int, scale: float, margin: float, kind: str) -> None:
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (24,), generator=draw)
    distances = torch.rand(24, 24, generator=draw) * scale
    wide = distances.double()
    # The bound is rounded to the distances' precision: the oracle takes it so, too, through its positives.
    rounded = (distances + margin).double()
    leaf = distances.clone().requires_grad_()
    total, active = KINDS[kind][0](leaf, classmates(labels), margin=margin)
    same = labels[:, None] == labels
    valid = (same & ~torch.eye(24, dtype=torch.bool))[:, :, None] & ~same[:, None, :]
    gap = rounded[:, :, None] - wide[:, None, :]
    chosen = {"hinge": gap > 0, "semihard": (gap > 0) & (wide[:, :, None] < wide[:, None, :]), "softplus": gap > -1e9}
    costs = torch.logaddexp(gap, torch.zeros_like(gap)) if kind == "softplus" else gap
    assert active.item() == (chosen[kind] & valid).sum().item()
    assert total.item() == pytest.approx((costs * (chosen[kind] & valid)).sum().item(), rel=2e-6, abs=2e-6 * scale)


@pytest.mark.parametrize("kind", KINDS)
def test_large_classes_take_the_search_and_agree_with_a_cube(kind: str) -> None:
    draw = torch.Generator().manual_seed(3)
    labels = torch.cat(
        [torch.zeros(60, dtype=torch.int64), torch.arange(1, 20).repeat_interleave(3), torch.tensor([99])]
    )
    labels = labels[torch.randperm(len(labels), generator=draw)]
    distances = torch.rand(len(labels), len(labels), generator=draw, dtype=torch.float64)
    leaf, cube_leaf = distances.clone().requires_grad_(), distances.clone().requires_grad_()
    total, active = KINDS[kind][0](leaf, classmates(labels), margin=0.15)
    same = labels[:, None] == labels
    valid = (same & ~torch.eye(len(labels), dtype=torch.bool))[:, :, None] & ~same[:, None, :]
    gap = (cube_leaf[:, :, None] - cube_leaf[:, None, :] + 0.15)[valid]
    kept = {"hinge": gap > 0, "semihard": (gap > 0) & (gap < 0.15), "softplus": gap > -9}[kind]
    costs = torch.nn.functional.softplus(gap) if kind == "softplus" else gap
    expected = costs[kept].sum()
    assert active.item() == kept.sum().item()
    torch.testing.assert_close(total, expected, rtol=1e-10, atol=0)
    torch.testing.assert_close(
        *torch.autograd.grad(total, leaf), *torch.autograd.grad(expected, cube_leaf), rtol=1e-9, atol=1e-9
    )


def test_gradient_is_the_derivative() -> None:
    labels = torch.tensor([0, 1, 0, 1, 0, 2])
    distances = torch.rand(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    for kind in KINDS:
        assert torch.autograd.gradcheck(
            lambda leaf, total=KINDS[kind][0]: total(leaf, classmates(labels), margin=0.3)[0], (distances,)
        )


def test_order_of_rows_does_not_matter() -> None:
    draw = torch.Generator().manual_seed(1)
    x, labels = torch.randn(50, 8, generator=draw), torch.randint(0, 9, (50,), generator=draw)
    order = torch.randperm(50, generator=draw)
    for kind, (total, _) in KINDS.items():
        plain = total(Euclidean().pairwise(x), classmates(labels), margin=1.0)
        moved = total(Euclidean().pairwise(x[order]), classmates(labels[order]), margin=1.0)
        torch.testing.assert_close(plain[0], moved[0], rtol=1e-6, atol=0, msg=kind)
        assert plain[1] == moved[1]


@pytest.mark.parametrize("labels", [[0], [0, 0, 0], [0, 1, 2], []])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_to_learn_is_zero_with_a_zero_gradient(labels: list[int], kind: str) -> None:
    leaf = torch.rand(len(labels), len(labels), requires_grad=True)
    total, active = KINDS[kind][0](leaf, classmates(torch.tensor(labels, dtype=torch.int64)), margin=0.5)
    total.backward()  # type: ignore[no-untyped-call]
    assert (total.item(), active.item()) == (0, 0)
    assert leaf.grad is not None
    assert not leaf.grad.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_single(dtype: torch.dtype) -> None:
    labels = torch.arange(40) % 5
    distances = torch.rand(40, 40, generator=torch.Generator().manual_seed(2)).to(dtype)
    leaf = distances.clone().requires_grad_()
    total, active = hinge(leaf, classmates(labels), margin=0.25)
    expected, count = hinge(distances.float(), classmates(labels), margin=0.25)
    total.backward()  # type: ignore[no-untyped-call]
    assert total.dtype == torch.float32
    assert torch.equal(total, expected)
    assert torch.equal(active, count)
    assert leaf.grad is not None
    assert leaf.grad.dtype == dtype


def test_same_input_same_bits() -> None:
    labels = torch.arange(600) % 20
    distances = torch.rand(600, 600, generator=torch.Generator().manual_seed(4))
    assert torch.equal(
        hinge(distances, classmates(labels), margin=0.1)[0], hinge(distances, classmates(labels), margin=0.1)[0]
    )


def test_a_second_derivative_is_refused() -> None:
    leaf = torch.rand(4, 4, requires_grad=True)
    total, _ = hinge(leaf, classmates(torch.tensor([0, 0, 1, 1])), margin=0.5)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(total, leaf, create_graph=True)


def test_a_matrix_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"3 anchors and 3 references.*\(3, 4\)"):
        hinge(torch.rand(3, 4), classmates(torch.tensor([0, 0, 1])), margin=0.5)


def test_no_cube_of_triplets_is_ever_held(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    original = torch.searchsorted

    def spy(*args: Any, **options: Any) -> Tensor:
        sizes.append(args[1].numel())
        return original(*args, **options)

    monkeypatch.setattr(torch, "searchsorted", spy)
    monkeypatch.setattr(row_blocks, "BLOCK_ELEMENTS", 3000)
    hinge(torch.rand(300, 300), classmates(torch.arange(300) % 10), margin=0.1)
    assert max(sizes) <= 3000

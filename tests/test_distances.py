from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from torch import Tensor

from likewise import distances
from likewise.distances import DISTANCES, Cosine, Distance, Euclidean, Manhattan, SquaredEuclidean, build

SCIPY = {
    "euclidean": "euclidean",
    "squared_euclidean": "sqeuclidean",
    "cosine": "cosine",
    "manhattan": "cityblock",
}
EVERY = pytest.mark.parametrize("distance", [kind() for kind in DISTANCES.values()], ids=list(DISTANCES))


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def oracle(distance: Distance, x: Tensor, y: Tensor) -> Tensor:
    return torch.from_numpy(cdist(x.double().numpy(), y.double().numpy(), SCIPY[distance.name]))


@EVERY
@pytest.mark.parametrize(("n", "m", "d"), [(1, 1, 1), (5, 7, 3), (300, 260, 17)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_matrix_equals_scipys(distance: Distance, n: int, m: int, d: int, dtype: torch.dtype) -> None:
    x, y = draw(n, d, dtype=dtype), draw(m, d, seed=1, dtype=dtype)
    tolerance = 1e-6 if dtype == torch.float32 else 1e-13
    for left, right, given_right in ((x, y, y), (x, x, None)):
        result = distance.pairwise(left, given_right)
        assert result.dtype == dtype
        torch.testing.assert_close(result.double(), oracle(distance, left, right), rtol=tolerance, atol=tolerance)


@EVERY
def test_the_matrix_with_itself_is_symmetric_with_a_zero_diagonal(distance: Distance) -> None:
    x = draw(300, 33)
    matrix = distance.pairwise(x)
    assert torch.equal(matrix, matrix.mT)
    assert torch.equal(matrix.diagonal(), torch.zeros(300))
    assert (matrix + torch.eye(300) > 0).all()


@EVERY
def test_paired_is_the_diagonal_of_the_matrix(distance: Distance) -> None:
    x, y = draw(40, 6), draw(40, 6, seed=1)
    torch.testing.assert_close(distance.paired(x, y), distance.pairwise(x, y).diagonal())
    torch.testing.assert_close(distance.paired(x, y).double(), oracle(distance, x, y).diagonal())


@EVERY
@given(rows=st.integers(1, 12), width=st.integers(1, 5), seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_the_order_of_rows_does_not_matter(distance: Distance, rows: int, width: int, seed: int) -> None:
    x = draw(rows, width, seed=seed)
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(distance.pairwise(x[order]), distance.pairwise(x)[order][:, order], rtol=1e-6, atol=1e-6)


@EVERY
@pytest.mark.parametrize("itself", [True, False])
def test_gradients_pass_gradcheck(distance: Distance, itself: bool) -> None:
    x = draw(5, 3, dtype=torch.float64).requires_grad_()
    y = draw(4, 3, seed=1, dtype=torch.float64).requires_grad_()
    if itself:
        # The diagonal has a kink that a finite difference would step over.
        apart = ~torch.eye(5, dtype=torch.bool)
        assert torch.autograd.gradcheck(lambda z: distance.pairwise(z)[apart], (x,))
    else:
        assert torch.autograd.gradcheck(distance.pairwise, (x, y))
    assert torch.autograd.gradcheck(distance.paired, (x[:4], y))


@EVERY
def test_blocks_and_tiles_change_nothing(distance: Distance, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, weight = draw(23, 3, dtype=torch.float64), draw(30, 3, seed=1, dtype=torch.float64), draw(23, 30)

    def everything() -> list[Tensor]:
        left, right = x.clone().requires_grad_(), y.clone().requires_grad_()
        across, itself = distance.pairwise(left, right), distance.pairwise(left)
        loss = (across * weight).sum() + (itself * weight[:, :23]).sum()
        return [across, itself, *torch.autograd.grad(loss, (left, right))]

    whole = everything()
    monkeypatch.setattr(distances, "_BLOCK", 70)
    monkeypatch.setattr(distances, "_TILE", 5)
    for found, expected in zip(everything(), whole, strict=True):
        torch.testing.assert_close(found, expected)


def test_tiles_are_small_in_a_processors_cache_and_few_on_a_gpu() -> None:
    assert len(list(distances._upper_tiles(torch.empty(600, 1)))) == 6
    assert len(list(distances._upper_tiles(torch.empty(4096, 1, device="meta")))) == 1


@EVERY
def test_gradients_of_the_matrix_are_those_of_its_pairs(distance: Distance) -> None:
    x, y, weight = draw(30, 3), draw(50, 3, seed=1), draw(30, 50, seed=2)
    left, right = x.clone().requires_grad_(), y.clone().requires_grad_()
    matrix = (distance.pairwise(left, right) * weight).sum()
    rows, columns = torch.arange(30).repeat_interleave(50), torch.arange(50).repeat(30)
    pairs = (distance.paired(left[rows], right[columns]) * weight.flatten()).sum()
    found, expected = (torch.autograd.grad(loss, (left, right)) for loss in (matrix, pairs))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@EVERY
def test_the_gradient_with_itself_counts_both_sides(distance: Distance) -> None:
    x, weight = draw(40, 4).requires_grad_(), draw(40, 40, seed=1)
    alone = torch.autograd.grad((distance.pairwise(x) * weight).sum(), x)
    twice = torch.autograd.grad((distance.pairwise(x, x) * weight).sum(), x)
    torch.testing.assert_close(alone, twice, rtol=1e-5, atol=1e-5)


@EVERY
@pytest.mark.parametrize("width", [1, 3, 128, 2048])
def test_duplicates_are_at_zero_with_a_zero_gradient(distance: Distance, width: int) -> None:
    row = draw(1, width)
    x, y = row.repeat(6, 1).requires_grad_(), row.repeat(4, 1).requires_grad_()
    for result in (distance.pairwise(x), distance.pairwise(x, y), distance.paired(x[:4], y)):
        assert torch.equal(result, torch.zeros_like(result))
        for grad in torch.autograd.grad(result.sum(), (x, y), allow_unused=True):
            assert grad is None or grad.abs().max() < 1e-15


@EVERY
def test_zero_vectors_have_finite_gradients(distance: Distance) -> None:
    x = torch.cat([torch.zeros(2, 3), draw(2, 3)]).requires_grad_()
    y = torch.cat([torch.zeros(1, 3), draw(3, 3, seed=1)]).requires_grad_()
    for result in (distance.pairwise(x), distance.pairwise(x, y), distance.paired(x, y)):
        for grad in torch.autograd.grad(result.sum(), (x, y), allow_unused=True):
            assert grad is None or grad.isfinite().all()


def test_a_zero_vector_has_no_direction() -> None:
    x = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 2.0], [1e-20, 0.0]], requires_grad=True)
    expected = torch.tensor([[0.0, 0, 1, 0], [0, 0, 1, 0], [1, 1, 0, 1], [0, 0, 1, 0]])
    assert torch.equal(Cosine().pairwise(x), expected)
    assert torch.equal(Cosine().pairwise(x, x), expected)
    paired = Cosine().paired(x, x.detach().flip(0))
    assert torch.equal(paired, expected.flip(1).diagonal())
    for result in (Cosine().pairwise(x), paired):
        (grad,) = torch.autograd.grad(result.sum(), x, retain_graph=True)
        assert torch.equal(grad[[0, 1, 3]], torch.zeros(3, 2))
        assert grad.abs().max() < 1e-15


@pytest.mark.parametrize("gap", [1e-2, 1e-3, 1e-4])
@pytest.mark.parametrize("offset", [0.0, 10.0])
def test_near_duplicates_keep_their_digits(gap: float, offset: float) -> None:
    base = torch.nn.functional.normalize(draw(64, 128, dtype=torch.float64)) + offset
    step = torch.nn.functional.normalize(draw(64, 128, seed=1, dtype=torch.float64)) * gap
    x, y = base.float(), (base + step).float()
    truth = oracle(Euclidean(), x, y).diagonal()
    # Double precision leaves eps |x|^2 / d^2 of the squared distance.
    rounding = 1e-7 + 8 * torch.finfo(torch.float64).eps * (x.norm(dim=1).max().item() / gap) ** 2
    found = Euclidean().pairwise(x, y).diagonal().double()
    assert ((found - truth).abs() / truth).max() < rounding
    if not offset:
        angles = Cosine().pairwise(x, y).diagonal().double()
        expected = Cosine().paired(x.double(), y.double())
        assert ((angles - expected).abs() / expected).max() < 2 * rounding


def test_the_gradient_of_a_near_duplicate_points_the_right_way() -> None:
    x = torch.nn.functional.normalize(draw(32, 128))
    y = (x + 1e-4 * torch.nn.functional.normalize(draw(32, 128, seed=1))).requires_grad_()
    difference = (y.detach() - x).double()
    (grad,) = torch.autograd.grad(Euclidean().pairwise(x, y).diagonal().sum(), y)
    expected = difference / difference.norm(dim=1, keepdim=True)
    torch.testing.assert_close(grad.double(), expected, rtol=0, atol=1e-6)


@EVERY
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_inputs_are_computed_in_float32(distance: Distance, dtype: torch.dtype) -> None:
    x = (draw(20, 8) * 100).to(dtype).requires_grad_()
    y = (draw(10, 8, seed=1) * 100).to(dtype)
    result = distance.pairwise(x, y)
    assert result.dtype == distance.paired(x, x).dtype == torch.float32
    torch.testing.assert_close(result.double(), oracle(distance, x.detach().float(), y.float()), rtol=1e-6, atol=1e-6)
    (grad,) = torch.autograd.grad(result.sum(), x)
    assert grad.dtype == dtype
    assert grad.isfinite().all()


@EVERY
def test_autocast_changes_nothing(distance: Distance) -> None:
    x, y = draw(20, 8), draw(10, 8, seed=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = distance.pairwise(x, y), distance.pairwise(x), distance.paired(x[:10], y)
    outside = distance.pairwise(x, y), distance.pairwise(x), distance.paired(x[:10], y)
    assert all(torch.equal(a, b) for a, b in zip(inside, outside, strict=True))


def test_mixed_dtypes_give_the_wider() -> None:
    x, y = draw(3, 2, dtype=torch.float16), draw(3, 2, dtype=torch.float64)
    for distance in (Euclidean(), Manhattan()):
        assert distance.pairwise(x, y).dtype == distance.paired(x, y).dtype == torch.float64


@EVERY
def test_large_values_do_not_overflow(distance: Distance) -> None:
    x = torch.tensor([[3e18, 4e18], [0.0, 1.0]])
    assert distance.pairwise(x).isfinite().all()
    assert distance.paired(x, x.flip(0)).isfinite().all()


@EVERY
def test_nan_is_not_hidden(distance: Distance) -> None:
    x = draw(4, 3)
    x[1, 2] = torch.nan
    spoilt = distance.pairwise(x, x).isnan()
    assert spoilt[1].all()
    assert spoilt[:, 1].all()
    assert spoilt.sum() == 7
    assert distance.paired(x, x).isnan().tolist() == [False, True, False, False]


@EVERY
def test_no_rows_give_an_empty_matrix(distance: Distance) -> None:
    none = torch.zeros(0, 3, requires_grad=True)
    assert distance.pairwise(none).shape == (0, 0)
    assert distance.pairwise(none, draw(4, 3)).shape == (0, 4)
    assert distance.pairwise(draw(4, 3), none).shape == (4, 0)
    assert distance.paired(none, none).shape == (0,)
    (grad,) = torch.autograd.grad(distance.pairwise(none, draw(4, 3)).sum(), none)
    assert grad.shape == (0, 3)


@EVERY
def test_the_score_is_larger_for_the_more_alike(distance: Distance) -> None:
    assert distance.larger_is_closer is False
    score = distance.score(torch.tensor([0.0, 0.5, 2.0]))
    assert all(a > b for a, b in pairwise(score.tolist()))


def test_scores() -> None:
    distance = torch.tensor([0.0, 0.25, 2.0])
    assert Cosine().score(distance).tolist() == [1.0, 0.75, -1.0]
    for metric in (Euclidean(), SquaredEuclidean(), Manhattan()):
        assert metric.score(distance).tolist() == [0.0, -0.25, -2.0]


@EVERY
def test_inputs_stay_as_they_were(distance: Distance) -> None:
    x, y = draw(5, 3, dtype=torch.float64), draw(5, 3, seed=1, dtype=torch.float64)
    before = x.clone(), y.clone()
    distance.pairwise(x, y), distance.pairwise(x), distance.paired(x, y)
    assert torch.equal(x, before[0])
    assert torch.equal(y, before[1])


@EVERY
def test_matrices_refuse_what_is_not_one(distance: Distance) -> None:
    x = draw(4, 3)
    with pytest.raises(ValueError, match=r"widths 3 and 2"):
        distance.pairwise(x, draw(4, 2))
    with pytest.raises(ValueError, match=r"shape \(3,\).*one row per sample"):
        distance.pairwise(x[0], x)
    with pytest.raises(ValueError, match=r"torch.int64"):
        distance.pairwise(torch.ones(2, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"cpu and meta"):
        distance.pairwise(x, x.to("meta"))
    with pytest.raises(ValueError, match=r"4 and 2: use pairwise"):
        distance.paired(x, x[:2])


def test_a_second_derivative_of_the_matrix_is_refused() -> None:
    x = draw(4, 3).requires_grad_()
    with pytest.raises(RuntimeError, match="can be differentiated once"):
        torch.autograd.grad(Euclidean().pairwise(x).sum(), x, create_graph=True)


def test_build_knows_every_name() -> None:
    assert [build(name).name for name in DISTANCES] == list(DISTANCES)
    assert build("euclidean") == Euclidean()
    with pytest.raises(ValueError, match=r"'cosin'; known: cosine, ") as refusal:
        build("cosin")
    assert all(name in str(refusal.value) for name in DISTANCES)


def test_gradient_oracle_by_loops() -> None:
    x, weight = draw(6, 3, dtype=torch.float64), draw(6, 6, seed=1, dtype=torch.float64).numpy()
    leaf = x.clone().requires_grad_()
    (grad,) = torch.autograd.grad((Euclidean().pairwise(leaf) * torch.from_numpy(weight)).sum(), leaf)
    rows, expected = x.numpy(), np.zeros((6, 3))
    for i in range(6):
        for j in range(6):
            if i != j:
                unit = (rows[i] - rows[j]) / np.linalg.norm(rows[i] - rows[j])
                expected[i] += weight[i, j] * unit
                expected[j] -= weight[i, j] * unit
    torch.testing.assert_close(grad, torch.from_numpy(expected))

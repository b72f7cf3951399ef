from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from likewise import distances
from likewise.evaluation import normalisation
from likewise.evaluation.normalisation import class_means, normalise, statistics
from likewise.evaluation.verification import roc_from_trials

Array = NDArray[Any]
EVERY = [("z", None), ("t", None), ("s", None), ("as", 3)]


def drawn(seed: int, *, samples: int = 9, cohort: int = 12, width: int = 4) -> tuple[Array, Array, Array, Array]:
    generator = np.random.default_rng(seed)
    left, right = generator.integers(0, samples, (2, 15))
    return generator.normal(size=(samples, width)), left, right, generator.normal(size=(cohort, width)) + 0.5


def score(one: Array, other: Array, distance: str) -> float:
    measure = distances.build(distance)
    sides = [torch.from_numpy(np.atleast_2d(side)) for side in (one, other)]
    return float(measure.score(measure.paired(*sides)))


def standard(value: float, sample: Array, cohort: Array, distance: str, top: int | None) -> float:
    against = sorted((score(sample, other, distance) for other in cohort), reverse=True)[:top]
    mean = sum(against) / len(against)
    return (value - mean) / float(np.sqrt(sum((each - mean) ** 2 for each in against) / len(against)))


@pytest.mark.parametrize("distance", ["euclidean", "squared_euclidean", "cosine", "manhattan"])
@pytest.mark.parametrize(("method", "top"), EVERY)
def test_every_norm_by_loops(distance: str, method: str, top: int | None) -> None:
    samples, left, right, cohort = drawn(0)
    ours = normalise(samples, left, right, cohort=cohort, distance=distance, method=method, top=top)
    for trial, (i, j) in enumerate(zip(left, right, strict=True)):
        value = score(samples[i], samples[j], distance)
        enrolled, tested = (standard(value, samples[side], cohort, distance, top) for side in (i, j))
        expected = {"z": enrolled, "t": tested}.get(method, (enrolled + tested) / 2)
        assert ours[trial] == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_the_whole_cohort_as_top_is_the_plain_norm() -> None:
    samples, left, right, cohort = drawn(1)
    adaptive = normalise(samples, left, right, cohort=cohort, distance="cosine", method="as", top=len(cohort))
    np.testing.assert_array_equal(
        adaptive, normalise(samples, left, right, cohort=cohort, distance="cosine", method="s")
    )


@pytest.mark.parametrize("distance", ["euclidean", "cosine", "manhattan"])
@pytest.mark.parametrize("block", [1, 30])
def test_blocks_do_not_matter(distance: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    samples, left, right, cohort = drawn(2)
    whole = normalise(samples, left, right, cohort=cohort, distance=distance, top=4)
    monkeypatch.setattr(normalisation, "BLOCK", block)
    in_blocks = normalise(samples, left, right, cohort=cohort, distance=distance, top=4)
    np.testing.assert_allclose(in_blocks, whole, rtol=1e-6)


@pytest.mark.parametrize(("method", "top"), EVERY)
def test_the_order_of_cohort_and_samples_does_not_matter(method: str, top: int | None) -> None:
    samples, left, right, cohort = drawn(3)
    expected = normalise(samples, left, right, cohort=cohort, distance="euclidean", method=method, top=top)
    generator = np.random.default_rng(0)
    order, others = generator.permutation(len(samples)), generator.permutation(len(cohort))
    place = np.argsort(order)
    shuffled = normalise(
        samples[order], place[left], place[right], cohort=cohort[others], distance="euclidean", method=method, top=top
    )
    np.testing.assert_allclose(shuffled, expected, rtol=1e-6)


def test_the_symmetric_norms_do_not_mind_the_sides() -> None:
    samples, left, right, cohort = drawn(4)
    for method, top in (("s", None), ("as", 5)):
        ours = normalise(samples, left, right, cohort=cohort, distance="cosine", method=method, top=top)
        swapped = normalise(samples, right, left, cohort=cohort, distance="cosine", method=method, top=top)
        np.testing.assert_allclose(ours, swapped, rtol=1e-12)
    z = normalise(samples, left, right, cohort=cohort, distance="cosine", method="z")
    np.testing.assert_allclose(
        z, normalise(samples, right, left, cohort=cohort, distance="cosine", method="t"), rtol=1e-12
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_any_float_type_is_taken(dtype: torch.dtype) -> None:
    samples, left, right, cohort = drawn(5)
    rounded = [torch.from_numpy(side).to(dtype) for side in (samples, cohort)]
    ours = normalise(rounded[0], left, right, cohort=rounded[1], distance="euclidean", method="s")
    wide = [side.double() for side in rounded]
    expected = normalise(wide[0], left, right, cohort=wide[1], distance="euclidean", method="s")
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


def test_it_mends_scores_whose_scale_differs_from_sample_to_sample() -> None:
    """Classes in a dense corner get high impostor scores; a norm by their own cohort takes that off."""
    generator = np.random.default_rng(6)
    centres = np.concatenate((generator.normal(size=(30, 8)) * 0.3, generator.normal(size=(30, 8)) * 3))
    spread = np.repeat([0.1, 1.0], 30)[:, None]
    samples = np.concatenate([centres + spread * generator.normal(size=centres.shape) for _ in range(2)])
    others = np.concatenate((generator.normal(size=(60, 8)) * 0.3, generator.normal(size=(60, 8)) * 3))
    left, right = (side.ravel() for side in np.indices((60, 60)))
    same, right = left == right, right + 60
    plain = -np.linalg.norm(samples[left] - samples[right], axis=1)
    normed = normalise(samples, left, right, cohort=others, distance="euclidean", top=20)
    assert roc_from_trials(normed, same).eer < 0.6 * roc_from_trials(plain, same).eer


def test_equal_cohort_scores_count_as_often_as_they_are() -> None:
    found = statistics(np.array([[0.0]]), np.array([[1.0], [2.0], [-1.0], [4.0]]), distance="euclidean", top=3)
    assert found.mean.tolist() == pytest.approx([-4 / 3])
    assert found.spread.tolist() == pytest.approx([np.std([1, 1, 2])])


def test_class_means_by_loops() -> None:
    generator = np.random.default_rng(7)
    matrix, labels = generator.normal(size=(20, 3)), generator.permutation(np.arange(20) % 6)
    units = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    for distance, rows in (("euclidean", matrix), ("cosine", units)):
        expected = [rows[labels == name].mean(axis=0) for name in range(6)]
        np.testing.assert_allclose(class_means(matrix, labels, distance=distance), expected, rtol=1e-12)
    with pytest.raises(ValueError, match="unknown distance 'cosin'"):
        class_means(matrix, labels, distance="cosin")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "zt"}, "unknown normalisation 'zt'; known: t, z, as, s"),
        ({"distance": "cosin"}, "unknown distance 'cosin'; known: cosine"),
        ({"method": "as", "top": None}, "'as' needs `top`"),
        ({"method": "z", "top": 3}, "'z' takes no `top`"),
        ({"top": 13}, "13 cohort scores were asked for out of 12"),
        ({"top": 1}, "at least 2"),
        ({"cohort": np.ones((5, 3))}, "samples of width 4 and a cohort of 3"),
        ({"cohort": np.ones((5, 4))}, "equally near to all 3 of the cohort"),
        ({"cohort": np.full((5, 4), np.nan)}, "5 of the 5 embeddings hold NaN"),
        ({"left": np.array([0, 9])}, "rows of the 9 embeddings"),
        ({"left": np.array([0, -1])}, "rows of the 9 embeddings"),
        ({"left": np.array([0.0, 1.0])}, "whole numbers"),
        ({"left": np.array([0, 1, 2])}, "a row for each trial"),
    ],
)
def test_bad_input_is_refused(change: dict[str, Any], message: str) -> None:
    samples, _, _, cohort = drawn(0)
    good: dict[str, Any] = {
        "left": np.array([0, 1]),
        "right": np.array([2, 3]),
        "cohort": cohort,
        "distance": "cosine",
        "top": 3,
    }
    with pytest.raises(ValueError, match=message):
        normalise(samples, **(good | change))


def test_a_collapsed_encoder_is_refused_and_not_divided_by_rounding() -> None:
    alike = np.tile(np.random.default_rng(8).normal(size=8), (6, 1))
    for distance in distances.DISTANCES:
        with pytest.raises(ValueError, match="collapsed encoder"):
            statistics(alike, alike, distance=distance)

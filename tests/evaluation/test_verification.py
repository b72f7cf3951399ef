import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve

from likewise import distances
from likewise.evaluation import tally, verification
from likewise.evaluation.curves import Roc
from likewise.evaluation.verification import roc_all_pairs, roc_from_trials

Array = NDArray[Any]


@st.composite
def trials(draw: st.DrawFn) -> tuple[Array, Array]:
    """Few distinct scores, so that ties are the rule."""
    size = draw(st.integers(2, 40))
    scores = draw(st.lists(st.integers(-4, 4), min_size=size, max_size=size))
    same = draw(st.lists(st.integers(0, 1), min_size=size, max_size=size).filter(lambda s: len(set(s)) == 2))
    return np.array(scores) / 4, np.array(same)


def trials_of(embeddings: Array, labels: Array, distance: str) -> tuple[Array, Array]:
    measure = distances.build(distance)
    scores = measure.score(measure.pairwise(torch.as_tensor(embeddings))).float().numpy()
    pairs = list(itertools.combinations(range(len(labels)), 2))
    return np.array([scores[i, j] for i, j in pairs]), np.array([int(labels[i] == labels[j]) for i, j in pairs])


def both_kinds(labels: Array) -> bool:
    return 1 < len(set(labels.tolist())) < len(labels)


def assert_agree(ours: Roc, other: Roc) -> None:
    for name in ("genuine", "impostors", "auc", "eer", "eer_plain", "least_far", "min_cllr"):
        assert getattr(ours, name) == pytest.approx(getattr(other, name), abs=1e-12), name
    for far in (0.01, 0.1, 0.3, 1.0):
        assert ours.tar_at_far(far) == other.tar_at_far(far)
    assert ours.best_threshold() == other.best_threshold()
    for prior in (0.01, 0.5, 0.9):
        assert ours.min_dcf(prior=prior) == pytest.approx(other.min_dcf(prior=prior), abs=1e-12)


@given(trials())
def test_vertices_and_area_are_those_of_scikit_learn(given: tuple[Array, Array]) -> None:
    scores, same = given
    roc = roc_from_trials(scores, same)
    far, tar, thresholds = roc_curve(same, scores, drop_intermediate=False)
    np.testing.assert_allclose(roc.far, far)
    np.testing.assert_allclose(roc.tar, tar)
    np.testing.assert_array_equal(roc.thresholds, thresholds)
    assert roc.auc == pytest.approx(roc_auc_score(same, scores), abs=1e-12)


@given(trials(), st.randoms(use_true_random=False))
def test_order_of_the_trials_does_not_matter(given: tuple[Array, Array], random: Any) -> None:
    scores, same = given
    order = list(range(len(scores)))
    random.shuffle(order)
    ours, shuffled = roc_from_trials(scores, same), roc_from_trials(scores[order], same[order])
    np.testing.assert_array_equal(ours.far, shuffled.far)
    assert_agree(ours, shuffled)
    assert ours.eer_threshold == shuffled.eer_threshold


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_tensors_of_any_float_type_are_taken(dtype: torch.dtype) -> None:
    roc = roc_from_trials(torch.tensor([0.75, 0.5, -0.5], dtype=dtype), torch.tensor([True, False, False]))
    assert (roc.auc, roc.best_threshold()) == (1.0, 0.625)


def test_negative_scores_of_a_distance() -> None:
    roc = roc_from_trials([-0.1, -2.0, -0.2, -9.0], [1, 0, 1, 0])
    assert (roc.auc, roc.eer, roc.accuracy(roc.best_threshold())) == (1.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("scores", "same", "message"),
    [
        ([0.1, float("nan")], [0, 1], "1 of the 2 scores are NaN or infinite"),
        ([0.1, float("inf")], [0, 1], "NaN or infinite"),
        ([0.1, 0.2], [1, 1], "none of the 2 trials is impostor"),
        ([0.1, 0.2], [0, 0], "none of the 2 trials is genuine"),
        ([0.1, 0.2], [0, 2], "only 1 .* and 0"),
        ([0.1, 0.2], [0, 1, 1], "give one for each"),
        ([[0.1, 0.2]], [[0, 1]], "must be a vector"),
        ([], [], "none of the 0 trials"),
    ],
)
def test_bad_trials_are_refused(scores: Any, same: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        roc_from_trials(scores, same)


@pytest.mark.parametrize("distance", ["euclidean", "squared_euclidean", "cosine", "manhattan"])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_all_pairs_equal_the_list_of_all_trials(distance: str, data: st.DataObject) -> None:
    samples = data.draw(st.integers(3, 14))
    row = st.lists(st.integers(-2, 2), min_size=2, max_size=2)
    embeddings = np.array(data.draw(st.lists(row, min_size=samples, max_size=samples)), dtype=np.float32)
    labels = np.array(data.draw(st.lists(st.integers(0, 3), min_size=samples, max_size=samples)))
    scores, same = trials_of(embeddings, labels, distance)
    if not both_kinds(labels) or len(set(same.tolist())) < 2:
        return
    assert_agree(roc_all_pairs(embeddings, labels, distance), roc_from_trials(scores, same))


@pytest.mark.parametrize(
    ("block", "waiting", "top", "cells"), [(1, 1, 0, 2), (70, 10, 5, 50), (70, 2**24, 0, 300), (2**21, 2**24, 40, 9)]
)
def test_all_pairs_do_not_depend_on_the_blocks(
    block: int, waiting: int, top: int, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(5)
    labels = generator.integers(0, 6, 60)
    embeddings = generator.standard_normal((60, 4)).astype(np.float32) + labels[:, None]
    monkeypatch.setattr(verification, "BLOCK", block)
    monkeypatch.setattr(tally, "SORTED", waiting)
    monkeypatch.setattr(tally, "TOP", top)
    monkeypatch.setattr(tally, "CELLS", cells)
    assert_agree(
        roc_all_pairs(embeddings, labels, "euclidean"), roc_from_trials(*trials_of(embeddings, labels, "euclidean"))
    )


def test_all_pairs_equal_scikit_learn_on_half_a_million_trials() -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(100), 10)
    embeddings = (generator.standard_normal((1000, 16)) + generator.standard_normal((100, 16))[labels]).astype("f4")
    measure = distances.build("cosine")
    upper = np.triu_indices(1000, 1)
    scores = measure.score(measure.pairwise(torch.from_numpy(embeddings))).numpy()[upper]
    same = labels[upper[0]] == labels[upper[1]]
    roc = roc_all_pairs(embeddings, labels)
    assert roc.auc == pytest.approx(roc_auc_score(same, scores), abs=1e-12)
    far, tar, _ = roc_curve(same, scores)
    for rate in (1e-4, 1e-3, 1e-2, 0.1):
        assert roc.tar_at_far(rate) == pytest.approx(tar[far <= rate].max(), abs=1e-12)
    assert roc.min_dcf() == pytest.approx((0.01 * (1 - tar) + 0.99 * far).min() / 0.01, abs=1e-12)


def test_all_pairs_of_rows_in_another_order() -> None:
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 5, 80)
    embeddings = np.round(generator.standard_normal((80, 3)), 1)
    order = generator.permutation(80)
    ours, shuffled = (roc_all_pairs(embeddings[o], labels[o], "euclidean") for o in (np.arange(80), order))
    np.testing.assert_array_equal(ours.thresholds, shuffled.thresholds)
    np.testing.assert_array_equal(ours.false_accepts, shuffled.false_accepts)


def test_a_collapsed_encoder_scores_a_half_and_no_better() -> None:
    vector = np.random.default_rng(2).standard_normal(64)
    roc = roc_all_pairs(np.tile(vector, (30, 1)), np.arange(30) % 5, "cosine")
    assert (roc.auc, roc.eer, roc.eer_plain, roc.far.size) == (0.5, 0.5, 0.5, 2)


def test_one_genuine_pair_and_labels_in_words() -> None:
    roc = roc_all_pairs(np.array([[0.0], [1.0], [5.0], [0.5]]), ["a", "a", "b", "c"], "euclidean")
    assert (roc.genuine, roc.impostors) == (1, 5)
    assert roc.auc == pytest.approx(3 / 5)


def test_errors_at_thresholds_that_were_asked_for() -> None:
    generator = np.random.default_rng(3)
    embeddings, labels = generator.standard_normal((40, 2)), generator.integers(0, 20, 40)
    scores, same = trials_of(embeddings, labels, "euclidean")
    asked = [-9.0, -1.23456789, -0.5, 0.25]
    roc = roc_all_pairs(embeddings, labels, "euclidean", thresholds=asked)
    for threshold in asked:
        assert roc.accuracy(threshold) == np.mean((scores >= threshold) == same)
    assert_agree(roc, roc_from_trials(scores, same))


def test_errors_between_genuine_scores_have_to_be_asked_for() -> None:
    embeddings, labels = np.array([[0.0], [1.0], [3.0], [30.0]]), [0, 0, 1, 2]
    roc = roc_all_pairs(embeddings, labels, "euclidean")
    with pytest.raises(ValueError, match=r"thresholds=\[-28"):
        roc.accuracy(-28.0)
    assert roc_all_pairs(embeddings, labels, "euclidean", thresholds=[-28.0]).accuracy(-28.0) == pytest.approx(3 / 6)


@pytest.mark.parametrize(
    ("embeddings", "labels", "message"),
    [
        ([[1.0], [float("nan")]], [0, 0], "1 of the 2 embeddings hold NaN"),
        ([[1.0], [2.0]], [0, 0], "none of the 1 pairs is impostor"),
        ([[1.0], [2.0]], [0, 1], "none of the 1 pairs is genuine"),
        ([1.0, 2.0], [0, 1], "must be .samples, dimensions."),
        ([[1.0], [2.0]], [0, 1, 1], "give one for each"),
        ([[1.0], [2.0]], ["a", None], "1 of the 2 labels are missing"),
        ([[1e20], [-1e20], [0.0]], [0, 0, 1], "too large to compare"),
    ],
)
def test_bad_embeddings_are_refused(embeddings: Any, labels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        roc_all_pairs(torch.tensor(embeddings), labels, "squared_euclidean")


def test_an_unknown_distance_is_refused() -> None:
    with pytest.raises(ValueError, match="cosine"):
        roc_all_pairs(np.eye(4), [0, 0, 1, 1], "cosin")

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

from likewise import distances
from likewise.evaluation import retrieval

Array = NDArray[Any]


def score_matrix(x: Array, y: Array, distance: str) -> Array:
    measure = distances.build(distance)
    pairwise = measure.pairwise(torch.as_tensor(x), torch.as_tensor(y))
    return np.asarray(measure.score(pairwise).float())


def by_loops(scores: Array, labels: Array, others: Array, k: list[int], itself: bool) -> dict[str, float]:
    """Rank by the worst order of ties and add up query by query."""
    sums: dict[str, float] = {"queries": 0, "map_at_r": 0, "r_precision": 0}
    sums |= {f"{name}{cut}": 0 for name in ("recall", "precision", "ndcg") for cut in k}
    for query, label in enumerate(labels):
        candidates = [j for j in range(len(others)) if not (itself and j == query)]
        ranked = sorted(candidates, key=lambda j: (-scores[query, j], others[j] == label))
        right = [int(others[j] == label) for j in ranked]
        wanted = sum(right)
        if not wanted:
            continue
        sums["queries"] += 1
        sums["r_precision"] += sum(right[:wanted]) / wanted
        sums["map_at_r"] += sum(right[i] * sum(right[: i + 1]) / (i + 1) for i in range(wanted)) / wanted
        for cut in k:
            ideal = sum(1 / math.log2(i + 2) for i in range(min(cut, wanted)))
            sums[f"recall{cut}"] += max(right[:cut])
            sums[f"precision{cut}"] += sum(right[:cut]) / cut
            sums[f"ndcg{cut}"] += sum(right[i] / math.log2(i + 2) for i in range(cut)) / ideal
    queries = sums.pop("queries")
    return {name: value / queries for name, value in sums.items()} | {"queries": queries}


def flat(result: retrieval.RetrievalResult) -> dict[str, float]:
    values: dict[str, float] = {"map_at_r": result.map_at_r, "r_precision": result.r_precision}
    for name in ("recall", "precision", "ndcg"):
        values |= {f"{name}{cut}": value for cut, value in getattr(result, name).items()}
    return values | {"queries": result.queries}


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_all_against_all_by_loops_with_ties(distance: str, data: st.DataObject) -> None:
    samples = data.draw(st.integers(4, 14))
    row = st.lists(st.integers(-1, 2), min_size=2, max_size=2)
    embeddings = np.array(data.draw(st.lists(row, min_size=samples, max_size=samples)), dtype=np.float32)
    labels = np.array(data.draw(st.lists(st.integers(0, 3), min_size=samples, max_size=samples)))
    if np.unique(labels, return_counts=True)[1].max() < 2:
        return
    result = retrieval.evaluate(embeddings, labels, distance=distance, k=[1, 3])
    expected = by_loops(score_matrix(embeddings, embeddings, distance), labels, labels, [1, 3], itself=True)
    assert flat(result) == pytest.approx(expected)
    assert result.queries + result.excluded == samples


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_gallery_and_probes_by_loops(data: st.DataObject) -> None:
    generator = np.random.default_rng(data.draw(st.integers(0, 1000)))
    probes, gallery = generator.integers(-2, 3, (9, 2)), generator.integers(-2, 3, (12, 2))
    labels, others = generator.integers(0, 5, 9), generator.integers(0, 4, 12)
    if not np.isin(labels, others).any():
        return
    probes, gallery = probes.astype(np.float32), gallery.astype(np.float32)
    result = retrieval.evaluate(probes, labels, distance="euclidean", k=[2, 12], gallery=(gallery, others))
    expected = by_loops(score_matrix(probes, gallery, "euclidean"), labels, others, [2, 12], itself=False)
    assert flat(result) == pytest.approx(expected)
    assert (result.gallery, result.excluded) == (12, int((~np.isin(labels, others)).sum()))


def test_without_ties_it_equals_pytorch_metric_learning() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 8, 200)
    embeddings = (generator.standard_normal((200, 6)) + labels[:, None] / 3).astype(np.float32)
    peer = AccuracyCalculator(
        include=("precision_at_1", "r_precision", "mean_average_precision_at_r"), k="max_bin_count"
    )
    tensor, classes = torch.from_numpy(embeddings), torch.from_numpy(labels)
    expected = peer.get_accuracy(tensor, classes, tensor, classes, ref_includes_query=True)
    result = retrieval.evaluate(embeddings, labels, distance="euclidean", k=[1])
    assert result.recall[1] == pytest.approx(expected["precision_at_1"])
    assert result.precision[1] == pytest.approx(expected["precision_at_1"])
    assert result.map_at_r == pytest.approx(expected["mean_average_precision_at_r"])
    assert result.r_precision == pytest.approx(expected["r_precision"])


@pytest.mark.parametrize("distance", ["cosine", "euclidean", "manhattan"])
def test_a_large_gallery_gives_what_a_full_sort_gives(distance: str) -> None:
    generator = np.random.default_rng(4)
    labels = generator.integers(0, 200, 1000)
    # On a grid, so that many samples are equally far; repeated, so that some are at distance nought.
    embeddings = np.round(8 * generator.standard_normal((1000, 3)) + labels[:, None] % 7).astype(np.float32) / 8
    embeddings[950:] = embeddings[:50]
    result = retrieval.evaluate(embeddings, labels, distance=distance, k=[1, 5])
    expected = by_loops(score_matrix(embeddings, embeddings, distance), labels, labels, [1, 5], itself=True)
    assert flat(result) == pytest.approx(expected)


def test_order_of_rows_and_size_of_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(1)
    labels, embeddings = generator.integers(0, 6, 50), np.round(generator.standard_normal((50, 2)), 1)
    whole = retrieval.evaluate(embeddings, labels, distance="manhattan")
    monkeypatch.setattr(retrieval, "BLOCK", 130)
    order = generator.permutation(50)
    shuffled = retrieval.evaluate(embeddings[order], labels[order], distance="manhattan")
    assert flat(whole) == pytest.approx(flat(shuffled), abs=1e-12)


def test_a_collapsed_encoder_finds_nothing() -> None:
    result = retrieval.evaluate(np.ones((12, 4)), np.arange(12) % 3, distance="cosine")
    assert (result.recall[1], result.map_at_r) == (0.0, 0.0)


def test_a_query_without_mates_is_excluded_and_still_in_the_way() -> None:
    points = np.array([[0.0], [0.1], [1.0]])
    result = retrieval.evaluate(points, ["a", "b", "a"], distance="euclidean", k=[1])
    assert (result.queries, result.excluded, result.recall[1]) == (2, 1, 0.0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_embeddings(dtype: torch.dtype) -> None:
    points = torch.tensor([[0.0], [0.5], [8.0], [8.5]], dtype=dtype)
    assert retrieval.evaluate(points, torch.tensor([0, 0, 1, 1]), distance="euclidean", k=[1]).recall == {1: 1.0}


def test_classes_are_matched_by_name_across_gallery_and_probes() -> None:
    result = retrieval.evaluate(
        np.array([[0.0]]), ["b"], distance="euclidean", k=[1], gallery=(np.array([[0.1], [5.0]]), ["b", "a"])
    )
    assert result.recall == {1: 1.0}


@pytest.mark.parametrize(
    ("labels", "k", "message"),
    [
        ([0, 0, 1], [3], "k = 3 asks for more neighbours than the 2"),
        ([0, 0, 1], [0], "at least 1"),
        ([0, 0, 1], [], "at least 1"),
        ([0, 1, 2], [1], "none of the 3 probes"),
        ([0, 0], [1], "give one for each"),
    ],
)
def test_bad_input_is_refused(labels: list[int], k: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        retrieval.evaluate(np.eye(3), labels, distance="cosine", k=k)

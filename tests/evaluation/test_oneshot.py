from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from likewise import distances
from likewise.evaluation import oneshot
from likewise.evaluation.intervals import mean_interval
from likewise.evaluation.tasks import parse

Array = NDArray[Any]


def blobs(classes: int, each: int, spread: float, seed: int = 0) -> tuple[Array, Array]:
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    centres = generator.standard_normal((classes, 8))
    return centres[labels] + spread * generator.standard_normal((labels.size, 8)), labels


def by_loops(matrix: Array, drawn: Array, shots: int, mode: str, distance: str) -> list[float]:
    measure = distances.build(distance)
    accuracies = []
    for episode in drawn:
        points = []
        for own, rows in enumerate(episode):
            for probe in rows[shots:]:
                best = []
                for enrolled in episode:
                    shown = torch.as_tensor(matrix[enrolled[:shots]])
                    if mode == "prototype":
                        shown = shown.mean(dim=0, keepdim=True)
                    alone = torch.as_tensor(matrix[[probe]]).expand(len(shown), -1)
                    best.append(float(measure.score(measure.paired(alone, shown)).float().max()))
                winners = [way for way, score in enumerate(best) if score == max(best)]
                points.append((own in winners) / len(winners))
        accuracies.append(sum(points) / len(points))
    return accuracies


@pytest.mark.parametrize("mode", ["nearest", "prototype"])
@pytest.mark.parametrize("distance", ["euclidean", "cosine", "manhattan"])
@pytest.mark.parametrize(("ways", "shots", "queries"), [(5, 1, 1), (3, 4, 2)])
def test_accuracy_by_loops_over_the_same_episodes(
    mode: Any, distance: str, ways: int, shots: int, queries: int
) -> None:
    embeddings, labels = blobs(8, 9, 0.9)
    result = oneshot.evaluate(
        embeddings,
        labels,
        distance=distance,
        ways=ways,
        shots=shots,
        queries=queries,
        episodes=40,
        seed=3,
        mode=mode,
    )
    codes = labels.astype(np.int64)
    size = shots + queries
    pool = oneshot._Pool.build(embeddings, codes, np.zeros_like(codes), ways=ways, size=size)
    generator = np.random.Generator(np.random.Philox(3))
    drawn = pool.draw(generator, episodes=40, ways=ways, size=size)
    expected = by_loops(embeddings, drawn, shots, mode, distance)
    assert result.accuracy == pytest.approx(np.mean(expected), abs=1e-12)
    assert result.interval[0] < result.accuracy < result.interval[1]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(2, 5))
def test_episodes_hold_distinct_classes_and_samples_of_one_group(seed: int, size: int, ways: int) -> None:
    generator = np.random.default_rng(seed)
    codes, groups = generator.integers(0, 12, 150), generator.integers(0, 2, 150)
    matrix = generator.standard_normal((150, 2))
    pool = oneshot._Pool.build(matrix, codes, groups, ways=ways, size=size)
    drawn = pool.draw(generator, episodes=30, ways=ways, size=size)
    assert drawn.shape == (30, ways, size)
    for episode in drawn:
        assert len(set(episode.ravel().tolist())) == ways * size
        assert len(set(groups[episode].ravel().tolist())) == 1
        assert (codes[episode] == codes[episode][:, :1]).all()
        assert len(set(codes[episode][:, 0].tolist())) == ways


def test_samples_are_drawn_uniformly() -> None:
    populations = np.full(60_000, 5)
    drawn = oneshot._distinct(np.random.default_rng(0), populations, 2)
    pairs = np.bincount(drawn[:, 0] * 5 + drawn[:, 1], minlength=25).reshape(5, 5)
    assert (np.diag(pairs) == 0).all()
    expected = 60_000 / 20
    assert np.abs(pairs[~np.eye(5, dtype=bool)] - expected).max() < 5 * np.sqrt(expected)


def test_a_collapsed_encoder_guesses() -> None:
    result = oneshot.evaluate(np.ones((40, 3)), np.arange(40) % 8, distance="cosine", ways=8, episodes=50, seed=0)
    assert result.accuracy == pytest.approx(1 / 8)


def test_well_separated_classes_are_always_right_and_the_interval_keeps_a_width() -> None:
    embeddings, labels = blobs(6, 4, 1e-3)
    result = oneshot.evaluate(embeddings, labels, distance="cosine", episodes=100, seed=1)
    assert result.accuracy == 1.0
    assert result.interval[0] == pytest.approx(0.963, abs=1e-3)
    assert result.interval[1] == 1.0


def test_order_of_rows_does_not_matter_and_the_seed_does() -> None:
    embeddings, labels = blobs(10, 6, 1.0)
    order = np.random.default_rng(5).permutation(len(labels))
    first, shuffled, other = (
        oneshot.evaluate(embeddings[o], labels[o], distance="euclidean", episodes=200, seed=seed)
        for o, seed in ((np.arange(len(labels)), 7), (order, 7), (order, 8))
    )
    assert first == shuffled
    assert first.accuracy != other.accuracy


def test_groups_keep_episodes_within_a_group() -> None:
    # Classes are told apart by the group alone, so episodes within a group are guesses.
    embeddings = np.repeat([[0.0, 1.0], [1.0, 0.0]], 20, axis=0)
    labels, groups = np.repeat(np.arange(8), 5), np.repeat(["latin", "greek"], 20)
    within = oneshot.evaluate(embeddings, labels, distance="cosine", ways=4, episodes=20, seed=0, groups=groups)
    across = oneshot.evaluate(embeddings, labels, distance="cosine", ways=4, episodes=200, seed=0)
    assert within.accuracy == pytest.approx(1 / 4)
    assert across.accuracy > 0.3
    assert "one group" in within.protocol
    assert "4-way 1-shot" in across.protocol


def test_classes_with_too_few_samples_are_not_drawn() -> None:
    embeddings = np.array([[0.0], [0.1], [5.0], [5.1], [9.0]])
    result = oneshot.evaluate(embeddings, list("aabbc"), distance="euclidean", ways=2, episodes=10, seed=0)
    assert result.accuracy == 1.0
    with pytest.raises(ValueError, match=r"3-way episodes need 3 classes .* the most there are is 2"):
        oneshot.evaluate(embeddings, list("aabbc"), distance="euclidean", ways=3, episodes=10, seed=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ways": 1}, "ways must be at least 2"),
        ({"shots": 0}, "shots must be at least 1"),
        ({"queries": 0}, "queries must be at least 1"),
        ({"episodes": 0}, "episodes must be at least 1"),
        ({"mode": "nearst"}, "unknown mode 'nearst'; known: nearest, prototype"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    embeddings, labels = blobs(6, 4, 0.1)
    with pytest.raises(ValueError, match=message):
        oneshot.evaluate(embeddings, labels, distance="cosine", seed=0, **settings)


@pytest.mark.parametrize("distance", distances.DISTANCES)
def test_listed_tasks_by_loops(distance: str) -> None:
    # Whole numbers, so that examples tie.
    vectors = np.random.default_rng(0).integers(-1, 2, (40, 2)).astype(float)
    ids = [f"s{i}" for i in range(40)]
    order = np.random.default_rng(1).permutation(40)
    lines = []
    for drawn in order.reshape(4, 10):
        examples, probes = drawn[:4], drawn[4:]
        lines += [f"s{probe} s{examples[place % 4]}" for place, probe in enumerate(probes)] + [""]
    tasks = parse(lines, where="tasks.txt")
    measure, accuracies = distances.build(distance), []
    for task in tasks:
        gallery = sorted({line.example for line in task})
        points = []
        for line in task:
            rows = [torch.as_tensor(vectors[[ids.index(name)]]) for name in (line.probe, *gallery)]
            scores = [round(float(measure.score(measure.paired(rows[0], row))), 5) for row in rows[1:]]
            winners = [name for name, score in zip(gallery, scores, strict=True) if score == max(scores)]
            points.append((line.example in winners) / len(winners))
        accuracies.append(sum(points) / len(points))
    found = oneshot.evaluate_tasks(vectors, ids, tasks, distance=distance)
    assert found.accuracy == pytest.approx(np.mean(accuracies))
    assert found.interval == pytest.approx(mean_interval(np.array(accuracies)))
    assert (found.episodes, found.protocol) == (4, "4-way 1-shot, 24 probes in 4 listed tasks, nearest")


def test_tasks_of_unequal_size_and_what_is_refused() -> None:
    vectors, ids = np.arange(8.0)[:, None], list("abcdefgh")
    tasks = parse(["b a", "d c", "", "b a", "d c", "f e"], where="tasks.txt")
    assert oneshot.evaluate_tasks(vectors, ids, tasks, distance="euclidean").protocol.startswith(
        "2 to 3-way 1-shot, 5 "
    )
    with pytest.raises(ValueError, match="the list holds no task"):
        oneshot.evaluate_tasks(vectors, ids, [], distance="euclidean")
    with pytest.raises(ValueError, match=r"^tasks\.txt: line 2: 'z' is no sample of val or test$"):
        oneshot.evaluate_tasks(vectors, ids, parse(["b a", "d z"], where="tasks.txt"), distance="euclidean")
    with pytest.raises(ValueError, match="1 of the 8 embeddings hold NaN"):
        oneshot.evaluate_tasks(np.where(vectors == 3, np.nan, vectors), ids, tasks, distance="euclidean")

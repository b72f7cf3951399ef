"""Which of these N is it, from k examples of each? Thousands of episodes at once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from likewise.choices import one_of
from likewise.evaluation.blocks import Scores, Singles
from likewise.evaluation.checks import Array, Labels, TooFewError, as_codes, as_embeddings
from likewise.evaluation.intervals import mean_interval
from likewise.evaluation.tasks import Line, Task

Matrix = NDArray[np.floating]
Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Mode = Literal["nearest", "prototype"]

# Scores in one block of episodes.
BLOCK = 2**18


@dataclass(frozen=True)
class OneShotResult:
    """The accuracy over episodes.

    Attributes:
        accuracy: the share of probes given their own class.
        interval: the ends of the 95 % interval of the mean over episodes.
        episodes: how many episodes were drawn.
        protocol: ways, shots, probes and mode in words.
    """

    accuracy: float
    interval: tuple[float, float]
    episodes: int
    protocol: str


def evaluate(
    embeddings: Array,
    labels: Labels,
    *,
    distance: str,
    ways: int = 5,
    shots: int = 1,
    queries: int = 1,
    episodes: int = 1000,
    seed: int,
    groups: Labels | None = None,
    mode: Mode = "nearest",
) -> OneShotResult:
    """Draw episodes of `ways` classes, enrol `shots` samples of each and recognise `queries` others of each.

    Classes and samples are drawn uniformly without repeats; with `groups`, a group is drawn first (uniformly
    among those with enough classes) and all classes of the episode come from it, as within an alphabet in
    Lake, Salakhutdinov and Tenenbaum, "Human-level concept learning", 2015. A class that is equally near as
    others gets its share of the point, so an encoder that tells nothing apart scores 1 / ways. The draw does
    not depend on the order of the rows.

    Args:
        embeddings: (samples, dimensions).
        labels: (samples,) classes; those with fewer than `shots + queries` samples are not drawn.
        distance: a name that `likewise.distances.build` knows.
        ways: classes in an episode.
        shots: samples enrolled for each.
        queries: probes of each.
        episodes: how many to draw.
        seed: of the draw.
        groups: (samples,) the group of each sample; a class that stands in two groups counts as two classes.
        mode: "nearest" enrolled sample, or "prototype", the mean of a class's enrolled embeddings (Snell,
            Swersky and Zemel, "Prototypical networks for few-shot learning", 2017).

    Raises:
        TooFewError: where no group has enough classes with enough samples.
        ValueError: for NaN embeddings, a missing label or group, or a bad number or mode.

    >>> points = np.array([[0.0], [0.1], [5.0], [5.1], [9.0], [9.1]])
    >>> evaluate(points, [0, 0, 1, 1, 2, 2], distance="euclidean", ways=3, episodes=100, seed=0)
    OneShotResult(accuracy=1.0, interval=(0.963..., 1.0), episodes=100, protocol='3-way 1-shot, ...')
    """
    _check_numbers(shots=shots, queries=queries)
    one_of("mode", mode, MODES)
    drawn = draw(embeddings, labels, ways=ways, size=shots + queries, episodes=episodes, seed=seed, groups=groups)
    matrix = as_embeddings(embeddings).numpy()
    parts = _parts(drawn, shots=shots, queries=queries)
    right = np.concatenate([MODES[mode](matrix, *part, distance) for part in parts])
    where = "classes from anywhere" if groups is None else "classes of one group"
    return OneShotResult(
        accuracy=float(right.mean()),
        interval=mean_interval(right),
        episodes=episodes,
        protocol=f"{ways}-way {shots}-shot, {queries} {'probe' if queries == 1 else 'probes'} a class, {where}, {mode}",
    )


def draw(
    embeddings: Array, labels: Labels, *, ways: int, size: int, episodes: int, seed: int, groups: Labels | None = None
) -> Indices:
    """Return (episodes, ways, size) rows of the samples of each episode, drawn as `evaluate` draws them.

    Args:
        embeddings: (samples, dimensions); they settle which sample is which, whatever the order of the rows.
        labels: (samples,) classes; those with fewer than `size` samples are not drawn.
        ways: classes in an episode.
        size: samples of each, all different.
        episodes: how many to draw.
        seed: of the draw.
        groups: (samples,) the group of each sample, of which an episode has one.

    Raises:
        TooFewError: where no group has enough classes with enough samples.
        ValueError: for NaN embeddings, a missing label or group, or a bad number.
    """
    _check_numbers(ways=ways, size=size, episodes=episodes)
    matrix = as_embeddings(embeddings).numpy()
    codes = as_codes(labels, samples=len(matrix))
    group_codes = np.zeros_like(codes) if groups is None else as_codes(groups, samples=len(matrix))
    pool = _Pool.build(matrix, codes, group_codes, ways=ways, size=size)
    return pool.draw(np.random.Generator(np.random.Philox(seed)), episodes=episodes, ways=ways, size=size)


def evaluate_tasks(embeddings: Array, ids: Sequence[str], tasks: Sequence[Task], *, distance: str) -> OneShotResult:
    """Recognise the probes of a list of tasks, each by the nearest example of its task.

    An example as near as others gets its share of the point, as in `evaluate`. The interval is over tasks.

    Args:
        embeddings: (samples, dimensions).
        ids: (samples,) the id of each.
        tasks: as `likewise.evaluation.tasks.read_tasks` gives them.
        distance: a name that `likewise.distances.build` knows.

    Raises:
        ValueError: for no tasks, an id that is no sample, the line named, or NaN embeddings.

    >>> from likewise.evaluation.tasks import parse
    >>> tasks = parse(["p x", "q y"], where="tasks.txt")
    >>> points = np.array([[0.0], [5.0], [0.2], [0.3]])
    >>> evaluate_tasks(points, ["x", "y", "p", "q"], tasks, distance="euclidean").accuracy
    0.5
    """
    if not tasks:
        raise ValueError("the list holds no task")
    matrix, rows = as_embeddings(embeddings), {name: row for row, name in enumerate(ids)}
    right = np.array([_task_accuracy(matrix, rows, task, distance) for task in tasks])
    ways = sorted({len({line.example for line in task}) for task in tasks})
    span = f"{ways[0]}" if len(ways) == 1 else f"{ways[0]} to {ways[-1]}"
    return OneShotResult(
        accuracy=float(right.mean()),
        interval=mean_interval(right),
        episodes=len(tasks),
        protocol=f"{span}-way 1-shot, {sum(map(len, tasks)):,} probes in {len(tasks):,} listed "
        f"{'task' if len(tasks) == 1 else 'tasks'}, nearest",
    )


def _task_accuracy(matrix: Tensor, rows: Mapping[str, int], task: Task, distance: str) -> float:
    """Return the mean point of the probes of one task."""
    examples = {line.example: line for line in reversed(task)}
    probes = [_row(rows, line, line.probe) for line in task]
    gallery = [_row(rows, line, example) for example, line in examples.items()]
    scores = Scores.build(matrix[probes], matrix[gallery], distance).block(
        slice(0, len(probes)), slice(0, len(gallery))
    )
    best = scores == scores.max(axis=1, keepdims=True)
    places = {example: place for place, example in enumerate(examples)}
    own = [places[line.example] for line in task]
    return float(np.mean(best[np.arange(len(probes)), own] / best.sum(axis=1)))


def _row(rows: Mapping[str, int], line: Line, name: str) -> int:
    if name not in rows:
        raise ValueError(f"{line.place}: {name!r} is no sample of val or test")
    return rows[name]


@dataclass(frozen=True)
class _Pool:
    """The classes that can be drawn, by group.

    Attributes:
        samples: (samples,) row indices by group and class, and inside a class by the embedding itself.
        starts: (classes,) where each class begins in `samples`, ordered by group.
        counts: (classes,) how many samples it has.
        group_starts: (groups,) where each group begins in `starts`.
        group_counts: (groups,) how many classes it has.
    """

    samples: Indices
    starts: Indices
    counts: Indices
    group_starts: Indices
    group_counts: Indices

    @classmethod
    def build(cls, matrix: Matrix, codes: Indices, groups: Indices, *, ways: int, size: int) -> "_Pool":
        order = np.lexsort((*matrix.T, codes, groups))
        both = np.stack((groups, codes), axis=1)[order]
        names, starts, counts = np.unique(both, axis=0, return_index=True, return_counts=True)
        drawable = counts >= size
        _, group_starts, group_counts = np.unique(names[drawable, 0], return_index=True, return_counts=True)
        wide = group_counts >= ways
        if not wide.any():
            raise TooFewError(
                f"{ways}-way episodes need {ways} classes of at least {size} samples each in one group; "
                f"the most there are is {group_counts.max(initial=0)}"
            )
        return cls(order, starts[drawable], counts[drawable], group_starts[wide], group_counts[wide])

    def draw(self, generator: np.random.Generator, *, episodes: int, ways: int, size: int) -> Indices:
        """Return (episodes, ways, size) row indices: distinct classes of one group, distinct samples of each."""
        group = generator.integers(self.group_counts.size, size=episodes)
        classes = self.group_starts[group, None] + _distinct(generator, self.group_counts[group], ways)
        positions = _distinct(generator, self.counts[classes].ravel(), size)
        offsets: Indices = positions.reshape(episodes, ways, size)
        rows: Indices = self.samples[self.starts[classes][..., None] + offsets]
        return rows


def _distinct(generator: np.random.Generator, populations: Indices, size: int) -> Indices:
    """Return (rows, size) distinct numbers below each row's population, in random order.

    Floyd's sampling, all rows at once: Bentley and Floyd, "A sample of brilliance", 1987.
    """
    chosen = np.empty((populations.size, size), dtype=np.int64)
    for column in range(size):
        last = populations - size + column
        number = (generator.random(populations.size) * (last + 1)).astype(np.int64)
        taken = (chosen[:, :column] == number[:, None]).any(axis=1)
        chosen[:, column] = np.where(taken, last, number)
    return np.take_along_axis(chosen, generator.random(chosen.shape).argsort(axis=1), axis=1)


def _parts(drawn: Indices, *, shots: int, queries: int) -> Iterator[tuple[Indices, Indices]]:
    """Yield the enrolled samples and the probes of as many episodes as fit into a block."""
    ways = drawn.shape[1]
    step = max(1, BLOCK // (ways * ways * shots * queries))
    for start in range(0, len(drawn), step):
        part = drawn[start : start + step]
        yield part[..., :shots], part[..., shots:]


def _nearest(matrix: Matrix, enrolled: Indices, probes: Indices, distance: str) -> Floats:
    """Return each episode's accuracy when the nearest of (episodes, ways, shots) enrolled samples answers."""
    episodes, ways, shots = enrolled.shape
    found = scores(matrix[probes], matrix[enrolled], distance)
    return _accuracy(found.reshape(episodes, -1, ways, shots).max(axis=3))


def _prototype(matrix: Matrix, enrolled: Indices, probes: Indices, distance: str) -> Floats:
    """Return each episode's accuracy when the nearest mean of a class's enrolled samples answers."""
    return _accuracy(scores(matrix[probes], matrix[enrolled].mean(axis=2, dtype=np.float64), distance))


def scores(probes: Matrix, enrolled: Matrix, distance: str) -> Singles:
    """Return (episodes, probes, enrolled) scores of the embeddings (episodes, ..., dimensions) of each episode."""
    sides = [torch.from_numpy(side.reshape(-1, side.shape[-1])) for side in (probes, enrolled)]
    return Scores.build(sides[0], sides[1], distance).stacks(len(probes))


def _accuracy(scores: Singles) -> Floats:
    """Return the share of (episodes, ways x queries, ways) scores whose best is the probe's own class."""
    best = scores == scores.max(axis=2, keepdims=True)
    own = np.repeat(np.arange(scores.shape[2]), scores.shape[1] // scores.shape[2])
    points = best[:, np.arange(own.size), own] / best.sum(axis=2)
    accuracy: Floats = points.mean(axis=1)
    return accuracy


def _check_numbers(**numbers: int) -> None:
    for name, number in numbers.items():
        least = 2 if name == "ways" else 1
        if number < least:
            raise ValueError(f"{name} must be at least {least}, not {number}")


MODES = {"nearest": _nearest, "prototype": _prototype}

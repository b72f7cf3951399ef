"""What a training epoch eats, batch by batch, as sample indices: P x K, episodes and plain shuffles.

An epoch is a function of its arguments alone, `seed` and `epoch` among them, and comes whole: to go on after batch b,
make it again and slice it, `p_by_k(...)[b:]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from likewise.tuples.ranking import Groups, Indices, generator_of, group, stable_order

# Rounds in which two batches at a time deal their classes anew: each batch ends up mixed from 2^8 of the first ones.
_ROUNDS = 8


def p_by_k(
    labels: npt.ArrayLike,
    *,
    classes_per_batch: int,
    samples_per_class: int,
    seed: int,
    epoch: int,
    weights: Mapping[Any, float] | None = None,
) -> Indices:
    """Return an epoch of batches (batches, P * K) of P distinct classes times K samples, each class's in a row.

    Every sample is seen at least once. A class of m samples takes ceil(m / K) places, or more where batches have room
    or its weight asks for it; its samples are shuffled and dealt round and round over them, so that a place holds
    K different samples, or every sample of a class smaller than K as evenly as repeats allow. An epoch has
    as many batches as the places fill, and at least as many as the largest class has places.

    `weights` maps every label to a weight: the places that coverage takes in all are shared out in proportion, and a
    class gets its share or what coverage takes, whichever is more. With equal weights all classes are seen about
    equally often, however large they are.

    >>> epoch = p_by_k([0, 0, 1, 1, 1, 2, 2], classes_per_batch=2, samples_per_class=2, seed=0, epoch=0)
    >>> epoch.shape, sorted(set(epoch.ravel().tolist()))
    ((2, 4), [0, 1, 2, 3, 4, 5, 6])

    Raises:
        ValueError: if there are fewer than P classes, P or K is below 2, or a weight is missing, negative or not
            finite.
    """
    groups = group(labels)
    _check_batch(classes_per_batch, samples_per_class, len(groups.sizes))
    generator = generator_of(seed, epoch)
    places = -(-groups.sizes // samples_per_class)
    if weights is not None:
        places = np.maximum(places, _shares(weights, _names(labels, groups), int(places.sum())))
    batches = max(-(-int(places.sum()) // classes_per_batch), int(places.max()))
    places = _filled(places, batches, classes_per_batch, generator)
    grid = _dealt(places, batches, classes_per_batch, generator)
    return _samples(groups, grid, samples_per_class, generator).reshape(batches, -1)


def episodes(
    labels: npt.ArrayLike, *, ways: int, shots: int, queries: int, count: int, seed: int, epoch: int
) -> tuple[Indices, Indices]:
    """Return support (count, ways, shots) and query samples (count, ways, queries) of episodes.

    Each episode picks `ways` classes uniformly among those with enough samples, and of each `shots + queries`
    different samples uniformly. Row w of both is one class.

    >>> support, query = episodes([0, 0, 1, 1, 2, 2], ways=2, shots=1, queries=1, count=5, seed=0, epoch=0)
    >>> support.shape, query.shape
    ((5, 2, 1), (5, 2, 1))

    Raises:
        ValueError: if `ways` is below 2, another number below 1, or too few classes have enough samples.
    """
    if ways < 2 or min(shots, queries, count) < 1:
        raise ValueError(
            f"Episodes of {ways} ways, {shots} shots and {queries} queries, {count} of them: give two ways or "
            "more and at least one of the others."
        )
    groups, each = group(labels), shots + queries
    able = np.flatnonzero(groups.sizes >= each)
    if len(able) < ways:
        raise ValueError(
            f"{ways} ways were asked for, but {len(able)} of {len(groups.sizes)} classes have the {each} samples "
            "that shots and queries take: ask for fewer ways, shots or queries."
        )
    generator = generator_of(seed, epoch)
    chosen = able[_distinct(np.full(count, len(able)), ways, generator)]
    rows = groups.starts[chosen][..., None] + _distinct(groups.sizes[chosen], each, generator)
    samples = groups.to_samples(rows)
    return samples[..., :shots], samples[..., shots:]


def plain(count: int, *, batch_size: int, seed: int, epoch: int, drop_last: bool = False) -> list[Indices]:
    """Return an epoch of shuffled batches of the samples 0 to count - 1, each once; the last may be smaller.

    With `drop_last` a smaller last batch is left out, so that its samples are not seen in this epoch.

    >>> [len(batch) for batch in plain(10, batch_size=4, seed=0, epoch=0)]
    [4, 4, 2]

    Raises:
        ValueError: if there are no samples, or the batch size is below 1.
    """
    if count < 1 or batch_size < 1:
        raise ValueError(f"{count} samples in batches of {batch_size}: give at least one of each.")
    order = generator_of(seed, epoch).permutation(count)
    stop = count - count % batch_size if drop_last else count
    return [order[start : start + batch_size] for start in range(0, stop, batch_size)]


def _check_batch(classes: int, samples: int, known: int) -> None:
    if classes < 2 or samples < 2:
        raise ValueError(
            f"A batch of {classes} classes x {samples} samples lacks pairs: it takes two classes for an impostor "
            "pair and two samples of a class for a genuine one."
        )
    if classes > known:
        raise ValueError(
            f"A batch of {classes} classes was asked for, but the labels have {known}: ask for at most {known}."
        )


def _names(labels: npt.ArrayLike, groups: Groups) -> list[Any]:
    names: list[Any] = np.asarray(labels)[groups.to_samples(groups.starts)].tolist()
    return names


def _shares(weights: Mapping[Any, float], names: list[Any], places: int) -> Indices:
    missing = [name for name in names if name not in weights]
    if missing:
        raise ValueError(
            f"{len(missing)} classes have no weight, {missing[0]!r} first: give each class a number from 0 up."
        )
    values = np.array([weights[name] for name in names], dtype=np.float64)
    if not (np.isfinite(values).all() and (values >= 0).all() and values.any()):
        raise ValueError("Class weights must be finite, none below 0 and one above.")
    shares: Indices = np.rint(values / values.sum() * places).astype(np.int64)
    return shares


def _filled(places: Indices, batches: int, width: int, generator: np.random.Generator) -> Indices:
    """Return places (classes,) that sum to batches * width, none above batches, added to as evenly as it goes."""
    missing = batches * width - int(places.sum())
    while missing:
        able = np.flatnonzero(places < batches)
        if missing < len(able):
            able = generator.permutation(able)[:missing]
        more = np.minimum(max(1, missing // len(able)), batches - places[able])
        places[able] += more
        missing -= int(more.sum())
    return places


def _dealt(places: Indices, batches: int, width: int, generator: np.random.Generator) -> Indices:
    """Return classes (batches, width), class c in `places[c]` of the rows, in none of them twice, well mixed.

    Laid end to end and wrapped after every `batches` places, no class meets itself, since none has more. The
    mixing keeps that: two rows at a time keep the classes that they share and deal the others anew at random
    (the curveball algorithm of Strona et al. 2014, on half of all rows against the other half at once).
    """
    order = generator.permutation(len(places))
    grid = np.repeat(order, places[order]).reshape(width, batches).T
    grid = grid[generator.permutation(batches)]
    for _ in range(_ROUNDS):
        rows = generator.permutation(batches)[: batches // 2 * 2].reshape(2, -1)
        both = np.sort(np.concatenate([grid[rows[0]], grid[rows[1]]], axis=1), axis=1)
        twin = both[:, 1:] == both[:, :-1]
        key = generator.random(both.shape)
        key[:, :-1][twin] = -1
        key[:, 1:][twin] = 2
        both = np.take_along_axis(both, key.argsort(axis=1), axis=1)
        grid[rows[0]], grid[rows[1]] = both[:, :width], both[:, width:]
    return grid


def _samples(groups: Groups, grid: Indices, each: int, generator: np.random.Generator) -> Indices:
    """Return samples (batches, width, each) for a grid of classes (batches, width)."""
    shuffled = generator.permutation(groups.samples)
    owner = np.repeat(np.arange(len(groups.sizes)), groups.sizes)
    shuffled = shuffled[stable_order(owner[shuffled])]
    classes = grid.ravel()
    places = np.bincount(classes, minlength=len(groups.sizes))
    turn = np.empty_like(classes)
    turn[stable_order(classes)] = np.arange(len(classes)) - np.repeat(np.cumsum(places) - places, places)
    within = (turn[:, None] * each + np.arange(each)) % groups.sizes[classes][:, None]
    rows: Indices = shuffled[groups.starts[classes][:, None] + within]
    return groups.to_samples(rows).reshape(*grid.shape, each)


def _distinct(sizes: Indices, count: int, generator: np.random.Generator) -> Indices:
    """Return `count` different numbers below each of `sizes` (...), as (..., count), in random order.

    Floyd's sampling (Bentley, Floyd 1987), all rows at once: step i draws below a bound one larger than the step
    before, and takes the bound itself where the draw was taken already.
    """
    chosen = np.empty((*sizes.shape, count), dtype=np.int64)
    for step in range(count):
        last = sizes - count + step
        drawn = generator.integers(0, last + 1)
        taken = (chosen[..., :step] == drawn[..., None]).any(axis=-1)
        chosen[..., step] = np.where(taken, last, drawn)
    shuffled: Indices = generator.permuted(chosen, axis=-1)
    return shuffled

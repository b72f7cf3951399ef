"""What the network eats: the batches of an epoch, as a pure function of the seed and the epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from likewise.choices import choose
from likewise.data.augment import turned
from likewise.data.batches import Media
from likewise.learning.row_tuples import PairTuples, TripletTuples
from likewise.tuples import samplers

Rows = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Batch:
    """Samples by number, the class number of each, and the tuples among them (none: mined in the batch).

    `quarters` says by how many right angles each sample is turned, and from 4 on mirrored (none: not at all).
    """

    samples: Rows
    labels: Tensor
    tuples: PairTuples | TripletTuples | None = None
    quarters: Tensor | None = None

    def gathered(self, media: Media, *, seed: int, part: slice = slice(None)) -> Tensor:
        """Return a row of each sample of a part, turned, on the media's device; not augmented yet.

        The rows are drawn by the seed for the whole batch: alike in all processes, and when training is resumed.
        """
        rows = media.one_each(self.samples, seed=seed)
        samples = media.gather(rows[part])
        return samples if self.quarters is None else turned(samples, self.quarters[part])


class Feed(Protocol):
    """A source of batches."""

    def epoch(self, number: int) -> tuple[int, Iterator[Batch]]:
        """Return how many batches epoch `number` has, and the batches."""


class ClassFeed:
    """P classes by K samples a batch; the loss finds its pairs or triplets among them.

    Args:
        rows: numbers of the training samples (n,).
        labels: class number of each (n,).
        classes_per_batch: P.
        samples_per_class: K.
        seed: with the epoch it decides the batches.
        rotations: each class turned by 0, 1, ... `rotations` - 1 right angles is a class of its own (Santoro et al.:
            Meta-learning with memory-augmented neural networks, 2016), and from 4 on so are their mirror images: class
            c changed in way r is number `rotations` c + r, and an epoch is so many times as long.
    """

    def __init__(
        self,
        rows: Rows,
        labels: Rows,
        *,
        classes_per_batch: int,
        samples_per_class: int,
        seed: int,
        rotations: int = 1,
    ) -> None:
        self._rows = np.repeat(rows, rotations)
        self._quarters = np.tile(np.arange(rotations), len(rows))
        self._labels = np.repeat(labels, rotations) * rotations + self._quarters
        self._rotations = rotations
        self._classes, self._samples, self._seed = classes_per_batch, samples_per_class, seed

    def epoch(self, number: int) -> tuple[int, Iterator[Batch]]:
        """Return how many batches epoch `number` has, and the batches."""
        plan = list(
            samplers.p_by_k(
                self._labels,
                classes_per_batch=self._classes,
                samples_per_class=self._samples,
                seed=self._seed,
                epoch=number,
            )
        )
        return len(plan), map(self._batch, plan)

    def _batch(self, places: Rows) -> Batch:
        quarters = torch.from_numpy(self._quarters[places]) if self._rotations > 1 else None
        return Batch(self._rows[places], torch.from_numpy(self._labels[places]), quarters=quarters)


class TupleFeed:
    """Generated pairs or triplets, in a new order each epoch; a sample used twice in a batch is embedded once.

    Args:
        columns: sample numbers of each member, (n,) each: left and right, or anchor, positive and negative.
        labels: class number of every sample, -1 where it has none.
        same: 1 for a genuine and 0 for an impostor pair (n,); none for triplets.
        batch_size: pairs or triplets a batch.
        seed: with the epoch it decides the order.
    """

    def __init__(
        self, columns: tuple[Rows, ...], labels: Rows, *, same: Rows | None, batch_size: int, seed: int
    ) -> None:
        self._columns, self._labels, self._same = np.stack(columns), labels, same
        self._batch_size, self._seed = batch_size, seed

    def epoch(self, number: int) -> tuple[int, Iterator[Batch]]:
        """Return how many batches epoch `number` has, and the batches."""
        count = self._columns.shape[1]
        plan = list(samplers.plain(count, batch_size=self._batch_size, seed=self._seed, epoch=number))
        return len(plan), map(self._batch, plan)

    def _batch(self, places: Rows) -> Batch:
        members = self._columns[:, places]
        rows, where = np.unique(members, return_inverse=True)
        indices = [torch.from_numpy(column) for column in where.reshape(members.shape)]
        labels = torch.from_numpy(self._labels[rows])
        if self._same is None:
            return Batch(rows, labels, TripletTuples(*indices))
        left, right = indices
        return Batch(rows, labels, PairTuples(left, right, torch.from_numpy(self._same[places])))


def build(
    name: str,
    table: pd.DataFrame,
    ids: pd.Index[str],
    labels: Rows,
    *,
    batch_size: int,
    classes_per_batch: int,
    samples_per_class: int,
    seed: int,
    rotations: int = 1,
) -> Feed:
    """Make a feed from the table it feeds on.

    Args:
        name: `classes`, `pairs` or `triplets`.
        table: columns id and class; left, right and same; or anchor, positive and negative.
        ids: the id of every sample.
        labels: the class number of every sample, -1 where it has none.
        batch_size: pairs or triplets a batch.
        classes_per_batch: P of the classes feed.
        samples_per_class: K of the classes feed.
        seed: decides the batches of every epoch.
        rotations: right angles by which turned classes of the classes feed are classes of their own; 1: as they are.

    Raises:
        ValueError: when the name is unknown, another feed is to turn classes, or the table names a sample that is
            not there.
    """
    columns = choose("feed", name, COLUMNS)
    members = tuple(rows_of(table[column], ids) for column in columns)
    if name == "classes":
        return ClassFeed(
            members[0],
            labels[members[0]],
            classes_per_batch=classes_per_batch,
            samples_per_class=samples_per_class,
            seed=seed,
            rotations=rotations,
        )
    if rotations > 1:
        raise ValueError(f"rotations make new classes, which the feed {name} knows nothing of: take the feed classes")
    same = table["same"].to_numpy(dtype=np.int64) if name == "pairs" else None
    return TupleFeed(members, labels, same=same, batch_size=batch_size, seed=seed)


def rows_of(column: pd.Series[str], ids: pd.Index[str]) -> Rows:
    """Return the number of each sample id: its row in the table of samples.

    Raises:
        ValueError: when an id is not among the samples.
    """
    rows = ids.get_indexer(pd.Index(column))
    if (rows < 0).any():
        unknown = column[rows < 0].iloc[0]
        raise ValueError(f"sample {unknown!r} is in a table but not in the samples; run `dvc repro`")
    return np.asarray(rows, dtype=np.int64)


COLUMNS = {
    "classes": ("id",),
    "pairs": ("left", "right"),
    "triplets": ("anchor", "positive", "negative"),
}

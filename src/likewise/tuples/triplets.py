"""All triplets of a set of labels, numbered rather than listed, and uniform draws from them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from likewise.tuples.ranking import (
    Indices,
    Ladder,
    Numbered,
    checked_ranks,
    distinct_ranks,
    generator_of,
    group,
    in_chunks,
)


class Triplets(Numbered):
    """Every (anchor, positive, negative) of labels (n,), numbered from 0 to count - 1.

    Anchor and positive are two different samples of one class, in either order, the negative is of another: a
    class of m samples has m (m - 1) (n - m) triplets, one alone only lends negatives. A rank is unranked by
    division: its class, then anchor, positive and negative as digits of a mixed radix.

    Beyond the result it holds a few numbers a class where the labels are grouped (equal ones adjacent), and
    the samples' order, 8 bytes a sample, where they are not.

    >>> triplets = Triplets(["a", "a", "b", "b", "b"])
    >>> triplets.count
    18
    >>> triplets[[0, 1, 17]]
    (array([0, 0, 4]), array([1, 1, 3]), array([2, 3, 1]))
    >>> triplets.rank([4], [3], [1])
    array([17])

    Raises:
        ValueError: if the labels are not integers or strings (n,), or have more than 2^63 - 1 triplets.
    """

    def __init__(self, labels: npt.ArrayLike) -> None:
        self._groups = group(labels)
        samples = self._groups.samples
        self._ladder = Ladder([m * (m - 1) * (samples - m) for m in self._groups.sizes.tolist()])

    def __getitem__(self, ranks: npt.ArrayLike) -> tuple[Indices, Indices, Indices]:
        """Return the anchors, positives and negatives, each (n,), of ranks (n,).

        Raises:
            ValueError: if the ranks are not integers in one dimension.
            IndexError: if one is not between 0 and count - 1.
        """
        known = checked_ranks(ranks, self.count)
        anchor, positive, negative = in_chunks(len(known), 3, lambda start, stop: self._unrank(known[start:stop]))
        return anchor, positive, negative

    def rank(self, anchor: npt.ArrayLike, positive: npt.ArrayLike, negative: npt.ArrayLike) -> Indices:
        """Return the rank (n,) of each triplet of samples, each side (n,): the inverse of indexing.

        Raises:
            ValueError: if a row is no triplet of these labels.
            IndexError: if a sample is not between 0 and n - 1.
        """
        groups = self._groups
        sides = [groups.to_rows(checked_ranks(side, groups.samples)) for side in (anchor, positive, negative)]
        owner, kin, other = (groups.classes(side) for side in sides)
        wrong = np.flatnonzero((owner != kin) | (sides[0] == sides[1]) | (owner == other))
        if len(wrong):
            raise ValueError(
                f"Row {wrong[0]} is no triplet: anchor and positive must be two samples of one class, "
                "and the negative one of another."
            )
        start, size = groups.starts.take(owner), groups.sizes.take(owner)
        first, second, third = sides[0] - start, sides[1] - start, sides[2]
        couple = first * (size - 1) + second - (second > first)
        negative = third - size * (third > start)
        rank: Indices = self._ladder.starts.take(owner) + couple * (groups.samples - size) + negative
        return rank

    def draw(self, count: int, *, generator: np.random.Generator) -> tuple[Indices, Indices, Indices]:
        """Return `count` triplets drawn independently and uniformly, so that one may come twice.

        Raises:
            ValueError: if there are none to draw from.
        """
        if count and not self.count:
            raise ValueError("These labels have no triplets: one class needs two samples, and another class one.")
        anchor, positive, negative = in_chunks(
            count, 3, lambda start, stop: self._unrank(generator.integers(self.count, size=stop - start))
        )
        return anchor, positive, negative

    def _unrank(self, ranks: Indices) -> tuple[Indices, Indices, Indices]:
        owner, negative = self._placed(ranks)
        start, size = self._groups.starts.take(owner), self._groups.sizes.take(owner)
        others, kin = self._groups.samples - size, size - 1
        positive = negative // others
        negative -= positive * others
        anchor = positive // kin
        positive -= anchor * kin
        # The positive skips the anchor, and the negative the anchor's whole class.
        positive += positive >= anchor
        negative += size * (negative >= start)
        anchor += start
        positive += start
        to_samples = self._groups.to_samples
        return to_samples(anchor), to_samples(positive), to_samples(negative)


def draw_triplets(
    labels: npt.ArrayLike, count: int, *, seed: int, distinct: bool = True
) -> tuple[Indices, Indices, Indices]:
    """Return `count` anchors, positives and negatives, each (count,), uniform over all triplets of labels (n,).

    No triplet comes twice, unless `distinct` is off. Memory grows with `count`, not with the triplets there are. The
    draw depends on the order of the samples: sort them by id for the same triplets from the same set.

    >>> anchor, positive, negative = draw_triplets([0, 0, 1, 1, 1], 18, seed=0)
    >>> len(set(zip(anchor.tolist(), positive.tolist(), negative.tolist())))
    18

    Raises:
        ValueError: if there are fewer triplets than are asked for, or the labels are not such.
    """
    if count < 0:
        raise ValueError(f"{count} triplets were asked for: give a number from 0 up.")
    triplets, generator = Triplets(labels), generator_of(seed)
    if not distinct:
        return triplets.draw(count, generator=generator)
    if count > triplets.count:
        raise ValueError(
            f"{count} distinct triplets were asked for, but these labels have {triplets.count}: ask for fewer."
        )
    return triplets[distinct_ranks(triplets.count, count, generator)]

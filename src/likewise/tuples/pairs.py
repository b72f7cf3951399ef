"""All pairs of a set of labels, numbered rather than listed, and balanced draws from them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from likewise.tuples.forgeries import SkilledPairs
from likewise.tuples.ranking import (
    Indices,
    Ladder,
    Masks,
    checked_ranks,
    distinct_ranks,
    generator_of,
    group,
    in_chunks,
)


class Pairs:
    """Every unordered pair of two samples of labels (n,), numbered from 0: first the genuine ones, then the impostors.

    A pair comes once, its smaller sample as left; no sample is paired with itself. A class of m samples has
    m (m - 1) / 2 genuine pairs; its impostor pairs are counted with the samples of the classes before it.

    Beyond the result it holds a few numbers a class where the labels are grouped (equal ones adjacent), and
    the samples' order, 8 bytes a sample, where they are not.

    >>> pairs = Pairs(["a", "a", "b"])
    >>> pairs.genuine_count, pairs.impostor_count, len(pairs)
    (1, 2, 3)
    >>> pairs[[0, 1, 2]]
    (array([0, 0, 1]), array([1, 2, 2]), array([ True, False, False]))

    Raises:
        ValueError: if the labels are not integers or strings (n,).
    """

    def __init__(self, labels: npt.ArrayLike) -> None:
        self._groups = group(labels)
        sizes, starts = self._groups.sizes.tolist(), self._groups.starts.tolist()
        self._genuine = Ladder([size * (size - 1) // 2 for size in sizes])
        self._impostor = Ladder([size * start for size, start in zip(sizes, starts, strict=True)])

    @property
    def genuine_count(self) -> int:
        """How many pairs are of one class."""
        return self._genuine.total

    @property
    def impostor_count(self) -> int:
        """How many pairs are of two classes."""
        return self._impostor.total

    def __len__(self) -> int:
        return self.genuine_count + self.impostor_count

    def __getitem__(self, ranks: npt.ArrayLike) -> tuple[Indices, Indices, Masks]:
        """Return left and right samples and whether they are of the same class, each (n,), of ranks (n,).

        Raises:
            ValueError: if the ranks are not integers in one dimension.
            IndexError: if one is not between 0 and len - 1.
        """
        known = checked_ranks(ranks, len(self))
        same = known < self.genuine_count
        left, right = np.empty_like(known), np.empty_like(known)
        left[same], right[same] = self.genuine(known[same])
        left[~same], right[~same] = self.impostor(known[~same] - self.genuine_count)
        return left, right, same

    def genuine(self, ranks: npt.ArrayLike) -> tuple[Indices, Indices]:
        """Return left and right samples, each (n,), of genuine ranks (n,), 0 to genuine_count - 1.

        Raises:
            ValueError: if the ranks are not integers in one dimension.
            IndexError: if one is not between 0 and genuine_count - 1.
        """
        known = checked_ranks(ranks, self.genuine_count)
        left, right = in_chunks(len(known), 2, lambda start, stop: self._one_class(known[start:stop]))
        return left, right

    def impostor(self, ranks: npt.ArrayLike) -> tuple[Indices, Indices]:
        """Return left and right samples, each (n,), of impostor ranks (n,), 0 to impostor_count - 1.

        Raises:
            ValueError: if the ranks are not integers in one dimension.
            IndexError: if one is not between 0 and impostor_count - 1.
        """
        known = checked_ranks(ranks, self.impostor_count)
        left, right = in_chunks(len(known), 2, lambda start, stop: self._two_classes(known[start:stop]))
        return left, right

    def _one_class(self, ranks: Indices) -> tuple[Indices, Indices]:
        owner = self._genuine.locate(ranks)
        start, size = self._groups.starts.take(owner), self._groups.sizes.take(owner)
        within = ranks - self._genuine.starts.take(owner)
        # The triangle of pairs, row j holding j of them, folded into a rectangle: row m - 1 - i is filled up by a
        # short row, so that a division unranks and no root has to be rounded.
        width = (size - 1) | 1
        fold = within // width
        column = within - fold * width
        row = size - 1 - fold
        over = column >= row
        column -= row * over
        row += (width - 2 * row) * over
        return self._ordered(start + column, start + row)

    def _two_classes(self, ranks: Indices) -> tuple[Indices, Indices]:
        owner = self._impostor.locate(ranks)
        start = self._groups.starts.take(owner)
        within = ranks - self._impostor.starts.take(owner)
        row = within // start
        return self._ordered(within - row * start, start + row)

    def _ordered(self, one: Indices, other: Indices) -> tuple[Indices, Indices]:
        one, other = self._groups.to_samples(one), self._groups.to_samples(other)
        return np.minimum(one, other), np.maximum(one, other)


def draw_pairs(
    labels: npt.ArrayLike,
    count: int,
    *,
    seed: int,
    genuine_share: float = 0.5,
    forges: npt.ArrayLike = (),
    skilled_share: float = 0.0,
) -> tuple[Indices, Indices, Masks]:
    """Return left, right and same, each (count,): distinct pairs of labels (n,), uniform among each kind, shuffled.

    The genuine ones are `genuine_share` of the count, rounded half up. The left sample is always the smaller:
    a pair has no direction, so it cannot come again turned round. Memory grows with `count`, not with the pairs
    there are. The draw depends on the order of the samples: sort them by id for the same pairs from the same set.

    Where there are forgeries, `skilled_share` of the impostors, rounded half up, are a genuine sample and a forgery of
    its class; the others are genuine samples of two classes.

    Args:
        labels: the class of each genuine sample.
        count: how many pairs.
        seed: another seed, another draw.
        genuine_share: share of the pairs that are genuine.
        forges: the class that each forgery (k,) imitates; forgeries are counted n, n + 1, ... in the result.
        skilled_share: share of the impostors whose right side is a forgery, where there are any.

    >>> left, right, same = draw_pairs([0, 0, 1, 1], 4, seed=0)
    >>> int(same.sum()), bool((left < right).all())
    (2, True)

    Raises:
        ValueError: if there are fewer pairs of a kind than are asked for, a share is not between 0 and 1, or the
            labels are not such.
    """
    if count < 0 or not 0 <= genuine_share <= 1 or not 0 <= skilled_share <= 1:
        raise ValueError(
            f"{count} pairs with a genuine share of {genuine_share} and a skilled one of {skilled_share} were asked "
            "for: give a count from 0 up and shares between 0 and 1."
        )
    pairs, generator = Pairs(labels), generator_of(seed)
    imitated = np.asarray(forges)
    genuine = int(count * genuine_share + 0.5)
    skilled = int((count - genuine) * skilled_share + 0.5) if len(imitated) else 0
    impostor = count - genuine - skilled
    if genuine > pairs.genuine_count or impostor > pairs.impostor_count:
        raise ValueError(
            f"{genuine} genuine and {impostor} impostor pairs were asked for, but these labels have "
            f"{pairs.genuine_count} genuine and {pairs.impostor_count} impostor pairs: ask for fewer, "
            "or change the genuine share."
        )
    ranks = [
        distinct_ranks(pairs.genuine_count, genuine, generator),
        distinct_ranks(pairs.impostor_count, impostor, generator) + pairs.genuine_count,
    ]
    left, right, same = (np.concatenate(parts) for parts in zip(*map(pairs.__getitem__, ranks), strict=True))
    if skilled:
        forged = _draw_skilled(labels, imitated, skilled, generator)
        left, right = np.append(left, forged[0]), np.append(right, forged[1])
        same = np.append(same, np.zeros(skilled, dtype=bool))
    order = np.arange(count)
    generator.shuffle(order)
    return left[order], right[order], same[order]


def _draw_skilled(
    labels: npt.ArrayLike, forges: npt.ArrayLike, count: int, generator: np.random.Generator
) -> tuple[Indices, Indices]:
    """Return distinct pairs of a sample and a forgery of its class; forgeries are counted on from the samples."""
    pairs = SkilledPairs(labels, forges)
    if count > pairs.count:
        raise ValueError(
            f"{count} pairs of a sample and a forgery of its class were asked for, but there are {pairs.count}: ask "
            "for fewer pairs, or for a smaller share of skilled impostors."
        )
    sample, forgery = pairs[distinct_ranks(pairs.count, count, generator)]
    return sample, forgery + len(np.asarray(labels))


def thin_pairs(same: npt.ArrayLike, count: int, *, seed: int) -> Indices:
    """Return the places (count,) of some of given pairs, in their order: each kind in its share, drawn uniformly.

    A kind that there is stays, with one pair at least. The draw depends on the order of the pairs.

    Args:
        same: whether each pair (n,) is genuine, 1 or 0.
        count: how many to take, 2 to n.
        seed: another seed, another draw.

    >>> thin_pairs([1, 0, 0, 0, 0, 1], 3, seed=0)
    array([0, 1, 3])

    Raises:
        ValueError: if there are fewer pairs.
    """
    kinds = np.asarray(same, dtype=bool)
    if not 2 <= count <= len(kinds):
        raise ValueError(f"{count} of {len(kinds)} pairs were asked for: give a count from 2 to {len(kinds)}.")
    genuine, impostors = np.flatnonzero(kinds), np.flatnonzero(~kinds)
    share = int(count * len(genuine) / len(kinds) + 0.5)
    share = min(max(share, min(1, len(genuine))), count - min(1, len(impostors)))
    generator = generator_of(seed)
    chosen = [
        genuine[distinct_ranks(len(genuine), share, generator)],
        impostors[distinct_ranks(len(impostors), count - share, generator)],
    ]
    return np.sort(np.concatenate(chosen))

"""Pairs and triplets of genuine samples and forgeries of their class, numbered and drawn without listing them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from likewise.tuples.ranking import Indices, Ladder, Numbered, checked_ranks, stable_order


@dataclass(frozen=True, eq=False)
class _Sorted:
    """Members sorted by class: those of class c are `order[starts[c]:starts[c] + sizes[c]]`."""

    order: Indices
    starts: Indices
    sizes: Indices

    @classmethod
    def by(cls, codes: Indices, classes: int) -> _Sorted:
        sizes = np.bincount(codes, minlength=classes)
        return cls(stable_order(codes), np.cumsum(sizes) - sizes, sizes)

    def member(self, owner: Indices, place: Indices) -> Indices:
        """Return the member at a place (n,) of a class (n,)."""
        return self.order.take(self.starts.take(owner) + place)


def _both(labels: npt.ArrayLike, forges: npt.ArrayLike) -> tuple[_Sorted, _Sorted]:
    own, imitated = np.asarray(labels), np.asarray(forges)
    if own.ndim != 1 or imitated.ndim != 1 or not len(own) or not len(imitated):
        raise ValueError(
            f"Labels have shape {own.shape} and forged ones {imitated.shape}: give one for each genuine sample and "
            "one for each forgery, in one dimension."
        )
    names, codes = np.unique(np.concatenate([own, imitated]), return_inverse=True)
    return _Sorted.by(codes[: len(own)], len(names)), _Sorted.by(codes[len(own) :], len(names))


class SkilledPairs(Numbered):
    """Every (genuine sample, forgery of its class), numbered from 0: all of them are impostor pairs.

    A class of m samples and f forgeries has m f of them. A forgery meets no other forgery, nor a sample of a class
    that it does not imitate.

    Args:
        labels: the class of each genuine sample (n,), integers or strings.
        forges: the class that each forgery (k,) imitates, likewise; one without a sample has no pairs.

    >>> pairs = SkilledPairs(["a", "b", "a"], ["a", "c"])
    >>> pairs.count, pairs[[0, 1]]
    (2, (array([0, 2]), array([0, 0])))

    Raises:
        ValueError: without samples, or without forgeries.
    """

    def __init__(self, labels: npt.ArrayLike, forges: npt.ArrayLike) -> None:
        self._samples, self._forgeries = _both(labels, forges)
        self._ladder = Ladder((self._samples.sizes * self._forgeries.sizes).tolist())

    def __getitem__(self, ranks: npt.ArrayLike) -> tuple[Indices, Indices]:
        """Return the samples, 0 to n - 1, and the forgeries, 0 to k - 1, each (r,), of ranks (r,).

        Raises:
            ValueError: if the ranks are not integers in one dimension.
            IndexError: if one is not between 0 and count - 1.
        """
        owner, place = self._placed(checked_ranks(ranks, self.count))
        sample, forgery = np.divmod(place, self._forgeries.sizes.take(owner))
        return self._samples.member(owner, sample), self._forgeries.member(owner, forgery)


class SkilledTriplets(Numbered):
    """Every (anchor, positive, forgery of their class as the negative), numbered from 0.

    Anchor and positive are two different genuine samples of one class, in either order: a class of m samples and f
    forgeries has m (m - 1) f triplets.

    Args:
        labels: the class of each genuine sample (n,), integers or strings.
        forges: the class that each forgery (k,) imitates, likewise.

    >>> triplets = SkilledTriplets(["a", "b", "a"], ["a"])
    >>> triplets.count, triplets[[0, 1]]
    (2, (array([0, 2]), array([2, 0]), array([0, 0])))

    Raises:
        ValueError: without samples, or without forgeries.
    """

    def __init__(self, labels: npt.ArrayLike, forges: npt.ArrayLike) -> None:
        self._samples, self._forgeries = _both(labels, forges)
        sizes = self._samples.sizes
        self._ladder = Ladder((sizes * (sizes - 1) * self._forgeries.sizes).tolist())

    def __getitem__(self, ranks: npt.ArrayLike) -> tuple[Indices, Indices, Indices]:
        """Return anchors and positives, 0 to n - 1, and forgeries, 0 to k - 1, each (r,), of ranks (r,).

        Raises:
            ValueError: if the ranks are not integers in one dimension.
            IndexError: if one is not between 0 and count - 1.
        """
        owner, place = self._placed(checked_ranks(ranks, self.count))
        couple, forgery = np.divmod(place, self._forgeries.sizes.take(owner))
        anchor, positive = np.divmod(couple, self._samples.sizes.take(owner) - 1)
        # The positive skips the anchor.
        positive += positive >= anchor
        members = self._samples.member
        return members(owner, anchor), members(owner, positive), self._forgeries.member(owner, forgery)

"""Which samples are nearest? Recall, precision, MAP@R, R-precision and NDCG of an exact search."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from likewise.evaluation.blocks import Indices, Scores, Singles
from likewise.evaluation.checks import Array, Labels, TooFewError, as_codes, as_embeddings
from likewise.evaluation.neighbours import Coarse, Found

# Scores in one block of the probe-by-gallery matrix.
BLOCK = 2**23

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class RetrievalResult:
    """How well nearest neighbours share the probe's class, averaged over the queries that have an answer.

    Attributes:
        recall: by k, the share of queries with a sample of their class among the k nearest.
        precision: by k, the share of the k nearest that are of the query's class.
        ndcg: by k, the discounted gain of the k nearest over that of a perfect ranking.
        map_at_r: mean average precision at R, R being the number of samples of the query's class to be found.
        r_precision: the share of the R nearest that are of the query's class.
        queries: how many probes were scored.
        excluded: how many were not, since the gallery holds no other sample of their class.
        gallery: how many samples each probe was searched among.
    """

    recall: dict[int, float]
    precision: dict[int, float]
    ndcg: dict[int, float]
    map_at_r: float
    r_precision: float
    queries: int
    excluded: int
    gallery: int


def evaluate(
    embeddings: Array,
    labels: Labels,
    *,
    distance: str,
    k: Sequence[int] = (1, 5),
    gallery: tuple[Array, Labels] | None = None,
) -> RetrievalResult:
    """Search the exact nearest samples of each probe and score their classes.

    Without `gallery` every sample is searched among all others, itself left out. A probe without another
    sample of its class has no right answer: it is left out of the means and counted, but others may still find it.

    Ties go against the model: among samples at one distance those of other classes come first, so no order of
    rows scores better than reported. Musgrave, Belongie and Lim, "A metric learning reality check", 2020, for
    MAP@R = 1/R sum over i up to R of P(i) [i-th is right]; Järvelin and Kekäläinen, "Cumulated gain-based
    evaluation of IR techniques", 2002, for NDCG with gains 0 and 1.

    Args:
        embeddings: (probes, dimensions).
        labels: (probes,) the class of each probe.
        distance: a name that `likewise.distances.build` knows.
        k: the cut-offs for recall, precision and NDCG.
        gallery: embeddings and labels of the samples to search, when they are not the probes.

    Raises:
        TooFewError: for no probe with an answer.
        ValueError: for NaN embeddings, or a `k` larger than the gallery.

    >>> points = np.array([[0.0], [1.0], [5.0], [6.0], [20.0]])
    >>> result = evaluate(points, ["a", "a", "b", "a", "c"], distance="euclidean", k=[1, 2])
    >>> result.recall, result.map_at_r, result.queries, result.excluded
    ({1: 0.666..., 2: 1.0}, 0.416..., 3, 2)
    """
    probes = as_embeddings(embeddings)
    others, codes, other_codes = _gallery(probes, labels, gallery)
    available = len(others) - (gallery is None)
    _check_cutoffs(k, available)
    wanted = np.bincount(other_codes, minlength=codes.max() + 1)[codes] - (gallery is None)
    asked = np.flatnonzero(wanted > 0)
    if not asked.size:
        raise TooFewError(f"none of the {len(probes)} probes has another sample of its class to find")
    search = _Search(Scores.build(probes, others, distance), codes, other_codes, itself=gallery is None)
    depth = int(max(*k, wanted.max()))
    totals = [_sums(right, wanted[rows], k) for rows, right in search.blocks(asked, depth)]
    means = np.sum(totals, axis=0) / asked.size
    recall, precision, ndcg = (dict(zip(k, row.tolist(), strict=True)) for row in means[2:].reshape(3, len(k)))
    return RetrievalResult(
        recall=recall,
        precision=precision,
        ndcg=ndcg,
        map_at_r=float(means[0]),
        r_precision=float(means[1]),
        queries=asked.size,
        excluded=len(probes) - asked.size,
        gallery=available,
    )


def _gallery(probes: Tensor, labels: Labels, gallery: tuple[Array, Labels] | None) -> tuple[Tensor, Indices, Indices]:
    """Return the samples to search, and the classes of probes and gallery as numbers of one numbering."""
    if gallery is None:
        codes = as_codes(labels, samples=len(probes))
        return probes, codes, codes
    others, names = as_embeddings(gallery[0]), [*np.asarray(labels), *np.asarray(gallery[1])]
    codes = as_codes(names, samples=len(probes) + len(others))
    return others, codes[: len(probes)], codes[len(probes) :]


def _check_cutoffs(k: Sequence[int], available: int) -> None:
    if not k or min(k) < 1:
        raise ValueError(f"k holds cut-offs of at least 1, not {list(k)}")
    if max(k) > available:
        raise ValueError(f"k = {max(k)} asks for more neighbours than the {available} samples there are to search")


@dataclass(frozen=True)
class _Search:
    """The exact search of probes among a gallery, a block of probes at a time."""

    scores: Scores
    codes: Indices
    gallery_codes: Indices
    itself: bool

    def blocks(self, asked: Indices, depth: int) -> Iterator[tuple[Indices, Flags]]:
        """Yield rows of the probes, and whether each of their `depth` nearest, nearest first, is of their class."""
        step = max(1, BLOCK // self.gallery_codes.size)
        blocks = [asked[start : start + step] for start in range(0, asked.size, step)]
        for rows, found in zip(blocks, self._candidates(blocks, depth), strict=True):
            yield rows, self._among_all(rows, depth) if found is None else self._among(rows, *found, depth)

    def _candidates(self, blocks: Sequence[Indices], depth: int) -> Iterator[Found | None]:
        """Yield for each block where in it, and in the gallery, the nearest are to be found; None: anywhere."""
        coarse = Coarse.of(self.scores)
        if coarse is None:
            yield from [None] * len(blocks)
            return
        everyone = coarse.of_all(depth=depth) if self.itself else None
        if everyone is not None:
            yield from (_of(rows, *everyone) for rows in blocks)
            return
        space = torch.empty(blocks[0].size, self.gallery_codes.size)
        for rows in blocks:
            yield coarse.of_rows(rows, depth=depth, leave_out=rows if self.itself else None, space=space)

    def _among(self, rows: Indices, places: Indices, columns: Indices, depth: int) -> Flags:
        """Return the flags of candidates listed row by row."""
        alike = self.codes[rows][places] == self.gallery_codes[columns]
        keys = _keys(self.scores.pairs(rows[places], columns), alike)
        order = np.lexsort((-keys, places))
        starts = np.searchsorted(places, np.arange(rows.size))
        flags: Flags = alike[order][starts[:, None] + np.arange(depth)]
        return flags

    def _among_all(self, rows: Indices, depth: int) -> Flags:
        """Return the flags out of the whole gallery."""
        scores = self.scores.block(rows, slice(0, self.gallery_codes.size))
        alike = self.codes[rows, None] == self.gallery_codes
        keys = torch.from_numpy(_keys(scores, alike))
        if self.itself:
            keys[torch.arange(rows.size), rows] = -torch.inf
        return np.take_along_axis(alike, keys.topk(depth, dim=1).indices.numpy(), axis=1)


def _of(rows: Indices, everyone: Indices, columns: Indices) -> Found:
    """Return those of the pairs, sorted by row, that belong to some rows, with the row's place among these."""
    first, last = np.searchsorted(everyone, (rows[0], rows[-1] + 1))
    places = np.searchsorted(rows, everyone[first:last])
    asked = rows[np.minimum(places, rows.size - 1)] == everyone[first:last]
    return places[asked], columns[first:last][asked]


def _keys(scores: Singles, alike: Flags) -> NDArray[np.float64]:
    """Return scores to sort by, those of the query's class behind others that tie with them."""
    keys = scores.astype(np.float64)
    # Different single-precision scores are further apart than this, so it decides ties alone.
    keys -= alike * (np.abs(keys) * 2.0**-40 + 1e-60)
    return keys


def _sums(right: Flags, wanted: NDArray[np.int64], k: Sequence[int]) -> NDArray[np.float64]:
    """Over a block of queries, the sums of MAP@R, R-precision, recall, precision and NDCG at each k."""
    ranks = np.arange(1, right.shape[1] + 1)
    found = np.cumsum(right, axis=1)
    within = right & (ranks <= wanted[:, None])
    average = (within * found / ranks).sum(axis=1) / wanted
    share = within.sum(axis=1) / wanted
    gains = np.cumsum(right / np.log2(ranks + 1), axis=1)
    ideal = np.cumsum(1 / np.log2(ranks + 1))
    recall = [(found[:, cut - 1] > 0).sum() for cut in k]
    precision = [(found[:, cut - 1] / cut).sum() for cut in k]
    ndcg = [(gains[:, cut - 1] / ideal[np.minimum(cut, wanted) - 1]).sum() for cut in k]
    return np.array([average.sum(), share.sum(), *recall, *precision, *ndcg])

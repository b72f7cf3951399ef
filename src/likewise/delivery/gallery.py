"""A gallery: enrolled samples with their names, searched exactly, kept in one file without pickle."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from likewise import distances
from likewise.delivery.answers import Hit
from likewise.files import replacing

FORMAT = 1
BLOCK = 2**22
"""Distances held at a time: a block of queries against the whole gallery."""

Array = np.ndarray[Any, Any]


class GalleryError(ValueError):
    """A gallery that cannot be read or used, with what to do."""


@dataclass(frozen=True, eq=False)
class Gallery:
    """Enrolled samples of one model; made by `Model.enrol`.

    Args:
        embeddings: float32 (samples, dimensions).
        ids: which sample each is.
        names: who each is; several samples may have one name.
        distance: the name of the model's distance.
        weights: the SHA-256 of the model's weights: other models' embeddings mean nothing here.

    Example:
        >>> people = Gallery(np.eye(2, dtype=np.float32), ("a.png", "b.png"), ("ann", "bob"), "euclidean", "")
        >>> people.hits(np.array([[1.0, 0.5]], dtype=np.float32), 1)
        [[Hit(id='a.png', name='ann', distance=0.5)]]
        >>> len(people.without("ann")), people.without("ann").people
        (1, ('bob',))
    """

    embeddings: Array
    ids: tuple[str, ...]
    names: tuple[str, ...]
    distance: str
    weights: str

    def __post_init__(self) -> None:
        rows = self.embeddings.shape[0] if self.embeddings.ndim == 2 else -1
        if not rows == len(self.ids) == len(self.names):
            raise GalleryError(
                f"a gallery needs an id and a name for each embedding; embeddings {self.embeddings.shape}, "
                f"{len(self.ids)} ids, {len(self.names)} names"
            )
        if self.embeddings.dtype != np.float32 or not np.isfinite(self.embeddings).all():
            raise GalleryError(f"a gallery's embeddings are finite float32 numbers, given {self.embeddings.dtype}")

    def __len__(self) -> int:
        """Return how many samples are enrolled."""
        return len(self.ids)

    @property
    def people(self) -> tuple[str, ...]:
        """The names, each once, sorted."""
        return tuple(sorted(set(self.names)))

    def with_more(self, other: Gallery) -> Gallery:
        """Return a gallery with the samples of both.

        Raises:
            GalleryError: when another model made the other one.
        """
        other.check(self.distance, self.weights)
        embeddings = np.concatenate([self.embeddings, other.embeddings])
        return Gallery(embeddings, self.ids + other.ids, self.names + other.names, self.distance, self.weights)

    def without(self, name: str) -> Gallery:
        """Return a gallery without the samples of a name.

        Raises:
            GalleryError: when nobody of this name is enrolled.
        """
        if name not in self.names:
            raise GalleryError(f"nobody called {name!r} is enrolled")
        kept = [row for row, each in enumerate(self.names) if each != name]
        ids, names = (tuple(each[row] for row in kept) for each in (self.ids, self.names))
        return Gallery(self.embeddings[kept], ids, names, self.distance, self.weights)

    def check(self, distance: str, weights: str) -> None:
        """Raise GalleryError when another model made it."""
        if (self.distance, self.weights) != (distance, weights):
            raise GalleryError("another model made this gallery, whose embeddings mean nothing here; enrol again")

    def hits(self, queries: Array, count: int) -> list[list[Hit]]:
        """Return the `count` enrolled samples nearest to each query (n, dimensions), nearest first.

        Fewer come where the gallery holds fewer; of samples that are equally near the one enrolled first comes first.
        """
        return [self._nearest(far, min(count, len(self))) for block in self._far(queries) for far in block]

    def best(self, queries: Array) -> tuple[Array, Array]:
        """Return for each query (n, dimensions) the row of the nearest enrolled sample, and its distance.

        That sample's name is the best of all names: a name's score is that of the nearest sample enrolled under it.
        """
        blocks = [(far.argmin(axis=1), far.min(axis=1)) for far in self._far(queries)]
        if not blocks:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        rows, near = (np.concatenate(each) for each in zip(*blocks, strict=True))
        return rows, near

    def save(self, path: str | Path) -> Path:
        """Write the gallery to one safetensors file, and return where it is."""
        from safetensors.numpy import save_file

        about = {
            "format": FORMAT,
            "distance": self.distance,
            "weights_sha256": self.weights,
            "ids": self.ids,
            "names": self.names,
        }
        with replacing(Path(path)) as partial:
            embeddings = np.ascontiguousarray(self.embeddings)
            save_file({"embeddings": embeddings}, partial, metadata={"gallery": json.dumps(about, ensure_ascii=False)})
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a gallery that `save` wrote.

        Raises:
            GalleryError: when it is missing or not such a file.
        """
        from safetensors import SafetensorError, safe_open

        if not Path(path).is_file():
            raise GalleryError(f"{path}: there is no such gallery; `likewise enrol` makes one")
        try:
            with safe_open(path, framework="numpy") as content:
                about = json.loads((content.metadata() or {})["gallery"])
                if about["format"] != FORMAT:
                    raise GalleryError(f"format {about['format']!r}; this version reads format {FORMAT}")
                embeddings = content.get_tensor("embeddings")
            ids, names = (_texts(about[key]) for key in ("ids", "names"))
            return cls(embeddings, ids, names, str(about["distance"]), str(about["weights_sha256"]))
        except GalleryError as error:
            raise GalleryError(f"{path}: {error}") from None
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise GalleryError(f"{path}: not a gallery that `likewise enrol` wrote ({error})") from None

    def _far(self, queries: Array) -> Iterable[Array]:
        """Yield the distances (some queries, samples), a block of queries at a time."""
        distance, everybody = distances.build(self.distance), torch.from_numpy(self.embeddings)
        step = max(1, BLOCK // max(1, len(self)))
        for start in range(0, len(queries), step):
            yield distance.pairwise(torch.from_numpy(queries[start : start + step]), everybody).numpy()

    def _nearest(self, far: Array, count: int) -> list[Hit]:
        """Return the nearest of the distances (samples,) of one query."""
        if not count:
            return []
        candidates = np.flatnonzero(far <= np.partition(far, count - 1)[count - 1])
        rows = candidates[np.argsort(far[candidates], kind="stable")][:count]
        return [Hit(self.ids[row], self.names[row], float(far[row])) for row in rows]


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError("ids and names must be lists of texts")
    return tuple(values)

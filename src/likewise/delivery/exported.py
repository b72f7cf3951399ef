"""The embeddings that `export` wrote, as a model searches them: opened when they are first asked for."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from likewise.delivery.answers import Hit

if TYPE_CHECKING:
    from likewise.delivery.searchable import Searchable


class Exported:
    """What lies in a folder such as `data/export`.

    Args:
        folder: where the embeddings and the index lie.
        weights: the SHA-256 of the weights that queries are embedded with.
    """

    def __init__(self, folder: Path, weights: str) -> None:
        self.folder, self.weights = folder, weights

    def hits(self, queries: np.ndarray[Any, Any], count: int) -> list[list[Hit]]:
        """Return the `count` exported samples nearest to each query (n, dimensions), nearest first.

        Raises:
            SearchError: when a file is missing or another than the index was made with, or other weights made them.
        """
        found = self._searchable.search(queries, count)
        return [
            [Hit(*each) for each in zip(ids, classes, map(float, far), strict=True)]
            for ids, classes, far in zip(found.ids, found.classes, found.distances, strict=True)
        ]

    @cached_property
    def _searchable(self) -> Searchable:
        from likewise.delivery.searchable import Searchable

        return Searchable.from_folder(self.folder, weights_sha256=self.weights)

"""Two models on the test trials of a project: the same pairs of the same samples, whatever each makes of a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from likewise import artifacts
from likewise.choices import nearest_first
from likewise.config import PARAMS_FILE, read_yaml
from likewise.data.batches import Media
from likewise.delivery.gate import Judged, Same
from likewise.delivery.model import Model
from likewise.learning.embedding import embed

Names = np.ndarray[Any, np.dtype[np.object_]]


class NotComparable(ValueError):  # noqa: N818 - it reads as what the model is
    """A model that cannot be judged on these trials; its message says why."""


@dataclass(frozen=True)
class GateTrials:
    """The test trials of a project.

    Attributes:
        root: the project's root.
        samples: the samples that they are of, with the row of each in the media.
        left: (trials,) rows of `samples`.
        right: (trials,) likewise.
        same: (trials,) 1 for a genuine trial, 0 for an impostor.
    """

    root: Path
    samples: pd.DataFrame
    left: np.ndarray[Any, Any]
    right: np.ndarray[Any, Any]
    same: np.ndarray[Any, Any]

    @classmethod
    def of(cls, root: Path) -> GateTrials:
        """Read them.

        Raises:
            ArtifactError: when a file is missing.
        """
        pairs = artifacts.PAIRS["test"].read(root)
        every = artifacts.SAMPLES.read(root).reset_index(names="row")
        samples = every[every["id"].isin({*pairs["left"], *pairs["right"]})].reset_index(drop=True)
        rows = pd.Series(samples.index, index=samples["id"])
        left, right = (rows[pairs[side]].to_numpy() for side in ("left", "right"))
        return cls(root, samples, left, right, pairs["same"].to_numpy())

    def shared(self, guard: str | None) -> Same:
        """Return what both models are judged on; `guard` names the column whose slices are guarded.

        Raises:
            ValueError: when the samples have no such column.
        """
        named = self.samples["class"].fillna(self.samples["forges"]).fillna(self.samples["group"])
        units = named.fillna(self.samples["id"]).to_numpy(dtype=object)
        column = self._guarded(guard)
        sliced = None if column is None else np.stack([column[self.left], column[self.right]])
        return Same(self.same, np.stack([units[self.left], units[self.right]]), sliced)

    def _guarded(self, guard: str | None) -> Names | None:
        if guard is None:
            return None
        column = guard if guard in ("class", "group") else f"{artifacts.CARRIED}{guard}"
        if column not in self.samples:
            carried = [str(name) for name in self.samples if str(name).startswith(artifacts.CARRIED)]
            known = ["class", "group", *(name.removeprefix(artifacts.CARRIED) for name in carried)]
            raise ValueError(
                f"register.gate.guard: the samples have no column {guard!r}; known: {nearest_first(guard, known)}"
            )
        values = self.samples[column].astype(object)
        return values.where(values.notna(), None).to_numpy(dtype=object)

    def judged(self, model: Model) -> Judged:
        """Return a model's scores of the trials: of the stored media, or of the raw files where it wants others.

        Raises:
            NotComparable: when it wants others and the raw files are not there.
        """
        stored = artifacts.SUMMARY.read(self.root)["preprocessing"]
        own = model.preprocessing.describe() == stored
        embeddings = torch.from_numpy(self._of_media(model) if own else self._of_files(model))
        left, right = (torch.tensor(side) for side in (self.left, self.right))
        measured = model.distance.paired(embeddings[left], embeddings[right])
        return Judged(model.distance.score(measured).numpy(), model.threshold.value)

    def _of_media(self, model: Model) -> np.ndarray[Any, Any]:
        media = Media(*artifacts.read_media(self.root), device=torch.device("cpu"))
        return embed(model.encoder, media, self.samples["row"].to_numpy(dtype=np.int64)).numpy()

    def _of_files(self, model: Model) -> np.ndarray[Any, Any]:
        raw = self.root / read_yaml(self.root / PARAMS_FILE)["ingest"]["path"]
        files = [raw / path for path in self.samples["path"]]
        missing = [file for file in files if not file.is_file()]
        if missing:
            raise NotComparable(
                f"it makes other samples of a file than this project does, and {len(missing):,} of the {len(files):,} "
                f"raw files are not there to be read again ({missing[0]})"
            )
        return model.embed(files)

    def table(self, judged: Judged) -> pd.DataFrame:
        """Return the trials with a model's scores: left, right, same, score."""
        ids = self.samples["id"].to_numpy(dtype=object)
        return pd.DataFrame(
            {"left": ids[self.left], "right": ids[self.right], "same": self.same, "score": judged.scores}
        )

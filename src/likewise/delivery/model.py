"""The model that users load: media in, embeddings and answers out, preprocessing inside."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from likewise import distances, files
from likewise.data import kinds
from likewise.data.batches import Media
from likewise.data.raw import Unreadable
from likewise.data.rows import offsets_of
from likewise.evaluation.calibration import Calibration
from likewise.evaluation.thresholds import Threshold
from likewise.learning import encoders
from likewise.learning.embedding import embed

FORMAT = 2

Item = str | Path | bytes | np.ndarray[Any, Any]
"""One sample: the path of a file, its encoded bytes, or an array as it is stored (images also (height, width[, 3]))."""


class ModelError(ValueError):
    """A model that cannot be loaded, with the file at fault."""


@dataclass(frozen=True)
class Comparison:
    """The answer to "are these two the same?".

    Attributes:
        distance: how far the embeddings are, in the model's distance; smaller is more alike.
        score: the similarity, larger is more alike.
        probability: the calibrated probability that they are the same.
        same: whether the score reaches the threshold.
        threshold: the score at which the answer becomes "same".
    """

    distance: float
    score: float
    probability: float
    same: bool
    threshold: float


class Model:
    """A trained encoder with its distance, threshold and calibration.

    Args:
        encoder: the trained network.
        preprocessing: what a file becomes before the encoder sees it.
        distance: name of the distance it was trained for.
        threshold: when the answer is "same".
        calibration: from score to probability.
    """

    def __init__(
        self,
        encoder: encoders.Encoder,
        *,
        preprocessing: kinds.Preprocessing,
        distance: str,
        threshold: Threshold,
        calibration: Calibration,
    ) -> None:
        self.encoder, self.preprocessing = encoder, preprocessing
        self.distance = distances.build(distance)
        threshold.check(distance)
        calibration.check(distance)
        self.threshold, self.calibration = threshold, calibration

    @classmethod
    def from_folder(cls, folder: Path) -> Model:
        """Load a model from the folder that holds its files.

        Raises:
            ModelError: when a file is missing or not what the description says.
        """
        description, weights, calibration = (folder / Path(name).name for name in files.DELIVERED)
        encoder, distance = load_encoder(description, weights)
        judged = _read(calibration, files.CALIBRATION.keys)
        return cls(
            encoder,
            preprocessing=kinds.build(**_read(description, files.MODEL.keys)["preprocessing"]),
            distance=distance,
            threshold=Threshold.from_dict(judged["threshold"]),
            calibration=Calibration.from_dict(judged["probability"]),
        )

    def embed(self, items: Iterable[Item]) -> np.ndarray[Any, Any]:
        """Return the embeddings of the items: float32 (n, embedding).

        A sound of several windows has the mean of their embeddings, at length 1 where the encoder gives such.

        Raises:
            Unreadable: when an item is not of the model's kind: which one, and the reason.
            FileNotFoundError: when a path does not exist.
        """
        rows = [self._rows(item, place) for place, item in enumerate(items, start=1)]
        array = np.concatenate(rows) if rows else np.empty((0, *self.preprocessing.shape), self.preprocessing.dtype)
        offsets = offsets_of(np.array([len(each) for each in rows], dtype=np.int64))
        media = Media(array, offsets, device=next(self.encoder.parameters()).device)
        return embed(self.encoder, media, np.arange(len(media))).numpy()

    def _rows(self, item: Item, place: int) -> np.ndarray[Any, Any]:
        content = Path(item).read_bytes() if isinstance(item, str | Path) else item
        try:
            return self.preprocessing.rows(content)
        except Unreadable as error:
            which = item if isinstance(item, str | Path) else f"{self.preprocessing.kind} {place}"
            raise Unreadable(f"{which}: {error}") from None

    def compare(self, left: Item, right: Item) -> Comparison:
        """Tell whether two items are the same, how far they are and how sure that is.

        Raises:
            Unreadable: when an item is not of the model's kind: which one, and the reason.
        """
        embeddings = torch.from_numpy(self.embed([left, right]))
        distance = self.distance.paired(embeddings[:1], embeddings[1:])
        score = float(self.distance.score(distance))
        return Comparison(
            distance=float(distance),
            score=score,
            probability=float(self.calibration.probability(score)),
            same=score >= self.threshold.value,
            threshold=self.threshold.value,
        )


def load_encoder(description: Path, weights: Path) -> tuple[encoders.Encoder, str]:
    """Return an encoder in evaluation mode, and the name of its distance.

    Raises:
        ModelError: when a file is missing, of another format, or the weights are not those described.
    """
    about = _read(description, files.MODEL.keys)
    if about["format"] != FORMAT:
        raise ModelError(f"{description}: format {about['format']!r}; this version reads format {FORMAT}")
    if files.file_sha256(_present(weights)) != about["weights_sha256"]:
        raise ModelError(f"{weights}: not the weights that {description.name} names (SHA-256 differs)")
    encoder = encoders.from_description(about["encoder"])
    encoder.load_state_dict(load_file(weights))
    return encoder.eval(), about["distance"]


def load_trained(root: Path) -> tuple[encoders.Encoder, str]:
    """Return the encoder that `train` wrote, and the name of its distance.

    Raises:
        ModelError: when it is missing or broken.
    """
    return load_encoder(root / files.MODEL.path, root / files.WEIGHTS.path)


def _read(path: Path, keys: Iterable[str]) -> dict[str, Any]:
    try:
        content = json.loads(_present(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path}: not a model's file ({error})") from None
    missing = [key for key in keys if not isinstance(content, dict) or key not in content]
    if missing:
        raise ModelError(f"{path}: not a model's file (it lacks {', '.join(missing)})")
    return dict(content)


def _present(path: Path) -> Path:
    if not path.is_file():
        raise ModelError(f"{path}: missing; a model's folder holds {', '.join(Path(f).name for f in files.DELIVERED)}")
    return path

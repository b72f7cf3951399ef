"""The model that users load: media in, embeddings and answers out, preprocessing inside."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from likewise import distances, files
from likewise.data import kinds
from likewise.data.batches import Media
from likewise.data.raw import MAX_BYTES, Unreadable
from likewise.data.rows import offsets_of
from likewise.delivery.answers import Comparison, Hit, Identification
from likewise.delivery.exported import Exported
from likewise.delivery.gallery import Gallery, GalleryError
from likewise.delivery.judgement import Judgement
from likewise.evaluation.calibration import Calibration
from likewise.evaluation.thresholds import Threshold
from likewise.learning import encoders, members
from likewise.learning.embedding import embed

FORMAT = 2
BATCH = 512
"""Rows decoded and embedded at a time: as many as the stages embed, so that the last bits are the same."""

Item = str | Path | bytes | np.ndarray[Any, Any]
"""One sample: the path of a file, its encoded bytes, or an array as it is stored (images also (height, width[, 3]))."""

Enrolment = Mapping[str, Item | Iterable[Item]] | Iterable[tuple[str, Item]]
"""Names with their samples: `{"ann": ["a1.png", "a2.png"]}`, or pairs of a name and a sample."""


class ModelError(ValueError):
    """A model that cannot be loaded, with the file at fault."""


class Model:
    """A trained encoder with its distance, thresholds and calibration.

    Args:
        encoder: the trained network.
        preprocessing: what a file becomes before the encoder sees it.
        distance: name of the distance it was trained for.
        judgement: when the answer is "same", or somebody, and how sure that is.
        weights: the SHA-256 of the weights, by which galleries and exported embeddings know their model.

    Attributes:
        gallery: what `enrol` made last, in which `identify` and `search` look; one that was loaded may be put here.
        exported: the embeddings and the index of `export` that lie beside the model, if they do.
    """

    def __init__(
        self,
        encoder: encoders.Network,
        *,
        preprocessing: kinds.Preprocessing,
        distance: str,
        judgement: Judgement,
        weights: str = "",
    ) -> None:
        self.encoder, self.preprocessing, self.weights = encoder, preprocessing, weights
        self.distance = distances.build(distance)
        judgement.check(distance)
        self.judgement = judgement
        self.gallery: Gallery | None = None
        self.exported: Exported | None = None

    @property
    def threshold(self) -> Threshold:
        """From which score two samples are the same."""
        return self.judgement.threshold

    @property
    def calibration(self) -> Calibration:
        """From score to probability."""
        return self.judgement.calibration

    @classmethod
    def from_folder(cls, folder: Path) -> Model:
        """Load a model from the folder that holds its files.

        Raises:
            ModelError: when a file is missing or not what the description says.
        """
        description, weights, calibration = (folder / Path(name).name for name in files.DELIVERED)
        encoder, distance = load_encoder(description, weights)
        about = _read(description, files.MODEL.keys)
        return cls(
            encoder,
            preprocessing=kinds.build(**about["preprocessing"]),
            distance=distance,
            judgement=Judgement.from_dict(_read(calibration, files.CALIBRATION.keys)),
            weights=about["weights_sha256"],
        )

    def embed(self, items: Item | Iterable[Item]) -> np.ndarray[Any, Any]:
        """Return the embeddings of the items: float32 (n, embedding).

        They are decoded and embedded `BATCH` rows at a time, so that any number of files fits in memory. A sound of
        several windows has the mean of their embeddings, at length 1 where the encoder gives such.

        Args:
            items: samples, one after the other; a path or bytes alone is one sample, an array holds several.

        Raises:
            Unreadable: when an item is not of the model's kind: which one, and the reason.
            FileNotFoundError: when a path does not exist.
        """
        return self._whole(self._batches(items))

    def embed_readable(self, items: Iterable[Item]) -> tuple[np.ndarray[Any, Any], dict[int, str]]:
        """Return the embeddings of those items that can be read, and why the others cannot, by their places from 0."""
        refused: dict[int, str] = {}
        return self._whole(self._batches(items, refused)), refused

    def compare(self, left: Item, right: Item, *, far: float | None = None) -> Comparison:
        """Tell whether two items are the same, how far they are and how sure that is.

        Args:
            left: one sample.
            right: the other.
            far: a false-accept rate that a threshold is stored for; none: the model's own threshold.

        Raises:
            Unreadable: when an item is not of the model's kind: which one, and the reason.
            ValueError: when no threshold is stored for the rate; lists the stored ones.
        """
        return self.compare_many([(left, right)], far=far)[0]

    def compare_many(self, pairs: Iterable[tuple[Item, Item]], *, far: float | None = None) -> list[Comparison]:
        """Return what `compare` says of each pair; all their samples are embedded together."""
        threshold = self.judgement.same_from(far)
        embeddings = torch.from_numpy(self.embed(side for pair in pairs for side in pair))
        measured = self.distance.paired(embeddings[::2], embeddings[1::2])
        return [Comparison(*seen, seen[1] >= threshold, threshold) for seen in self._seen(measured)]

    def enrol(self, samples: Enrolment) -> Gallery:
        """Return what `gallery_of` makes of named samples; `identify` and `search` look in it from now on."""
        self.gallery = self.gallery_of(samples)
        return self.gallery

    def gallery_of(self, samples: Enrolment) -> Gallery:
        """Return a gallery of named samples.

        Args:
            samples: names with their samples, several a name if there are.

        Raises:
            Unreadable: when a sample is not of the model's kind: which one, and the reason.
            GalleryError: when there are none, or a name is empty.
        """
        listed = list(_named(samples))
        if not listed:
            raise GalleryError("there is nobody to enrol")
        names = tuple(name for name, _ in listed)
        if not all(name.strip() for name in names):
            raise GalleryError("a name is empty; give each sample the name of who it is")
        ids = tuple(_id(item, f"{name} {place}") for place, (name, item) in enumerate(listed, start=1))
        embeddings = self.embed(item for _, item in listed)
        return Gallery(embeddings, ids, names, self.distance.name, self.weights)

    def identify(self, probe: Item, gallery: Gallery | None = None, *, far: float | None = None) -> Identification:
        """Tell who of a gallery somebody is; the name is None where that is nobody.

        A name's score is that of the nearest sample enrolled under it. Below the threshold the probe is nobody: the
        model's open-set threshold, at which so many strangers as `far` were taken for somebody on samples held out.

        Args:
            probe: one sample.
            gallery: where to look; none: what was enrolled last.
            far: a false-alarm rate that a threshold is stored for; none: the one nearest to 1 %.

        Raises:
            GalleryError: when nobody is enrolled, or by another model.
            Unreadable: when the probe is not of the model's kind.
            ValueError: when no threshold is stored for the rate; lists the stored ones.
        """
        return self.identify_many([probe], gallery, far=far)[0]

    def identify_many(
        self, probes: Iterable[Item], gallery: Gallery | None = None, *, far: float | None = None
    ) -> list[Identification]:
        """Return what `identify` says of each probe; all of them are embedded together."""
        people, threshold = self._people(gallery), self.judgement.known_from(far)
        rows, near = people.best(self.embed(probes))
        return [
            Identification(
                people.names[row] if seen[1] >= threshold else None,
                people.names[row],
                people.ids[row],
                *seen,
                threshold,
            )
            for row, seen in zip(rows, self._seen(torch.from_numpy(near)), strict=True)
        ]

    def search(self, query: Item, count: int = 5, gallery: Gallery | None = None) -> list[Hit]:
        """Return the samples that are most alike, nearest first.

        Args:
            query: one sample.
            count: how many; fewer come where there are fewer.
            gallery: where to look; none: what was enrolled last, else the exported embeddings beside the model.

        Raises:
            GalleryError: when there is nothing to search in, or it is another model's.
            Unreadable: when the query is not of the model's kind.
        """
        return self.search_many([query], count, gallery)[0]

    def search_many(self, queries: Iterable[Item], count: int = 5, gallery: Gallery | None = None) -> list[list[Hit]]:
        """Return what `search` finds for each query; all of them are embedded together."""
        if count < 1:
            raise ValueError(f"search: asked for {count} samples; ask for 1 or more")
        among = self._among(gallery)
        return among.hits(self.embed(queries), count)

    def _seen(self, measured: torch.Tensor) -> Iterator[tuple[float, float, float]]:
        """Yield distance, score and probability of each distance."""
        scores = self.distance.score(measured).numpy()
        chances = self.judgement.calibration.probability(scores)
        yield from zip(measured.tolist(), scores.tolist(), chances.tolist(), strict=True)

    def _people(self, gallery: Gallery | None) -> Gallery:
        people = gallery if gallery is not None else self.gallery
        if people is None or not len(people):
            raise GalleryError("nobody is enrolled: give a gallery, or enrol named samples first")
        people.check(self.distance.name, self.weights)
        return people

    def _among(self, gallery: Gallery | None) -> Gallery | Exported:
        if gallery is not None or self.gallery is not None:
            return self._people(gallery)
        if self.exported is None:
            raise GalleryError(
                "nothing to search in: the registry holds no embeddings; enrol samples, or load the model from the "
                "project or the data/export whose embeddings are to be searched"
            )
        return self.exported

    def _whole(self, batches: Iterable[list[np.ndarray[Any, Any]]]) -> np.ndarray[Any, Any]:
        parts = [self._embedded(rows) for rows in batches]
        return np.concatenate(parts) if parts else np.empty((0, self.encoder.embedding), dtype=np.float32)

    def _embedded(self, rows: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
        offsets = offsets_of(np.array([len(each) for each in rows], dtype=np.int64))
        media = Media(np.concatenate(rows), offsets, device=next(self.encoder.parameters()).device)
        return embed(self.encoder, media, np.arange(len(media)), batch_size=BATCH).numpy()

    def _batches(
        self, items: Item | Iterable[Item], refused: dict[int, str] | None = None
    ) -> Iterator[list[np.ndarray[Any, Any]]]:
        """Yield the rows of some items, an array an item, `BATCH` rows in all or the few more of the last item.

        With `refused` items that cannot be read are passed over, and go there with the reason.
        """
        batch: list[np.ndarray[Any, Any]] = []
        held = 0
        for place, item in enumerate([items] if isinstance(items, str | Path | bytes) else items):
            try:
                rows = self.preprocessing.rows(_content(item))
            except (Unreadable, OSError) as error:
                if refused is None:
                    raise self._told(error, item, place) from None
                refused[place] = str(error)
                continue
            batch.append(rows)
            held += len(rows)
            if held >= BATCH:
                yield batch
                batch, held = [], 0
        if batch:
            yield batch

    def _told(self, error: Unreadable | OSError, item: Item, place: int) -> Exception:
        """Return the error with the item that it is about."""
        if isinstance(error, OSError):
            return error
        which = item if isinstance(item, str | Path) else f"{self.preprocessing.kind} {place + 1}"
        return Unreadable(f"{which}: {error}")


def _content(item: Item) -> bytes | np.ndarray[Any, Any]:
    if not isinstance(item, str | Path):
        return item
    with Path(item).open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > MAX_BYTES:
            raise Unreadable(f"{size} bytes, more than {MAX_BYTES}")
        return stream.read()


def load_encoder(description: Path, weights: Path) -> tuple[encoders.Network, str]:
    """Return an encoder, or its members, in evaluation mode, and the name of its distance.

    Raises:
        ModelError: when a file is missing, of another format, or the weights are not those described.
    """
    about = _read(description, files.MODEL.keys)
    if about["format"] != FORMAT:
        raise ModelError(f"{description}: format {about['format']!r}; this version reads format {FORMAT}")
    if files.file_sha256(_present(weights)) != about["weights_sha256"]:
        raise ModelError(f"{weights}: not the weights that {description.name} names (SHA-256 differs)")
    encoder = members.from_description(about["encoder"])
    encoder.load_state_dict(load_file(weights))
    return encoder.eval(), about["distance"]


def load_trained(root: Path) -> tuple[encoders.Network, str]:
    """Return the encoder that `train` wrote, and the name of its distance.

    Raises:
        ModelError: when it is missing or broken.
    """
    return load_encoder(root / files.MODEL.path, root / files.WEIGHTS.path)


def _id(item: Item, otherwise: str) -> str:
    return str(item) if isinstance(item, str | Path) else otherwise


def _named(samples: Enrolment) -> Iterator[tuple[str, Item]]:
    if not isinstance(samples, Mapping):
        yield from samples
        return
    for name, given in samples.items():
        for item in [given] if isinstance(given, str | Path | bytes | np.ndarray) else given:
            yield name, item


def _read(path: Path, keys: Iterable[str]) -> dict[str, Any]:
    text = _present(path).read_bytes()
    try:
        content = json.loads(text.decode("utf-8"))
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

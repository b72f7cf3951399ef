"""The model as MLflow loads and serves it, from this code and the files beside it: no pickle."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import BAD_REQUEST
from mlflow.pyfunc import PythonModel  # type: ignore[attr-defined]

if TYPE_CHECKING:
    from likewise.delivery.gallery import Gallery

Array = np.ndarray[Any, Any]

FILES = "LIKEWISE_FILES"
"""The folder whose files `file:name` may name; unset, none may, so that a server reads no files for its callers."""
GALLERY = "LIKEWISE_GALLERY"
"""A gallery that `likewise enrol` wrote, in which `identify` and `search` look when a request brings none."""
EXPORT = "LIKEWISE_EXPORT"
"""The folder that `export` wrote, in which `search` looks when there is no gallery."""


class Refused(MlflowException, ValueError):  # noqa: N818 - it reads as what the request is
    """What cannot be answered, with the reason; over HTTP it is status 400."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, error_code=BAD_REQUEST)

    def serialize_as_json(self) -> Any:
        """Return what the server answers: the reason alone, before which MLflow puts the caller's data."""
        self.message = str(self)
        return super().serialize_as_json()  # type: ignore[no-untyped-call]


class Embedder(PythonModel):
    """Embeds, compares, identifies and searches: the task is a param.

    A sample is base64 of an encoded file (also as a data URL), its bytes, an array as it is stored, `text:` and a text
    for a model of texts, or `file:` and a file's name where the environment variable LIKEWISE_FILES names its folder.
    """

    def load_context(self, context: Any) -> None:
        """Load the model from the files that MLflow put in place, and what the environment names to look in."""
        from likewise.delivery.exported import Exported
        from likewise.delivery.gallery import Gallery
        from likewise.delivery.model import Model

        self._model = Model.from_folder(Path(context.artifacts["model"]))
        stored, folder = os.environ.get(GALLERY), os.environ.get(EXPORT)
        self._model.exported = Exported(Path(folder), self._model.weights) if folder else None
        self._gallery = Gallery.load(stored) if stored else None
        if self._gallery is not None:
            self._gallery.check(self._model.distance.name, self._model.weights)

    # Of this annotation MLflow makes no schema; one is given with the model.
    def predict(
        self,
        context: Any,  # noqa: ARG002
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> Array | pd.DataFrame:
        """Return the answer to each row.

        - `embed`: each `sample`'s embedding, float32 (n, embedding).
        - `compare`: of each `left` and `right` distance, score, probability, same and threshold.
        - `identify`: who each `sample` without a `name` is among those that have one, or in the server's gallery.
        - `search`: the ids, names and distances of the `k` enrolled ones nearest to each `sample` without a name.

        Args:
            context: not used; the model was loaded from it.
            model_input: a frame with the columns of the task; or one column of samples, or a list of them.
            params: `task`; `far`, the rate whose stored threshold decides; `k`, for `search`.

        Raises:
            Refused: when a sample is not of the kind or in none of these forms, a column is missing, or a param is
                unknown, with the reason.
        """
        asked = params or {}
        try:
            answer: Array | pd.DataFrame = _choose(asked.get("task") or "embed")(self, _frame(model_input), asked)
            return answer
        except MlflowException:
            raise
        except (ValueError, OSError) as error:
            raise Refused(str(error)) from None

    def _embed(self, frame: pd.DataFrame, params: dict[str, Any]) -> Array:  # noqa: ARG002
        _check_meant(frame)
        embeddings: Array = self._model.embed(self._samples(frame, "sample"))
        return embeddings

    def _compare(self, frame: pd.DataFrame, params: dict[str, Any]) -> pd.DataFrame:
        from likewise.delivery.answers import Comparison

        pairs = zip(self._samples(frame, "left"), self._samples(frame, "right"), strict=True)
        return _table(self._model.compare_many(pairs, far=params.get("far")), Comparison)

    def _identify(self, frame: pd.DataFrame, params: dict[str, Any]) -> pd.DataFrame:
        from likewise.delivery.answers import Identification

        probes, gallery = self._probes(frame)
        return _table(self._model.identify_many(probes, gallery, far=params.get("far")), Identification)

    def _search(self, frame: pd.DataFrame, params: dict[str, Any]) -> pd.DataFrame:
        probes, gallery = self._probes(frame)
        wanted = params.get("k")
        found = self._model.search_many(probes, 5 if wanted is None else int(wanted), gallery)
        rows = [
            {f"{key}s": [getattr(hit, key) for hit in hits] for key in ("id", "name", "distance")} for hits in found
        ]
        return pd.DataFrame(rows, columns=["ids", "names", "distances"], dtype=object)

    def _probes(self, frame: pd.DataFrame) -> tuple[list[Any], Gallery | None]:
        """Return the samples without a name, and a gallery of those with one; else the server's."""
        samples = self._samples(frame, "sample")
        names = _names(frame) or [None] * len(samples)
        probes = [sample for sample, name in zip(samples, names, strict=True) if name is None]
        enrolled = [(name, sample) for sample, name in zip(samples, names, strict=True) if name is not None]
        return probes, self._model.gallery_of(enrolled) if enrolled else self._gallery

    def _samples(self, frame: pd.DataFrame, column: str) -> list[Any]:
        if column not in frame:
            raise Refused(f"there is no column {column!r}; given: {', '.join(map(str, frame.columns)) or 'none'}")
        dtype = np.dtype(self._model.preprocessing.dtype)
        return [_sample(cell, dtype, f"{column} {row}") for row, cell in enumerate(_cells(frame[column]), start=1)]


def _choose(task: str) -> Callable[[Embedder, pd.DataFrame, dict[str, Any]], Any]:
    from likewise.choices import choose

    return choose("task", task, TASKS)


def _check_meant(frame: pd.DataFrame) -> None:
    """Refuse to embed what another task is meant for: MLflow drops a misspelt `task`, which leaves its default."""
    if any(name is not None for name in _names(frame)):
        raise Refused("the task is embed, which knows no names: give the param task: identify or search")
    if "sample" not in frame and "left" in frame:
        raise Refused("the task is embed, which knows no left and right: give the param task: compare")


def _names(frame: pd.DataFrame) -> list[str | None]:
    """Return each row's name, None where it has none; nothing without such a column."""
    names = _cells(frame["name"]) if "name" in frame else []
    return [None if name is None or name is pd.NA or name != name else str(name) for name in names]


def _frame(given: Any) -> pd.DataFrame:
    """Return the rows as a frame; a list, an array and a single column of another name are the samples."""
    from likewise.delivery.signature import COLUMNS

    if isinstance(given, pd.DataFrame):
        alone = len(given.columns) == 1 and given.columns[0] not in COLUMNS
        return given.set_axis(["sample"], axis=1) if alone else given
    return pd.DataFrame({"sample": pd.Series(list(given), dtype=object)})


def _cells(column: pd.Series[Any]) -> list[Any]:
    """Return the cells; MLflow makes one row of `{"sample": [text, text]}`."""
    cells = list(column)
    texts = [cell for cell in cells if isinstance(cell, list) and cell and all(isinstance(each, str) for each in cell)]
    return texts[0] if len(cells) == len(texts) == 1 else cells


def _table(answers: Sequence[Any], kind: type) -> pd.DataFrame:
    # As objects, or pandas would make NaN of nobody, which JSON has not.
    return pd.DataFrame([asdict(each) for each in answers], columns=[f.name for f in fields(kind)], dtype=object)


def _sample(cell: Any, dtype: np.dtype[Any], which: str) -> Any:
    if isinstance(cell, bytes):
        return cell
    if isinstance(cell, str):
        return _from_text(cell)
    if cell is None or isinstance(cell, float | int):
        raise Refused(f"{which}: there is none; give base64, bytes or an array, not {cell!r}")
    try:
        array = np.asarray(cell)
        return _whole_numbers(array) if dtype == np.uint8 else array.astype(dtype)
    except (ValueError, TypeError) as error:
        raise Refused(f"{which}: {error}") from None


def _from_text(text: str) -> bytes:
    form, colon, rest = text.partition(":")
    if not colon:
        return _base64(text)
    if form not in FORMS:
        raise Refused(f"text must be base64, or begin with one of {', '.join(FORMS)} and a colon, given {text[:20]!r}")
    return FORMS[form](rest)


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise Refused(f"text must be a base64-encoded file ({error}), given {text[:20]!r}") from None


def _data_url(rest: str) -> bytes:
    about, _, content = rest.partition(",")
    if not about.endswith(";base64"):
        raise Refused(f"a data URL must be base64: data:...;base64,..., given {rest[:20]!r}")
    return _base64(content)


def _file(name: str) -> bytes:
    """Return the content of a file below the folder that the environment allows."""
    allowed = os.environ.get(FILES)
    if not allowed:
        raise Refused(f"file: names are not read here; where they may be, set {FILES} to the folder that holds them")
    folder = Path(allowed).resolve()
    path = (folder / name).resolve()
    if not (path.is_relative_to(folder) and path.is_file()):
        raise Refused(f"file:{name}: there is no such file in the folder that may be read")
    return path.read_bytes()


def _whole_numbers(array: Array) -> Array:
    """Return the array as uint8: JSON knows whole numbers only, and 0..1 must not silently become black."""
    pixels = array.astype(np.uint8)
    if not np.array_equal(pixels, array):
        raise Refused(
            f"arrays must hold whole numbers from 0 to 255, given {array.dtype} {array.min()} to {array.max()}"
        )
    return pixels


FORMS: dict[str, Callable[[str], bytes]] = {"data": _data_url, "file": _file, "text": str.encode}
"""What a text may begin with, before a colon; base64 has none."""

TASKS: dict[str, Callable[[Embedder, pd.DataFrame, dict[str, Any]], Any]] = {
    "embed": Embedder._embed,
    "compare": Embedder._compare,
    "identify": Embedder._identify,
    "search": Embedder._search,
}

set_model(Embedder())

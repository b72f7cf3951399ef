"""The model as MLflow loads it, from this code and the files beside it: no pickle."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel  # type: ignore[attr-defined]


class Embedder(PythonModel):
    """Embeds samples of the model's kind: encoded bytes, base64 text, or arrays as they are stored (n, ...)."""

    def load_context(self, context: Any) -> None:
        """Load the model from the files that MLflow put in place."""
        from likewise.delivery.model import Model

        self._model = Model.from_folder(Path(context.artifacts["model"]))

    # Of this annotation MLflow makes no schema; of one that names every form it would, and let one form through.
    def predict(
        self,
        context: Any,  # noqa: ARG002
        model_input: np.ndarray,
        params: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> np.ndarray[Any, Any]:
        """Return the embeddings: float32 (n, embedding).

        Args:
            context: not used; the model was loaded from it.
            model_input: an array or a list of samples, or a frame whose first column holds them.
            params: not used.

        Raises:
            ValueError: when an item is not of the kind, or not one of these forms, with the reason.
        """
        dtype = np.dtype(self._model.preprocessing.dtype)
        return self._model.embed(_bytes_or_array(item, dtype) for item in _items(model_input))


def _items(given: Any) -> Iterable[Any]:
    return given.iloc[:, 0] if isinstance(given, pd.DataFrame) else given


def _bytes_or_array(item: Any, dtype: np.dtype[Any]) -> Any:
    if isinstance(item, str):
        return _decoded(item)
    if isinstance(item, bytes):
        return item
    array = np.asarray(item)
    return _whole_numbers(array) if dtype == np.uint8 else array.astype(dtype)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ValueError(f"text must be a base64-encoded file ({error}), given {text[:20]!r}") from None


def _whole_numbers(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the array as uint8: JSON knows whole numbers only, and 0..1 must not silently become black."""
    pixels = array.astype(np.uint8)
    if not np.array_equal(pixels, array):
        raise ValueError(
            f"arrays must hold whole numbers from 0 to 255, given {array.dtype} {array.min()} to {array.max()}"
        )
    return pixels


set_model(Embedder())

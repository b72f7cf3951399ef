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
    """Embeds images: encoded bytes, base64 text, or uint8 arrays (n, channels, height, width)."""

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
            model_input: an array or a list of images, or a frame whose first column holds them.
            params: not used.

        Raises:
            ValueError: when an item is not an image, or not one of these forms, with the reason.
        """
        return self._model.embed(_bytes_or_array(item) for item in _items(model_input))


def _items(given: Any) -> Iterable[Any]:
    return given.iloc[:, 0] if isinstance(given, pd.DataFrame) else given


def _bytes_or_array(item: Any) -> Any:
    if isinstance(item, str):
        return _decoded(item)
    return item if isinstance(item, bytes) else _pixels(np.asarray(item))


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ValueError(f"text must be a base64-encoded image ({error}), given {text[:20]!r}") from None


def _pixels(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the array as uint8: JSON knows whole numbers only, and 0..1 must not silently become black."""
    pixels = array.astype(np.uint8)
    if not np.array_equal(pixels, array):
        raise ValueError(
            f"arrays must hold whole numbers from 0 to 255, given {array.dtype} {array.min()} to {array.max()}"
        )
    return pixels


set_model(Embedder())

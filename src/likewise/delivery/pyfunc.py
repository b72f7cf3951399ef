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
            Unreadable: when an item is not an image, with the reason.
        """
        return self._model.embed(_bytes_or_array(item) for item in _items(model_input))


def _items(given: Any) -> Iterable[Any]:
    return given.iloc[:, 0] if isinstance(given, pd.DataFrame) else given


def _bytes_or_array(item: Any) -> Any:
    if isinstance(item, str):
        return base64.b64decode(item, validate=True)
    return item if isinstance(item, bytes) else np.asarray(item, dtype=np.uint8)


set_model(Embedder())

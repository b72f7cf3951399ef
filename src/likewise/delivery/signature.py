"""What goes into and comes out of a registered model, as the version's page and the scoring server know it."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from likewise.delivery.examples import example

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

    from likewise.data.kinds import Preprocessing

SAMPLE, LEFT, RIGHT, NAME = "sample", "left", "right", "name"
"""Columns of what a model is given: a sample, or the two that are compared, or with a name one of the gallery."""
COLUMNS = (SAMPLE, LEFT, RIGHT, NAME)
PARAMS: dict[str, tuple[str, Any]] = {"task": ("string", "embed"), "far": ("double", None), "k": ("integer", 5)}
"""What a caller may ask: the type and the default of each param."""


def signature_of(width: int) -> ModelSignature:
    """Return the columns, the params and what comes out of `embed`: float32 (n, `width`).

    Every column may be left out, and a cell is of any type: one sample has several forms, of which MLflow's other types
    would let through one.
    """
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema, TensorSpec
    from mlflow.types.schema import AnyType

    anything = AnyType()  # type: ignore[no-untyped-call]
    return ModelSignature(
        inputs=Schema([ColSpec(anything, name, required=False) for name in COLUMNS]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, width))]),
        params=ParamSchema([ParamSpec(name, *kind) for name, kind in PARAMS.items()]),
    )


def input_example(preprocessing: Preprocessing) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return a frame of one made-up sample in base64, and the params that go with it."""
    import pandas as pd

    text = base64.b64encode(example(preprocessing)).decode("ascii")
    return pd.DataFrame({SAMPLE: [text]}), {"task": "embed"}

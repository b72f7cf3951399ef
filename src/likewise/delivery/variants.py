"""Smaller ONNX encoders, in half precision and in 8 bits, and what each loses on the test trials."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from likewise.delivery import portable
from likewise.evaluation.trials import Samples
from likewise.learning.embedding import embed

if TYPE_CHECKING:
    import pandas as pd

    from likewise.data.batches import Media
    from likewise.learning.encoders import Network

Array = np.ndarray[Any, Any]


class VariantError(ValueError):
    """An encoder that has no such variant, with the reason."""


class PortableEncoder:
    """An ONNX encoder where a trained one is expected, as by `learning.embedding.embed`.

    Args:
        content: the ONNX file.
        encoder: the trained encoder that it was made from; it tells what several rows of a sample become.
    """

    training = False

    def __init__(self, content: bytes, encoder: Network) -> None:
        self.session, self.encoder = portable.open_session(content), encoder

    def __call__(self, samples: Tensor) -> Tensor:
        """Map rows of the media (n, ...) to embeddings (n, embedding)."""
        return torch.from_numpy(self.session.run(None, {"samples": samples.numpy()})[0])

    def joined(self, means: Tensor) -> Tensor:
        """Return the embeddings of samples of several rows from the means of those of their rows."""
        return self.encoder.joined(means)

    def train(self, mode: bool = True) -> None:
        """Do nothing: it always evaluates."""


@dataclass(frozen=True)
class Judged:
    """What an ONNX encoder gives on trials.

    Attributes:
        bytes: the size of its file.
        eer: the equal error rate.
        largest_difference: of a number of an embedding from the trained encoder's, in batches of any size; a share of
            the largest number among the embeddings where that is above 1.
    """

    bytes: int
    eer: float
    largest_difference: float


@dataclass(frozen=True)
class Judge:
    """Trials on which ONNX encoders are compared with the trained one.

    Attributes:
        encoder: the trained encoder.
        embeddings: what it gives: float32 (samples, dimensions).
        media: the media of all samples.
        frame: one row a sample: what `Samples` asks for, and `row`, its place in the media.
        listed: the trials, by the ids of samples.
        distance: name of the distance.
        batch_size: rows embedded at a time.
    """

    encoder: Network
    embeddings: Array
    media: Media
    frame: pd.DataFrame
    listed: pd.DataFrame
    distance: str
    batch_size: int

    def judge(self, content: bytes) -> Judged:
        """Return what an ONNX file gives.

        Raises:
            VariantError: when an embedding is not finite, as where half precision is too narrow.
        """
        encoder, rows = PortableEncoder(content, self.encoder), self.frame["row"].to_numpy(dtype=np.int64)
        try:
            found = embed(encoder, self.media, rows, batch_size=self.batch_size).numpy()
        except ValueError:
            raise VariantError("its embeddings of the test samples are not all finite") from None
        differences = [difference(found, self.embeddings)]
        for size in portable.BATCHES:
            some = embed(encoder, self.media, rows[:size], batch_size=size).numpy()
            differences.append(difference(some, self.embeddings[:size]))
        trials = Samples(self.frame, found, self.distance).trials(self.listed, split="test", where="the test pairs")
        return Judged(len(content), float(trials.roc.eer), max(differences))


def make(name: str, content: bytes) -> bytes:
    """Return a smaller ONNX file; inputs and outputs keep their types, and any batch size will do.

    Args:
        name: `fp16` (weights and sums in half precision) or `int8` (weights in 8 bits; what they are multiplied with is
            brought to 8 bits as it comes, on one scale for the whole batch, so that an embedding depends a little
            on the others of its batch).
        content: the ONNX file of the encoder.

    Raises:
        VariantError: when it cannot be made, or does not run: the reason.
    """
    import onnx

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = portable.serialised(VARIANTS[name](onnx.load_from_string(content)))
        portable.open_session(made)
    # onnx and ONNX Runtime have exceptions of their own for what they cannot do, with no common base.
    except Exception as error:
        raise VariantError(f"{name}: {str(error).strip().splitlines()[0] if str(error) else type(error)}") from None
    return made


def difference(found: Array, wanted: Array) -> float:
    """Return the largest difference of embeddings: a share of the largest number wanted where that is above 1."""
    return float(np.abs(found - wanted).max() / max(1.0, np.abs(wanted).max())) if wanted.size else 0.0


def _half(model: Any) -> Any:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return convert_float_to_float16(model, keep_io_types=True)


def _eight_bits(model: Any) -> Any:
    """Return the model with weights of 8 bits.

    Both sides of a product are unsigned: with signed weights, processors without VNNI add up pairs of products in 16
    bits, which saturate, and the same file gives other embeddings there.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    # The exporter leaves the shapes of weights that it has transposed since, which the quantiser refuses.
    del model.graph.value_info[:]
    # Its advice to optimise the model first goes to the root logger; our graphs are what the exporter has optimised.
    add_pre_process_metadata(model)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "encoder.onnx"
        quantize_dynamic(model, path, weight_type=QuantType.QUInt8)
        return onnx.load(path)


VARIANTS: dict[str, Callable[[Any], Any]] = {"fp16": _half, "int8": _eight_bits}

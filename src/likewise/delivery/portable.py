"""The encoder as ONNX: the same numbers without PyTorch, proven before it is handed out."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
import torch

from likewise.learning.encoders import Network

TOLERANCE = 1e-5
BATCHES = (1, 3, 64)
"""Batch sizes at which the exported encoder must agree: one, a few, and many."""


class ParityError(ValueError):
    """An exported encoder that gives other numbers than the trained one."""


def export(encoder: Network, samples: np.ndarray[Any, Any]) -> bytes:
    """Return the encoder as an ONNX file: input `samples` (batch, ...) as stored, output `embeddings`.

    The file holds no paths, times or versions of this machine.

    Args:
        encoder: on the CPU.
        samples: some real samples; agreement with ONNX Runtime is proven on them.

    Raises:
        ParityError: when ONNX Runtime gives an embedding that differs by more than `TOLERANCE`.
    """
    encoder = encoder.eval()
    # An example of one sample would fix what the exporter sees as a size of 1.
    example = torch.from_numpy(np.resize(samples, (2, *samples.shape[1:])))
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program: Any = torch.onnx.export(
            encoder,
            (example,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=["samples"],
            output_names=["embeddings"],
            verbose=False,
        )
    content = serialised(program.model_proto)
    check_parity(encoder, content, samples)
    return content


def check_parity(encoder: Network, content: bytes, samples: np.ndarray[Any, Any]) -> float:
    """Return the largest difference between the encoder and its ONNX file, over batches of several sizes.

    It is a share of the largest number of a batch's embeddings where that is above 1: single precision has 7 digits.

    Raises:
        ParityError: when it is more than `TOLERANCE`.
    """
    session = open_session(content)
    differences = []
    for size in BATCHES:
        batch = np.resize(samples, (size, *samples.shape[1:]))
        (found,) = session.run(None, {"samples": batch})
        with torch.inference_mode():
            wanted = encoder(torch.from_numpy(batch)).numpy()
        differences.append(np.abs(found - wanted).max() / max(1.0, np.abs(wanted).max()))
    worst = float(np.max(differences))
    # Written so that NaN is refused.
    if not worst <= TOLERANCE:
        raise ParityError(f"the ONNX encoder differs from the trained one by {worst:.2g}; at most {TOLERANCE:g}")
    return worst


def open_session(content: bytes) -> Any:
    """Return ONNX Runtime's session on an ONNX file, with as many threads as PyTorch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def serialised(model: Any) -> bytes:
    """Return an ONNX model as a file without paths and versions of this machine; the model is stripped of them."""
    for thing in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.functions):
        del thing.metadata_props[:]
    for function in model.functions:
        for node in function.node:
            del node.metadata_props[:]
    for thing in (model.graph, *model.graph.node):
        thing.doc_string = ""
    model.producer_version = ""
    return bytes(model.SerializeToString(deterministic=True))

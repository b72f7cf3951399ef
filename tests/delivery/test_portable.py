from __future__ import annotations

import getpass
import socket
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from likewise.delivery import portable
from likewise.delivery.portable import ParityError, check_parity
from likewise.learning import encoders

SAMPLES = np.random.default_rng(0).integers(0, 256, (70, 1, 8, 8), dtype=np.uint8)


def build(name: str = "conv", *, seed: int = 0, normalise: bool = True, **options: Any) -> encoders.Encoder:
    options = {"width": 8, **options}
    return encoders.build(name, (1, 8, 8), 8, seed=seed, normalise=normalise, mean=120.0, std=60.0, **options)


@pytest.fixture(scope="module")
def content() -> bytes:
    return portable.export(build(), SAMPLES)


def test_it_gives_the_encoders_numbers_at_any_batch_size(content: bytes) -> None:
    assert check_parity(build().eval(), content, SAMPLES) <= portable.TOLERANCE
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for size in (1, 2, 5, 70):
        (found,) = session.run(None, {"samples": SAMPLES[:size]})
        with torch.no_grad():
            wanted = build().eval()(torch.from_numpy(SAMPLES[:size])).numpy()
        np.testing.assert_allclose(found, wanted, atol=portable.TOLERANCE)


def test_the_file_of_another_encoder_is_refused(content: bytes) -> None:
    with pytest.raises(ParityError, match=r"the ONNX encoder differs from the trained one by .*; at most 1e-05"):
        check_parity(build(seed=1).eval(), content, SAMPLES)


def test_numbers_that_are_none_are_refused(content: bytes) -> None:
    broken = build().eval()
    with torch.no_grad():
        broken.head.bias[3] = torch.nan
    with pytest.raises(ParityError, match="differs from the trained one by nan"):
        check_parity(broken, content, SAMPLES)


def test_the_bytes_hold_no_place_nor_user(content: bytes) -> None:
    here = Path(portable.__file__).resolve()
    places = {str(here.parents[3]), str(Path(torch.__file__).parents[1]), str(Path.cwd()), ".py"}
    # Shorter names can stand in the weights by chance.
    names = {name for name in (getpass.getuser(), socket.gethostname()) if len(name) > 3}
    for trace in places | names:
        assert trace.encode() not in content, trace
    assert not any(len(part.metadata_props) for part in onnx.load_from_string(content).graph.node)


def test_mirror_and_shifted_images_are_embedded_inside() -> None:
    encoder = build(mirror=True, shifts=1)
    (found,) = onnxruntime.InferenceSession(portable.export(encoder, SAMPLES)).run(None, {"samples": SAMPLES})
    with torch.no_grad():
        np.testing.assert_allclose(found, encoder.eval()(torch.from_numpy(SAMPLES)).numpy(), atol=portable.TOLERANCE)
        assert not np.allclose(found, encoder.train()(torch.from_numpy(SAMPLES)).numpy(), atol=1e-3)


def test_few_samples_are_enough_to_prove_it(content: bytes) -> None:
    assert check_parity(build().eval(), content, SAMPLES[:1]) <= portable.TOLERANCE


def test_weights_learnt_for_the_distance_are_inside_and_long_embeddings_held_to_their_size() -> None:
    encoder = build("mlp", normalise=False)
    encoder.rescale(torch.arange(8.0) * 1000)
    (found,) = onnxruntime.InferenceSession(portable.export(encoder, SAMPLES)).run(None, {"samples": SAMPLES})
    with torch.no_grad():
        np.testing.assert_allclose(found, encoder(torch.from_numpy(SAMPLES)).numpy(), rtol=1e-5, atol=1e-2)
    assert not found[:, 0].any()
    assert np.abs(found).max() > 500

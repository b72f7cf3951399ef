from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from onnx import numpy_helper

from likewise.data.batches import Media
from likewise.delivery import portable, variants
from likewise.delivery.variants import Judge, VariantError
from likewise.evaluation.verification import roc_from_trials
from likewise.learning import encoders

Array = np.ndarray[Any, Any]

DRAW = np.random.default_rng(0)
IMAGES = DRAW.integers(0, 256, (64, 1, 8, 8), dtype=np.uint8)
SOUNDS = DRAW.normal(size=(64, 16, 24)).astype(np.float16)
TEXTS = DRAW.integers(0, 256, (64, 24), dtype=np.uint8)
KINDS: dict[str, tuple[str, Array, dict[str, Any]]] = {
    "conv": ("conv", IMAGES, {"width": 8}),
    "resnet": ("resnet", IMAGES, {}),
    "vit": ("vit", IMAGES, {"patch": 4, "width": 16, "heads": 2, "depth": 1}),
    "mlp": ("mlp", IMAGES, {}),
    "tdnn": ("tdnn", SOUNDS, {"width": 16}),
    "bytes": ("bytes", TEXTS, {"width": 16}),
}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    # Small batches: on a busy machine threads wait for each other longer than they work.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@cache
def trained(kind: str) -> tuple[encoders.Encoder, bytes]:
    name, samples, options = KINDS[kind]
    pixels = samples.dtype == np.uint8 and samples.ndim == 4
    mean, std = (120.0, 60.0) if pixels else (0.0, 1.0)
    encoder = encoders.build(name, samples.shape[1:], 16, seed=0, normalise=True, mean=mean, std=std, **options).eval()
    return encoder, portable.export(encoder, samples)


def embedded(content: bytes, samples: Array) -> Array:
    return np.asarray(portable.open_session(content).run(None, {"samples": samples})[0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "share", "off"), [("fp16", 0.5, 2e-3), ("int8", 0.25, 0.1)])
def test_every_encoder_has_smaller_ones_of_nearly_its_embeddings(
    kind: str, name: str, share: float, off: float
) -> None:
    encoder, content = trained(kind)
    samples, made = KINDS[kind][1], variants.make(name, content)
    stored = {each.name: each for each in onnx.load_from_string(content).graph.initializer}
    weights = sum(numpy_helper.to_array(each).nbytes for each in stored.values())
    # The graph itself has its size, whatever the weights.
    assert len(made) < share * weights + 40_000
    assert len(made) < len(content) + 10_000
    for size in portable.BATCHES:
        with torch.no_grad():
            wanted = encoder(torch.from_numpy(samples[:size])).numpy()
        found = embedded(made, samples[:size])
        assert (found.dtype, found.shape) == (np.float32, wanted.shape)
        assert 0 < np.abs(found - wanted).max() < off


@pytest.mark.parametrize("name", variants.VARIANTS)
def test_the_same_encoder_gives_the_same_bytes_without_traces(name: str) -> None:
    content = trained("conv")[1]
    made = variants.make(name, content)
    assert variants.make(name, content) == made
    model = onnx.load_from_string(made)
    assert not model.metadata_props
    assert not model.producer_version
    assert b"/tmp" not in made


def test_in_half_precision_weights_are_the_nearest_halves() -> None:
    content = trained("conv")[1]
    given, made = (
        {each.name: numpy_helper.to_array(each) for each in onnx.load_from_string(file).graph.initializer}
        for file in (content, variants.make("fp16", content))
    )
    halves = [name for name, values in made.items() if values.dtype == np.float16 and values.size > 1]
    assert len(halves) > 3
    for name in halves:
        np.testing.assert_array_equal(made[name], given[name].astype(np.float16))


def test_in_8_bits_weights_are_off_by_at_most_half_a_step() -> None:
    content = trained("mlp")[1]
    given, made = (
        {each.name: numpy_helper.to_array(each) for each in onnx.load_from_string(file).graph.initializer}
        for file in (content, variants.make("int8", content))
    )
    names = [name.removesuffix("_quantized") for name in made if name.endswith("_quantized")]
    assert names
    for name in names:
        codes, step, zero = (made[f"{name}_{part}"] for part in ("quantized", "scale", "zero_point"))
        assert codes.dtype == np.uint8
        restored = (codes.astype(np.float32) - zero) * step
        # The quantiser turns the weights of a linear layer over.
        ways = [way for way in (given[name], given[name].T) if way.shape == restored.shape]
        assert min(np.abs(restored - way).max() for way in ways) <= step * 0.501


def judge(encoder: encoders.Encoder, *, distance: str = "euclidean", rows: int = 64) -> Judge:
    labels = np.arange(rows) % 4
    frame = pd.DataFrame({"id": [f"s{row}" for row in range(rows)], "class": labels.astype(str), "split": "test"})
    frame = frame.assign(group=None, forges=None, row=np.arange(rows))
    pairs = [(one, other) for one in range(rows) for other in range(one) if (one * 7 + other) % 5 == 0]
    left, right = np.array(pairs).T
    listed = pd.DataFrame({"left": frame["id"].to_numpy()[left], "right": frame["id"].to_numpy()[right]})
    listed["same"] = (labels[left] == labels[right]).astype(np.int8)
    with torch.no_grad():
        embeddings = encoder(torch.from_numpy(IMAGES[:rows])).numpy()
    media = Media(IMAGES, device=torch.device("cpu"))
    return Judge(encoder, embeddings, media, frame, listed, distance, 50)


@pytest.mark.parametrize("name", ["fp32", *variants.VARIANTS])
def test_the_figures_are_those_of_a_loop(name: str) -> None:
    encoder, content = trained("conv")
    made = content if name == "fp32" else variants.make(name, content)
    judging = judge(encoder)
    told = judging.judge(made)
    found = np.concatenate([embedded(made, IMAGES[:50]), embedded(made, IMAGES[50:])])
    place = {one: row for row, one in enumerate(judging.frame["id"])}
    away, same = [], judging.listed["same"].to_numpy()
    for _, trial in judging.listed.iterrows():
        away.append(np.linalg.norm(found[place[trial["left"]]] - found[place[trial["right"]]]))
    assert told.bytes == len(made)
    assert told.eer == pytest.approx(roc_from_trials(-np.array(away), same).eer, abs=1e-3)
    assert told.largest_difference >= np.abs(found - judging.embeddings).max()
    assert (told.largest_difference <= portable.TOLERANCE) == (name == "fp32")


def test_a_sample_that_depends_on_its_batch_counts_at_its_worst() -> None:
    encoder, content = trained("conv")
    made, judging = variants.make("int8", content), judge(encoder)
    alone = np.abs(embedded(made, IMAGES[:1]) - judging.embeddings[:1]).max()
    assert judging.judge(made).largest_difference >= alone
    assert (embedded(made, IMAGES[:1]) != embedded(made, IMAGES)[:1]).any()


def test_embeddings_that_overflow_are_refused() -> None:
    encoder, content = trained("mlp")
    model = onnx.load_from_string(variants.make("fp16", content))
    bias = next(each for each in model.graph.initializer if each.name.endswith("head.bias"))
    bias.CopyFrom(numpy_helper.from_array(np.full(16, np.inf, dtype=np.float16), bias.name))
    with pytest.raises(VariantError, match="its embeddings of the test samples are not all finite"):
        judge(encoder).judge(model.SerializeToString())


def test_what_cannot_be_made_has_a_reason_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Any) -> Any:
        raise RuntimeError("no kernel for Sort\nat line 7")

    monkeypatch.setitem(variants.VARIANTS, "int8", broken)
    with pytest.raises(VariantError, match=r"^int8: no kernel for Sort$"):
        variants.make("int8", trained("mlp")[1])


def test_a_file_that_does_not_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def renamed(model: Any) -> Any:
        model.graph.node[0].op_type = "Nothing"
        return model

    monkeypatch.setitem(variants.VARIANTS, "int8", renamed)
    with pytest.raises(VariantError, match=r"int8: .*Nothing"):
        variants.make("int8", trained("mlp")[1])

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from likewise.delivery import portable
from likewise.learning.backbones import Backbone
from likewise.learning.convolutional import halvings, shrink
from likewise.learning.encoders import ENCODERS, Encoder, build, from_description

IMAGE, SEQUENCE, TEXT = (1, 28, 28), (20, 30), (24,)
SHAPES: dict[str, tuple[int, ...]] = {
    "conv": IMAGE,
    "resnet": IMAGE,
    "vit": IMAGE,
    "mlp": IMAGE,
    "tdnn": SEQUENCE,
    "bytes": TEXT,
}
# Small ones where size plays no part in what is tested.
SMALL: dict[str, dict[str, Any]] = {
    "conv": {"width": 8},
    "resnet": {"width": 8},
    "vit": {"patch": 14, "width": 16, "depth": 1, "heads": 2},
    "mlp": {"width": 16},
    "tdnn": {"width": 8},
    "bytes": {"width": 16, "depth": 2},
}
SEQUENCES: dict[str, dict[str, Any]] = {name: SMALL[name] for name in ("conv", "resnet", "tdnn")}
SEQUENCES["vit"] = SMALL["vit"] | {"patch": 5}
NAMES = sorted(ENCODERS)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    # Small batches: on a busy machine threads wait for each other longer than they work.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def small(name: str, **arguments: Any) -> Encoder:
    return build(name, SHAPES[name], 8, **(SMALL[name] | arguments))


def samples(name: str, count: int, *, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, *SHAPES[name]), dtype=torch.uint8, generator=generator)


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    left, right = one.state_dict(), other.state_dict()
    return list(left) == list(right) and all(torch.equal(left[key], right[key]) for key in left)


def test_every_encoder_is_tested() -> None:
    assert sorted(SHAPES) == sorted(SMALL) == NAMES


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_embeddings_have_length_one_whatever_the_input_type(name: str, dtype: torch.dtype) -> None:
    encoder = small(name)
    embeddings = encoder(samples(name, 3).to(dtype))
    assert embeddings.shape == (3, 8)
    assert embeddings.dtype == torch.float32
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(embeddings, encoder(samples(name, 3)), rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_without_normalisation_the_head_is_the_output(name: str) -> None:
    free, unit = small(name, normalise=False), small(name)
    batch = samples(name, 4)
    assert same_weights(free, unit)
    lengths = free(batch).norm(dim=1, keepdim=True)
    assert not torch.allclose(lengths, torch.ones(4, 1), atol=1e-3)
    torch.testing.assert_close(free(batch) / lengths, unit(batch))


def test_zero_embedding_stays_zero_with_a_finite_gradient() -> None:
    encoder = small("mlp")
    nn.init.zeros_(encoder.head.weight)
    nn.init.zeros_(encoder.head.bias)
    embeddings = encoder(samples("mlp", 2))
    embeddings.sum().backward()
    assert torch.equal(embeddings, torch.zeros(2, 8))
    assert encoder.head.bias.grad is not None
    assert torch.isfinite(encoder.head.bias.grad).all()


def test_standardises_each_channel_in_raw_units() -> None:
    encoder = build("mlp", (2, 1, 1), 2, mean=[10.0, 20.0], std=[2.0, 4.0], width=3, depth=1)
    plain = build("mlp", (2, 1, 1), 2, mean=0.0, std=1.0, width=3, depth=1)
    raw = torch.tensor([[14, 12]], dtype=torch.uint8).reshape(1, 2, 1, 1)
    standard = torch.tensor([[2.0, -2.0]]).reshape(1, 2, 1, 1)
    torch.testing.assert_close(encoder(raw), plain(standard), rtol=0, atol=0)


def test_default_standardisation_maps_bytes_of_images_and_leaves_sequences() -> None:
    image, sequence = build("mlp", (3, 4, 4), 2), build("tdnn", (3, 9), 2)
    assert image.mean.tolist() == image.std.tolist() == [[[[127.5]], [[127.5]], [[127.5]]]]
    assert sequence.mean.flatten().tolist() == [0.0, 0.0, 0.0]
    assert sequence.std.flatten().tolist() == [1.0, 1.0, 1.0]


def test_mean_and_std_may_be_arrays() -> None:
    encoder = build("mlp", (2, 4, 4), 2, mean=torch.tensor([1.5, 2.5]), std=np.array([3.0, 4.0]).tolist())
    assert encoder.describe()["mean"] == [1.5, 2.5]


@pytest.mark.parametrize("name", NAMES)
def test_description_survives_json_and_rebuilds_the_encoder(name: str) -> None:
    encoder = small(name, normalise=False, mean=0.1, std=[0.3] * SHAPES[name][0], seed=3)
    description = json.loads(json.dumps(encoder.describe()))
    again = from_description(description)
    again.load_state_dict(encoder.state_dict())
    assert again.describe() == encoder.describe() == description
    assert (again.name, again.input_shape, again.embedding, again.normalise, again.options) == (
        name,
        SHAPES[name],
        8,
        False,
        encoder.options,
    )
    torch.testing.assert_close(again(samples(name, 2)), encoder(samples(name, 2)), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["conv", "resnet", "vit", "mlp"])
@pytest.mark.parametrize("normalise", [True, False])
def test_mirrored_is_the_mean_of_an_image_and_its_mirror_image(name: str, normalise: bool) -> None:
    plain = small(name, normalise=normalise, mean=100.0, std=50.0)
    both = small(name, normalise=normalise, mean=100.0, std=50.0, mirror=True)
    images = samples(name, 5)
    reversed_ = torch.from_numpy(images.numpy()[..., ::-1].copy())
    # While training it sees single images.
    torch.testing.assert_close(both(images), plain(images), rtol=0, atol=0)
    plain.eval(), both.eval()
    mean = (plain(images) + plain(reversed_)) / 2
    wanted = mean / mean.norm(dim=1, keepdim=True) if normalise else mean
    torch.testing.assert_close(both(images), wanted, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(both(reversed_), both(images), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(both(images), plain(images), atol=1e-3)
    assert from_description(both.describe()).mirror


def test_only_images_are_mirrored() -> None:
    with pytest.raises(ValueError, match=r"only images have such views, and the samples are \(40, 9\)"):
        build("conv", (40, 9), 8, mirror=True)
    with pytest.raises(ValueError, match=r"only images have such views, and the samples are \(40, 9\)"):
        build("tdnn", (40, 9), 8, shifts=1)
    with pytest.raises(ValueError, match="shifts"):
        small("conv", shifts=-1)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("shifts", [1, 2])
def test_shifted_is_the_mean_of_an_image_at_places_around_its_own(shifts: int, mirror: bool) -> None:
    plain, every = (
        small("conv", mean=100.0, std=50.0),
        small("conv", mean=100.0, std=50.0, shifts=shifts, mirror=mirror),
    )
    images = samples("conv", 4)
    torch.testing.assert_close(every(images), plain(images), rtol=0, atol=0)
    plain.eval(), every.eval()
    rows, columns = np.indices((28, 28))
    views = []
    for down in range(-shifts, shifts + 1):
        for across in range(-shifts, shifts + 1):
            if down and across:
                continue
            read = (rows + down).clip(0, 27), (columns + across).clip(0, 27)
            moved = images.numpy()[..., read[0], read[1]]
            views += [moved, moved[..., ::-1]] if mirror else [moved]
    assert len(views) == (4 * shifts + 1) * (1 + mirror)
    mean = torch.stack([plain(torch.from_numpy(view.copy())) for view in views]).mean(dim=0)
    torch.testing.assert_close(every(images), mean / mean.norm(dim=1, keepdim=True), rtol=1e-5, atol=1e-6)
    assert from_description(every.describe()).shifts == shifts


def test_description_holds_the_default_options_too() -> None:
    assert small("conv").describe()["options"] == {"width": 8, "side": 4, "norm": "group"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embeding": 8}, "unknown entry of the description of the encoder 'embeding'; known: embedding"),
        ({"name": "con"}, "unknown encoder 'con'; known: conv"),
    ],
)
def test_a_wrong_description_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_description(small("conv").describe() | change)


def test_an_incomplete_description_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks embedding, normalise, mirror, shifts, mean, std, options"):
        from_description({"name": "conv", "input_shape": [1, 28, 28]})


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_weights_and_the_global_generators_stay(name: str) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = small(name, seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert same_weights(one, small(name, seed=5))
    assert not same_weights(one, small(name, seed=6))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("initialiser", ["kaiming", "orthogonal"])
def test_initialiser_reaches_the_weights(name: str, initialiser: str) -> None:
    drawn, plain = small(name, initialiser=initialiser), small(name)
    assert not torch.equal(drawn.head.weight, plain.head.weight)
    assert torch.equal(drawn.head.bias, torch.zeros(8))


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_does_not_depend_on_its_batch(name: str) -> None:
    encoder = small(name).train()
    batch = samples(name, 5)
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(encoder(batch)[order], encoder(batch[order]), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(encoder(batch)[:1], encoder(batch[:1]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_few_steps_pull_two_classes_apart(name: str) -> None:
    encoder = small(name)
    batch, sign = samples(name, 6), torch.tensor([1.0, 1, 1, -1, -1, -1])
    batch[:3, ..., ::2] = 0  # one class is striped
    optimizer = torch.optim.Adam(encoder.parameters(), lr=1e-2)
    for _ in range(15):
        loss = (encoder(batch)[:, 0] - sign).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(parameter.grad is not None for parameter in encoder.parameters())
    assert loss < 0.3


@pytest.mark.parametrize("name", NAMES)
def test_bf16_autocast_trains_and_agrees_with_fp32(name: str) -> None:
    encoder = small(name)
    batch = samples(name, 4)
    with torch.autocast("cpu", torch.bfloat16):
        embeddings = encoder(batch)
    assert embeddings.dtype == torch.float32
    assert (embeddings * encoder(batch)).sum(dim=1).min() > 0.98
    embeddings.square().sum().backward()
    gradients = [parameter.grad for parameter in encoder.parameters()]
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("name", ["conv", "resnet", "vit", "mlp"])
def test_channels_last_gives_the_same_embeddings(name: str) -> None:
    encoder, batch = build(name, (3, 28, 28), 8, **SMALL[name]), torch.randint(0, 256, (4, 3, 28, 28))
    expected = encoder(batch)
    encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    embeddings = encoder(batch.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(embeddings, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["conv", "resnet", "mlp"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 8, 8), (3, 105, 92), (4, 33, 7), (1, 5, 130)])
def test_images_of_any_size_and_channel_count_fit(name: str, shape: tuple[int, int, int]) -> None:
    encoder = build(name, shape, 2, **SMALL[name])
    assert torch.isfinite(encoder(torch.ones(2, *shape))).all()


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 12, 20), (5, 4, 4)])
def test_vit_takes_images_of_any_whole_number_of_patches(shape: tuple[int, int, int]) -> None:
    encoder = build("vit", shape, 2, width=16, depth=1)
    assert torch.isfinite(encoder(torch.ones(2, *shape))).all()


def test_vit_sees_where_a_patch_is() -> None:
    encoder = build("vit", (1, 8, 8), 16, width=16, depth=1)
    image = torch.zeros(1, 1, 8, 8)
    image[..., :4, :4] = 255
    assert not torch.allclose(encoder(image), encoder(image.flip(3)), atol=1e-4)


@pytest.mark.parametrize("length", [1, 2, 14, 15, 77])
def test_tdnn_takes_any_length(length: int) -> None:
    encoder = small("tdnn")
    sequences = torch.randn(3, SEQUENCE[0], length, requires_grad=True)
    embeddings = encoder(sequences)
    embeddings[:, 0].sum().backward()
    assert embeddings.shape == (3, 8)
    assert sequences.grad is not None
    assert torch.isfinite(sequences.grad).all()


def test_tdnn_pools_mean_and_standard_deviation() -> None:
    backbone = small("tdnn").backbone
    maps = torch.randn(2, 5, 9, generator=torch.Generator().manual_seed(0))
    pooled = backbone.get_submodule("pooling")(maps)
    expected = np.concatenate([maps.numpy().mean(axis=2), maps.numpy().std(axis=2)], axis=1)
    np.testing.assert_allclose(pooled.numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("name", SEQUENCES)
def test_encoders_of_sequences_standardise_each_channel_and_survive_a_description(name: str) -> None:
    mean, std = [float(channel) for channel in range(20)], [1.0 + channel for channel in range(20)]
    encoder = build(name, SEQUENCE, 8, mean=mean, std=std, seed=3, **SEQUENCES[name])
    standard = torch.randn(3, *SEQUENCE, generator=torch.Generator().manual_seed(0))
    raw = standard * torch.tensor(std)[:, None] + torch.tensor(mean)[:, None]
    embeddings = encoder(raw)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(3))
    plain = build(name, SEQUENCE, 8, seed=3, **SEQUENCES[name])
    torch.testing.assert_close(embeddings, plain(standard), rtol=1e-4, atol=1e-5)
    again = from_description(json.loads(json.dumps(encoder.describe())))
    assert again.input_shape == SEQUENCE
    again.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(again(raw), embeddings, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["conv", "resnet"])
def test_a_spectrogram_is_an_image_of_one_channel(name: str) -> None:
    spectra = torch.randn(3, *SEQUENCE, generator=torch.Generator().manual_seed(0))
    flat, image = build(name, SEQUENCE, 8, **SMALL[name]), build(name, (1, *SEQUENCE), 8, mean=0, std=1, **SMALL[name])
    torch.testing.assert_close(flat(spectra), image(spectra[:, None]), rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"takes a batch \(n, 20, 30\), but was given \(3, 1, 20, 30\)"):
        flat(spectra[:, None])


def test_vit_over_time_cuts_patches_of_all_channels() -> None:
    encoder = build("vit", SEQUENCE, 8, **SEQUENCES["vit"])
    batch = torch.randn(2, *SEQUENCE, generator=torch.Generator().manual_seed(0))
    patches = encoder.backbone.get_submodule("patches")
    found = patches(batch)  # (n, width, patches)
    assert isinstance(patches, nn.Conv1d)
    assert patches.bias is not None
    for index in range(6):
        piece = batch[:, :, 5 * index : 5 * index + 5].flatten(1)
        wanted = piece @ patches.weight.flatten(1).T + patches.bias
        torch.testing.assert_close(found[:, :, index], wanted, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(encoder(batch), encoder(batch.roll(5, dims=2)), atol=1e-4)


def written(*texts: str, length: int) -> Tensor:
    rows = [text.encode().ljust(length, b"\0") for text in texts]
    return torch.tensor([list(row) for row in rows], dtype=torch.uint8)


TEXTS = ("to be or not to be", "ça", "x", "0123456789" * 6)


@pytest.mark.parametrize("length", [65, 128, 500])
def test_what_a_text_is_filled_up_to_does_not_change_its_embedding(length: int) -> None:
    encoder = build("bytes", (64,), 16)
    wanted = encoder(written(*TEXTS, length=64))
    torch.testing.assert_close(encoder(written(*TEXTS, length=length)), wanted, rtol=0, atol=1e-5)
    # Alone there is nothing to fill up.
    for row, text in zip(wanted, TEXTS, strict=True):
        found = encoder(written(text, length=len(text.encode())))[0]
        torch.testing.assert_close(found, row, rtol=0, atol=1e-5)


def test_every_byte_and_its_place_matter() -> None:
    encoder = build("bytes", (64,), 16)
    found = encoder(written("abcd", "abce", "abdc", "bcd", "Abcd", "abcdabcd", length=64))
    alike = torch.cdist(found, found) < 1e-3
    assert torch.equal(alike, torch.eye(6, dtype=torch.bool))


def test_an_empty_text_has_an_embedding_and_a_finite_gradient() -> None:
    encoder = small("bytes")
    encoder(torch.zeros(2, *TEXT, dtype=torch.uint8))[:, 0].sum().backward()
    gradients = [parameter.grad for parameter in encoder.parameters()]
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)


def test_bytes_against_a_loop_over_the_text() -> None:
    """One layer, place by place, in NumPy."""
    encoder = build("bytes", (9,), 4, width=6, depth=1, normalise=False, seed=2)
    state = {name: value.double().numpy() for name, value in encoder.state_dict().items()}
    letters, kernel = state["backbone.letters.weight"], state["backbone.layers.0.convolution.weight"]
    codes = [7, 200, 7, 31, 99]
    places = []
    for t in range(5):
        joined = np.zeros(6)
        for offset in range(-2, 3):
            if 0 <= t + offset < 5:
                joined += kernel[:, :, offset + 2] @ letters[codes[t + offset]]
        joined = (joined - joined.mean()) / np.sqrt(joined.var() + 1e-5)
        places.append(letters[codes[t]] + np.maximum(joined, 0))
    features = np.concatenate([np.mean(places, axis=0), np.sqrt(np.var(places, axis=0) + 1e-5)])
    wanted = state["head.weight"] @ features + state["head.bias"]
    batch = torch.tensor([[*codes, 0, 0, 0, 0]], dtype=torch.uint8)
    np.testing.assert_allclose(encoder(batch)[0].detach().numpy(), wanted, atol=1e-5)


def test_bytes_are_looked_up_whatever_mean_and_std_were_measured() -> None:
    texts = written(*TEXTS, length=64)
    one = build("bytes", (64,), 8, mean=torch.arange(64.0), std=torch.full((64,), 9.0))
    assert one.describe()["mean"] == [0.0]
    assert one.describe()["std"] == [1.0]
    torch.testing.assert_close(one(texts), build("bytes", (64,), 8)(texts), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["bytes", "vit"])
def test_encoders_of_texts_and_sequences_are_portable(name: str) -> None:
    if name == "bytes":
        encoder, batch = small(name), written("alpha", "beta", "gamma und délta", length=24).numpy()
    else:
        encoder = build(name, SEQUENCE, 8, **SEQUENCES[name])
        batch = np.random.default_rng(0).normal(size=(3, *SEQUENCE)).astype(np.float32)
    content = portable.export(encoder, batch)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for count in (1, 3):
        (found,) = session.run(None, {"samples": batch[:count]})
        with torch.no_grad():
            wanted = encoder(torch.from_numpy(batch[:count])).numpy()
        np.testing.assert_allclose(found, wanted, atol=portable.TOLERANCE)


def test_mlp_takes_vectors() -> None:
    assert build("mlp", (7,), 2)(torch.ones(3, 7)).shape == (3, 2)


@pytest.mark.parametrize("name", ["conv", "resnet", "tdnn"])
def test_batch_normalisation_can_be_chosen(name: str) -> None:
    encoder = small(name, norm="batch")
    encoder(samples(name, 4))
    counts = [value for key, value in encoder.state_dict().items() if key.endswith("num_batches_tracked")]
    assert counts
    assert all(count == 1 for count in counts)
    encoder.eval()
    assert encoder(samples(name, 1)).shape == (1, 8)


@pytest.mark.parametrize(
    ("size", "most", "last"), [((28, 28), 4, (4, 4)), ((105, 92), 4, (4, 3)), ((3, 50), 4, (3, 4)), ((2, 2), 4, (2, 2))]
)
def test_halvings_end_at_the_size_wanted(size: tuple[int, int], most: int, last: tuple[int, int]) -> None:
    assert shrink(size, halvings(size, most)) == last
    longest = max(size)
    assert len(halvings(size, most)) == max(0, math.ceil(math.log2(longest / most)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cnov", IMAGE, 8, {}), "unknown encoder 'cnov'; known: conv, "),
        (("conv", IMAGE, 8, {"widht": 8}), "unknown option of the encoder conv 'widht'; known: width, "),
        (("mlp", IMAGE, 8, {"initialiser": "kaimin"}), "unknown initialiser 'kaimin'; known: kaiming, "),
        (("conv", IMAGE, 8, {"norm": "grup"}), "unknown conv norm 'grup'; known: group, batch"),
        (("conv", IMAGE, 8, {"width": 20}), "width is 20, .* multiple of 8; the nearest is 24"),
        (("conv", IMAGE, 8, {"side": 0}), "side is 0, .* >= 1; the nearest is 1"),
        (("resnet", IMAGE, 8, {"blocks": 1.5}), "blocks is 1.5, but must be a whole number >= 1$"),
        (("mlp", IMAGE, 8, {"depth": True}), "depth is True"),
        (("vit", IMAGE, 8, {"width": 30}), "width is 30, .* multiple of 4; the nearest is 32"),
        (("vit", (1, 105, 105), 8, {}), "105 x 105; resize to 104 x 104, or use patch=5 .of 1, 3, 5, 7, 15"),
        (("vit", (1, 2, 3), 8, {}), "2 x 3; resize to 4 x 4, or use patch=1"),
        (
            ("vit", SEQUENCE, 8, {}),
            "sequences of 30; resize to 32, or use patch=5 .of 1, 2, 3, 5, 6, 10, 15",
        ),
        (("bytes", SEQUENCE, 8, {}), r"needs texts .* shape \(20, 30\); tdnn, vit, conv, resnet or mlp fits"),
        (("bytes", TEXT, 8, {"depth": 0}), "bytes: depth is 0, .* >= 1"),
        (("tdnn", IMAGE, 8, {}), r"needs sequences .* shape \(1, 28, 28\); conv, resnet, vit or mlp fits"),
        (("resnet", (9,), 8, {}), r"shape \(9,\); bytes or mlp fits"),
        (("vit", (9,), 8, {}), r"shape \(9,\); bytes or mlp fits"),
        (("mlp", (0, 4, 4), 8, {}), "a side of input_shape is 0"),
        (("conv", IMAGE, 1, {}), "embedding is 1, .* from 2 to 8192; the nearest is 2"),
        (("conv", IMAGE, 9000, {}), "embedding is 9000, .* the nearest is 8192"),
        (("conv", IMAGE, 8, {"mean": [1.0, 2.0]}), "mean has 2 numbers; give one, or one for each of 1 channels"),
        (("conv", IMAGE, 8, {"std": 0.0}), "std is .*0.0.*use 1 for a constant channel"),
        (("conv", IMAGE, 8, {"mean": math.nan}), "mean is .*nan.*finite"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: tuple[Any, ...], message: str) -> None:
    name, shape, embedding, options = arguments
    with pytest.raises(ValueError, match=message):
        build(name, shape, embedding, **options)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("conv", (2, 1, 27, 28)), ("conv", (1, 28, 28)), ("mlp", (2, 784)), ("tdnn", (2, 19, 30)), ("tdnn", (20, 30))],
)
def test_a_batch_of_another_shape_is_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"takes a batch \(n, .*given \({shape[0]}, {shape[1]}"):
        small(name)(torch.zeros(shape))


def test_embedding_may_be_as_wide_as_8192() -> None:
    assert build("mlp", (4,), 8192, width=8)(torch.ones(1, 4)).shape == (1, 8192)


def test_adding_an_encoder_takes_one_class(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mean(Backbone):
        def __init__(self, input_shape: tuple[int, ...], *, power: int = 1) -> None:
            super().__init__()
            self.features, self.power = input_shape[0], power

        def forward(self, images: Tensor) -> Tensor:
            return images.pow(self.power).mean(dim=(2, 3))

    monkeypatch.setitem(ENCODERS, "mean", Mean)
    encoder = build("mean", (3, 4, 4), 2, power=2)
    assert encoder(torch.ones(5, 3, 4, 4)).shape == (5, 2)
    assert from_description(encoder.describe()).options == {"power": 2}


class _AllAtOnce(nn.Module):
    """One graph of every encoder: an export costs seconds whatever its size."""

    def __init__(self) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict({name: small(name) for name in NAMES})
        self.others = nn.ModuleDict({name: build(name, SEQUENCE, 8, **SEQUENCES[name]) for name in SEQUENCES})

    def forward(self, images: Tensor, sequences: Tensor, texts: Tensor, spectra: Tensor) -> list[Tensor]:
        inputs = {1: texts, 2: sequences, 3: images}
        first = [self.encoders[name](inputs[len(SHAPES[name])]) for name in NAMES]
        return first + [encoder(spectra) for encoder in self.others.values()]


OUTPUTS = [*NAMES, *(f"{name} of spectra" for name in SEQUENCES)]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[_AllAtOnce, onnxruntime.InferenceSession]:
    model = _AllAtOnce().eval()
    path: Path = tmp_path_factory.mktemp("onnx") / "encoders.onnx"
    batch, length, count = (torch.export.Dim(name) for name in ("batch", "length", "bytes"))
    program = torch.onnx.export(
        model,
        (samples("conv", 2), samples("tdnn", 2), samples("bytes", 2), samples("tdnn", 2).float()),
        dynamo=True,
        dynamic_shapes=({0: batch}, {0: batch, 2: length}, {0: batch, 1: count}, {0: batch}),
        input_names=["images", "sequences", "texts", "spectra"],
        output_names=OUTPUTS,
        external_data=False,
        verbose=False,
    )
    assert program is not None
    program.save(path)
    return model, onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(("count", "length"), [(1, 30), (3, 17), (64, 41)])
def test_onnx_gives_the_same_embeddings_of_bytes(
    exported: tuple[_AllAtOnce, onnxruntime.InferenceSession], count: int, length: int
) -> None:
    model, session = exported
    images = samples("conv", count, seed=count)
    sequences = torch.randint(0, 256, (count, SEQUENCE[0], length), dtype=torch.uint8)
    texts = torch.randint(1, 256, (count, length), dtype=torch.uint8)
    texts[0, length // 2 :] = 0
    spectra = torch.randn(count, *SEQUENCE, generator=torch.Generator().manual_seed(count))
    with torch.no_grad():
        expected = model(images, sequences, texts, spectra)
    inputs = {"images": images, "sequences": sequences, "texts": texts, "spectra": spectra}
    found = session.run(OUTPUTS, {name: each.numpy() for name, each in inputs.items()})
    for name, left, right in zip(OUTPUTS, found, expected, strict=True):
        np.testing.assert_allclose(left, right.numpy(), rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("scale", [[1.0, 1.0, 1.0], [0.5, 3.0, 1e-20], [2.0, 0.0, 1.0]])
def test_joined_embeddings_have_length_1_before_the_scale(scale: list[float]) -> None:
    encoder = build("mlp", (5,), 3, width=8)
    draw = torch.Generator().manual_seed(0)
    inner = torch.nn.functional.normalize(torch.randn(4, 6, 3, generator=draw, dtype=torch.float64), dim=2)
    kept = torch.tensor([float(each > 0) for each in scale], dtype=torch.float64)
    means = (inner * kept).mean(dim=1)
    wanted = means / means.norm(dim=1, keepdim=True) * torch.tensor(scale, dtype=torch.float64)
    encoder.rescale(torch.tensor(scale))
    found = encoder.joined((inner * torch.tensor(scale)).mean(dim=1))
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=0)


def test_joined_embeddings_of_any_length_are_the_means() -> None:
    means = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    assert build("mlp", (5,), 3, width=8, normalise=False).joined(means) is means
    # Rows that cancel out have no direction; the result is finite.
    assert torch.isfinite(build("mlp", (5,), 3, width=8).joined(torch.zeros(1, 3))).all()

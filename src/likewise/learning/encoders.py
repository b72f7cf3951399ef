"""Encoders: a raw sample to its embedding, by the name of the backbone."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from likewise.choices import choose, one_of
from likewise.learning import initialisers
from likewise.learning.backbones import Backbone, Mlp
from likewise.learning.byte_network import ByteNetwork
from likewise.learning.convolutional import Conv, ResNet
from likewise.learning.options import whole
from likewise.learning.tdnn import Tdnn
from likewise.learning.vit import VisionTransformer

LEAST_EMBEDDING, MOST_EMBEDDING = 2, 8192
MOST_SHIFTS = 8

NORM_FLOOR = 1e-6
"""Shorter embeddings are divided by this and not by their length, so that the gradient at zero is finite."""

IMAGE_MIDDLE = 127.5
"""Mean and spread of an image's bytes where none are given: 0..255 becomes -1..1."""

Numbers = float | Sequence[float] | Tensor


class Network(nn.Module):
    """What is trained and delivered: raw samples to embeddings; one encoder, or several as one.

    The buffer `scale` (embedding,) is what each number is multiplied by at the end: ones, or the weights that a loss
    learnt for the distance (`rescale`).

    Attributes:
        embedding: numbers an embedding.
    """

    scale: Tensor

    def __init__(self, embedding: int) -> None:
        super().__init__()
        self.embedding = embedding
        self.register_buffer("scale", torch.ones(embedding))

    def joined(self, means: Tensor) -> Tensor:
        """Return the embeddings of samples of several rows, such as the windows of a long sound, (n, embedding).

        Args:
            means: of each sample's rows' embeddings (n, embedding).
        """
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """Return what is needed to build the same, as JSON values; weights apart."""
        raise NotImplementedError

    def singles(self) -> list[Encoder]:
        """Return the encoders that it is made of."""
        raise NotImplementedError

    def refit(self, heads: Sequence[nn.Linear]) -> None:
        """Take other heads, one for each of `singles`: from the features to embeddings of any length, at scale 1."""
        for encoder, head in zip(self.singles(), heads, strict=True):
            encoder.head, encoder.embedding = head, head.out_features
            encoder.scale = encoder.scale.new_ones(head.out_features)
        self.embedding = sum(encoder.embedding for encoder in self.singles())
        self.scale = self.scale.new_ones(self.embedding)

    def rescale(self, weights: Tensor) -> None:
        """Multiply every embedding from now on by these weights, (embedding,), not negative."""
        self.scale.mul_(weights.to(self.scale))


class Encoder(Network):
    """Standardise, backbone, linear head, L2 normalisation: raw samples to embeddings.

    Samples come in raw units, as they are stored: uint8 0..255 or float, the cast is inside. `mean` and `std`
    are buffers (1, channels, 1, ...), and so travel with the weights and into ONNX; they are 0 and 1 for a backbone
    that takes symbols. One that takes images sees (bands, frames) as an image of one channel. Made by `build`.

    In evaluation mode several views of an image may be embedded, and their mean, brought to length 1 with `normalise`,
    is its embedding: with `shifts` the image moved up to so many pixels left, right, up and down, too, so that how it
    was cut counts for less; with `mirror` all of these and their mirror images, so that which way a face looks does.
    What moves in from outside repeats the edge. Training sees single images.

    Attributes:
        name: the backbone's name.
        input_shape: shape of one sample.
        embedding: numbers an embedding.
        normalise: whether embeddings have length 1.
        mirror: whether the mirror image is embedded, too.
        shifts: pixels up to which it is moved and embedded, too.
        options: every option of the backbone, the defaults too.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        backbone: Backbone,
        input_shape: tuple[int, ...],
        embedding: int,
        *,
        normalise: bool,
        mirror: bool,
        shifts: int,
        mean: Tensor,
        std: Tensor,
        options: dict[str, Any],
    ) -> None:
        super().__init__(embedding)
        self.name, self.input_shape = name, input_shape
        self.normalise, self.mirror, self.shifts, self.options = normalise, mirror, shifts, options
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.backbone = backbone
        self.head = nn.Linear(backbone.features, embedding)

    def forward(self, samples: Tensor) -> Tensor:
        """Map samples (n, *input_shape), uint8 or float, to embeddings (n, embedding), float32.

        Raises:
            ValueError: when the samples have another shape than the encoder was built for.
        """
        standard = self._standard(samples)
        if self.training or not (self.mirror or self.shifts):
            return self._embedded(standard) * self.scale
        every = [self._embedded(view) for view in self._views(standard)]
        return self._scaled(torch.stack(every).mean(dim=0)) * self.scale

    def features(self, samples: Tensor) -> Tensor:
        """Return what the backbone makes of samples (n, *input_shape), and the head takes: (n, features)."""
        found: Tensor = self.backbone(self._standard(samples))
        return found

    def _standard(self, samples: Tensor) -> Tensor:
        self._check(samples)
        standard = (samples.to(self.mean.dtype) - self.mean) / self.std
        return standard.unsqueeze(1) if self.backbone.images and standard.dim() == 3 else standard

    def _embedded(self, standard: Tensor) -> Tensor:
        return self._scaled(self.head(self.backbone(standard)).float())

    def _views(self, standard: Tensor) -> list[Tensor]:
        views, edge = [standard], self.shifts
        if edge:
            padded = F.pad(standard, (edge, edge, edge, edge), mode="replicate")
            steps = [step for step in range(-edge, edge + 1) if step]
            height, width = standard.shape[-2:]
            views += [padded[..., edge + step : edge + step + height, edge : edge + width] for step in steps]
            views += [padded[..., edge : edge + height, edge + step : edge + step + width] for step in steps]
        return views + [view.flip(-1) for view in views] if self.mirror else views

    def _scaled(self, embeddings: Tensor) -> Tensor:
        return F.normalize(embeddings, eps=NORM_FLOOR) if self.normalise else embeddings

    def joined(self, means: Tensor) -> Tensor:
        """Return the embeddings of samples of several rows, such as the windows of a long sound, (n, embedding).

        They are the means of their rows' embeddings, brought to length 1 where those have it.

        Args:
            means: of each sample's rows' embeddings (n, embedding).

        Example:
            >>> encoder = build("mlp", (4,), 2, width=8)
            >>> encoder.joined(torch.tensor([[0.3, 0.4]]))
            tensor([[0.6000, 0.8000]])
        """
        if not self.normalise:
            return means
        # The length is 1 before the scale; where that is 0, so is the mean.
        scale = self.scale.to(means).clamp(min=torch.finfo(means.dtype).tiny)
        return self._scaled(means / scale) * scale

    def singles(self) -> list[Encoder]:
        """Return itself."""
        return [self]

    def describe(self) -> dict[str, Any]:
        """Return what `from_description` needs to build the same encoder, as JSON values; weights apart."""
        return {
            "name": self.name,
            "input_shape": list(self.input_shape),
            "embedding": self.embedding,
            "normalise": self.normalise,
            "mirror": self.mirror,
            "shifts": self.shifts,
            "mean": self.mean.flatten().tolist(),
            "std": self.std.flatten().tolist(),
            "options": dict(self.options),
        }

    def _check(self, samples: Tensor) -> None:
        wanted, given = self.input_shape, tuple(samples.shape[1:])
        if self.backbone.any_length:
            wanted, given = wanted[:-1], given[:-1]
        if samples.dim() != 1 + len(self.input_shape) or wanted != given:
            raise ValueError(
                f"the {self.name} encoder takes a batch (n, {', '.join(map(str, self.input_shape))}), "
                f"but was given {tuple(samples.shape)}; resize the samples or build an encoder for them"
            )


def build(
    name: str,
    input_shape: Sequence[int],
    embedding: int,
    *,
    normalise: bool = True,
    mirror: bool = False,
    shifts: int = 0,
    initialiser: str = "default",
    seed: int = 0,
    mean: Numbers | None = None,
    std: Numbers | None = None,
    **options: Any,
) -> Encoder:
    """Return a new encoder on the CPU: same arguments, same weights, and no global generator moves.

    Args:
        name: one of `ENCODERS`.
        input_shape: of one sample: (channels, height, width); (channels, length), of which conv and resnet make an
            image of one channel, such as a sound's (bands, frames); (length,) for bytes; any for mlp.
        embedding: numbers an embedding, 2 to 8192.
        normalise: give embeddings of length 1.
        mirror: embed images together with their mirror images, except while training.
        shifts: embed images together with themselves moved up to so many pixels, except while training.
        initialiser: one of `initialisers.INITIALISERS`.
        seed: decides the first weights.
        mean: what is taken off each channel, in raw units, one number or one a channel; none: 127.5 for
            images, 0 for others. A backbone of symbols, bytes, looks them up as they are: always 0.
        std: what each channel is divided by after that; none: 127.5 for images, 1 for others. For bytes always 1.
        **options: the backbone's own, such as `width`.

    Raises:
        ValueError: when a name or an option is unknown, a number is out of range, or the backbone cannot take
            samples of this shape; says what is known or what would fit.

    Example:
        >>> encoder = build("conv", (1, 28, 28), 64)
        >>> encoder(torch.zeros(3, 1, 28, 28, dtype=torch.uint8)).shape
        torch.Size([3, 64])
    """
    kind = choose("encoder", name, ENCODERS)
    shape = tuple(whole(name, "a side of input_shape", side) for side in input_shape)
    whole(name, "embedding", embedding, least=LEAST_EMBEDDING, most=MOST_EMBEDDING)
    defaults = _options(kind)
    for option in options:
        one_of(f"option of the encoder {name}", option, defaults)
    if (mirror or shifts) and len(shape) != 3:
        raise ValueError(
            f"mirror and shifts: only images have such views, and the samples are {shape}; set false and 0"
        )
    options = defaults | options
    statistics = (1,) if kind.symbols else shape
    with initialisers.seeded(seed), torch.device("cpu"):
        encoder = Encoder(
            name,
            kind((1, *shape) if kind.images and len(shape) == 2 else shape, **options),
            shape,
            embedding,
            normalise=normalise,
            mirror=mirror,
            shifts=whole(name, "shifts", shifts, least=0, most=MOST_SHIFTS),
            mean=_per_channel("mean", 0.0 if kind.symbols else mean, statistics),
            std=_per_channel("std", 1.0 if kind.symbols else std, statistics),
            options=options,
        )
        initialisers.apply(encoder, initialiser, seed=seed)
    return encoder


def from_description(description: Mapping[str, Any]) -> Encoder:
    """Return the encoder that `Encoder.describe` told of, with new weights to load the trained ones into.

    Raises:
        ValueError: when an entry is missing or unknown, or `build` refuses.

    Example:
        >>> from_description(build("mlp", (4,), 2, width=8).describe()).options
        {'width': 8, 'depth': 2}
    """
    missing = [key for key in DESCRIPTION if key not in description]
    if missing:
        raise ValueError(f"the description of the encoder lacks {', '.join(missing)}")
    for entry in description:
        one_of("entry of the description of the encoder", entry, DESCRIPTION)
    entries = dict(description)
    return build(**entries.pop("options"), **entries)


def _options(kind: type[Backbone]) -> dict[str, Any]:
    parameters = inspect.signature(kind).parameters.values()
    return {each.name: each.default for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY}


def _per_channel(name: str, given: Numbers | None, shape: tuple[int, ...]) -> Tensor:
    """Return (1, channels, 1, ...), which subtracts from and divides a batch (n, *shape)."""
    if given is None:
        image = len(shape) == 3
        given = IMAGE_MIDDLE if image else float(name == "std")
    values = torch.as_tensor(given, dtype=torch.float32).flatten()
    if len(values) not in (1, shape[0]):
        raise ValueError(f"{name} has {len(values)} numbers; give one, or one for each of {shape[0]} channels")
    if not bool(torch.isfinite(values).all()) or (name == "std" and not bool((values > 0).all())):
        wanted = "finite and above 0; use 1 for a constant channel" if name == "std" else "finite"
        raise ValueError(f"{name} is {values.tolist()}, but must be {wanted}")
    return values.expand(shape[0]).clone().reshape(1, shape[0], *[1] * (len(shape) - 1))


DESCRIPTION = ("name", "input_shape", "embedding", "normalise", "mirror", "shifts", "mean", "std", "options")
"""The entries of an encoder's description."""

ENCODERS: dict[str, type[Backbone]] = {
    "conv": Conv,
    "resnet": ResNet,
    "vit": VisionTransformer,
    "tdnn": Tdnn,
    "bytes": ByteNetwork,
    "mlp": Mlp,
}

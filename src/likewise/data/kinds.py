"""The kinds of samples: what their files become, as a pure function of the bytes that travels with the model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from likewise.choices import choose, one_of
from likewise.data import images, sequences, sounds, texts
from likewise.data.raw import Content
from likewise.data.spectra import SpectrumSpec

Rows = NDArray[Any]
"""The arrays (rows, *shape) of one sample: one row, but for sounds longer than a window."""


@dataclass(frozen=True)
class Preprocessing:
    """What a file becomes before the encoder sees it: the same wherever the model is used.

    Attributes:
        kind: a name in `KINDS`.
        options: the kind's own, all of them, as JSON values.
        shape: of one row.
        dtype: of the rows, by NumPy's name.
        decode: encoded bytes (or, for some kinds, an array) to rows; raises `Unreadable`.
        left_out: how many bytes of a content that `decode` takes are in none of its rows, such as those past the
            length of a text.
    """

    kind: str
    options: Mapping[str, Any]
    shape: tuple[int, ...]
    dtype: str
    decode: Callable[[Content], Rows]
    left_out: Callable[[Content], int]

    def describe(self) -> dict[str, Any]:
        """Return what `build` needs to make the same again, as JSON values."""
        return {"kind": self.kind, **self.options}

    def rows(self, content: Content) -> Rows:
        """Return the rows of encoded bytes, or of a row that is decoded already, as it is.

        Raises:
            Unreadable: when the content is not of this kind.
        """
        if isinstance(content, np.ndarray) and content.shape == self.shape and content.dtype == self.dtype:
            return content[None]
        return self.decode(content)


def build(kind: str, **options: Any) -> Preprocessing:
    """Return the preprocessing of a kind.

    Args:
        kind: a name in `KINDS`.
        options: as the kind takes them; those that are left out have the kind's defaults.

    Raises:
        ValueError: when the kind or an option is unknown, or a value is refused.

    Example:
        >>> text = build("text", length=8)
        >>> text.rows("Ü!".encode())
        array([[195, 156,  33,   0,   0,   0,   0,   0]], dtype=uint8)
        >>> build(**text.describe()).describe() == text.describe()
        True
    """
    make = choose("kind", kind, KINDS)
    taken = inspect.signature(make).parameters
    for option in options:
        one_of(f"option of the kind {kind}", option, taken)
    known = {name: each.default for name, each in taken.items() if each.default is not inspect.Parameter.empty}
    whole = known | options
    return Preprocessing(kind, whole, *make(**whole))


def _nothing(content: Content) -> int:  # noqa: ARG001
    return 0


class Made(NamedTuple):
    """What a kind says: the last attributes of `Preprocessing`."""

    shape: tuple[int, ...]
    dtype: str
    decode: Callable[[Content], Rows]
    left_out: Callable[[Content], int] = _nothing


def _image(
    *, height: int, width: int, channels: int, crop: float | None = None, min_side: int = images.MIN_SIDE
) -> Made:
    spec = images.ImageSpec(height=height, width=width, channels=channels, crop=crop)
    return Made(spec.shape, "uint8", partial(_one_image, spec=spec, min_side=min_side))


def _one_image(content: Content, *, spec: images.ImageSpec, min_side: int) -> Rows:
    return images.decode(content, spec, min_side=min_side)[None]


def _audio(
    *,
    rate: int,
    seconds: float,
    overlap: float = 0.0,
    trim: float | None = None,
    level: float | None = None,
    mels: int = 40,
    frame_ms: float = 25.0,
    hop_ms: float = 10.0,
    lowest: float = 20.0,
    highest: float | None = None,
    min_seconds: float = sounds.MIN_SECONDS,
    max_seconds: float = sounds.MAX_SECONDS,
    min_rate: int = sounds.MIN_RATE,
) -> Made:
    spectrum = SpectrumSpec(rate, mels=mels, frame_ms=frame_ms, hop_ms=hop_ms, lowest=lowest, highest=highest)
    spec = sounds.SoundSpec(spectrum, seconds, overlap=overlap, trim=trim, level=level)
    decode = partial(sounds.decode, spec=spec, min_seconds=min_seconds, max_seconds=max_seconds, min_rate=min_rate)
    return Made(spec.shape, "float16", decode)


def _sequence(
    *,
    length: int,
    channels: int | list[int | str],
    time: int | str | None = None,
    centre: bool = True,
    scale: bool = True,
    together: int | None = None,
    differences: bool = False,
    min_points: int = sequences.MIN_POINTS,
    max_points: int = sequences.MAX_POINTS,
) -> Made:
    spec = sequences.SequenceSpec(
        length,
        channels if isinstance(channels, int) else tuple(channels),
        time=time,
        centre=centre,
        scale=scale,
        together=together,
        differences=differences,
    )
    decode = partial(_one_sequence, spec=spec, min_points=min_points, max_points=max_points)
    return Made(spec.shape, "float32", decode)


def _one_sequence(content: Content, *, spec: sequences.SequenceSpec, min_points: int, max_points: int) -> Rows:
    return sequences.decode(content, spec, min_points=min_points, max_points=max_points)[None]


def _text(*, length: int) -> Made:
    spec = texts.TextSpec(length)
    return Made(spec.shape, "uint8", partial(_one_text, spec=spec), partial(texts.left_out, spec=spec))


def _one_text(content: Content, *, spec: texts.TextSpec) -> Rows:
    return texts.decode(content, spec)[None]


KINDS: dict[str, Callable[..., Made]] = {
    "image": _image,
    "audio": _audio,
    "sequence": _sequence,
    "text": _text,
}

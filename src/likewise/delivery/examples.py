"""A made-up file of each kind: what a model takes, shown without anybody's data."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from likewise.choices import choose

if TYPE_CHECKING:
    from likewise.data.kinds import Preprocessing


def example(preprocessing: Preprocessing) -> bytes:
    """Return an encoded file that the preprocessing takes: the same bytes each time, and nobody's face or voice.

    Example:
        >>> from likewise.data import kinds
        >>> example(kinds.build("text", length=16))
        b'An example.'
        >>> example(kinds.build("sequence", length=8, channels=["x", "y"], time="t")).decode().split()[0]
        't,x,y'
    """
    return choose("kind", preprocessing.kind, MAKERS)(preprocessing.options)


def _image(options: Mapping[str, Any]) -> bytes:
    from PIL import Image

    side = max(16, options["min_side"], options["height"], options["width"])
    pixels = np.full((side, side), 255, dtype=np.uint8)
    # A dark frame on white: something stands out, whatever is cut out.
    pixels[side // 4 : side - side // 4, side // 4 : side - side // 4] = 40
    pixels[3 * side // 8 : side - 3 * side // 8, 3 * side // 8 : side - 3 * side // 8] = 160
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def _sound(options: Mapping[str, Any]) -> bytes:
    import soundfile

    rate, seconds = max(8000, options["rate"], options["min_rate"]), max(0.5, options["min_seconds"])
    time = np.arange(int(rate * min(seconds, options["max_seconds"]))) / rate
    content = io.BytesIO()
    soundfile.write(content, 0.3 * np.sin(2 * np.pi * 440 * time), rate, format="WAV", subtype="PCM_16")
    return content.getvalue()


def _sequence(options: Mapping[str, Any]) -> bytes:
    points = max(2, options["min_points"], min(options["length"], 32))
    names = _columns(options["channels"], options["time"])
    turn = np.arange(points)
    values = [
        turn if name == options["time"] else np.round(np.cos(turn / 4 + 2 * n), 3) for n, name in enumerate(names)
    ]
    rows = (",".join(f"{value:g}" for value in row) for row in zip(*values, strict=True))
    header = [name if isinstance(name, str) else f"c{name}" for name in names]
    return "\n".join([",".join(header), *rows, ""]).encode()


def _columns(channels: int | list[int | str], time: int | str | None) -> list[int | str]:
    """Return the columns of a file, each by its name or, where it has none, its number from 1."""
    named: list[int | str] = [*(() if time is None else (time,)), *(channels if isinstance(channels, list) else ())]
    numbers = [name for name in named if isinstance(name, int)]
    count = channels + (time is not None) if isinstance(channels, int) else max([len(named), *numbers])
    words = iter([name for name in named if isinstance(name, str)])
    return [number if number in numbers else next(words, number) for number in range(1, count + 1)]


def _text(options: Mapping[str, Any]) -> bytes:  # noqa: ARG001
    return b"An example."


MAKERS: dict[str, Callable[[Mapping[str, Any]], bytes]] = {
    "image": _image,
    "audio": _sound,
    "sequence": _sequence,
    "text": _text,
}

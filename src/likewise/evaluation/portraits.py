"""A sample of any kind as a picture or as words, for a person to look at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from likewise.choices import choose

Pixels = NDArray[np.uint8]
Portrait = tuple[Pixels | None, str]
"""A picture (channels, height, width), 1 grey or 3 colour, or None; and words, which may be empty."""

SIDE = 128
"""Height and width of a drawn sequence, in pixels."""

MARGIN = 4

WINDOWS = 4
"""Of a sound of more windows so many are shown, evenly spaced."""


def portrait(kind: str, rows: NDArray[Any]) -> Portrait:
    r"""Return what shows a sample as it is stored, (rows, ...).

    An image is itself. A sound is its spectrogram, low bands below, loud parts bright; the windows of a long one lie
    side by side, at most `WINDOWS` of them. A sequence with two channels
    or more is the line of its first two, as a pen would draw it, y upwards; with one it is a curve over the points.
    A text is its words.

    Raises:
        ValueError: when the kind is unknown.

    >>> portrait("text", np.frombuffer(b"same?\0\0", dtype=np.uint8)[None])
    (None, 'same?')
    """
    return choose("kind", kind, PORTRAITS)(rows)


def _image(rows: NDArray[Any]) -> Portrait:
    return np.asarray(rows[0], dtype=np.uint8), ""


def _audio(rows: NDArray[Any]) -> Portrait:
    shown = rows[np.linspace(0, len(rows) - 1, min(len(rows), WINDOWS)).round().astype(int)]
    bands = np.asarray(shown, dtype=np.float64)[:, ::-1]
    low, high = bands.min(), bands.max()
    shares = (bands - low) / (high - low) if high > low else np.zeros_like(bands)
    pixels = np.rint(shares * 255).astype(np.uint8)
    # A bright line where one window ends and the next begins.
    lined = np.pad(pixels, ((0, 0), (0, 0), (0, 1)), constant_values=255)
    return np.concatenate(list(lined), axis=1)[None, :, :-1], ""


def _sequence(rows: NDArray[Any]) -> Portrait:
    points = np.asarray(rows[0], dtype=np.float64)
    if len(points) == 1:
        x, y = np.arange(points.shape[1], dtype=np.float64), points[0]
        spans = np.ptp(x), np.ptp(y)
    else:
        x, y = points[:2]
        # A pen's strokes keep their proportions; a curve fills its frame.
        spans = (max(np.ptp(x), np.ptp(y)),) * 2
    across, up = (_placed(values, span) for values, span in zip((x, y), spans, strict=True))
    page = Image.new("L", (SIDE, SIDE), 255)
    line = [(float(right), float(SIDE - 1 - above)) for right, above in zip(across, up, strict=True)]
    ImageDraw.Draw(page).line(line, fill=0, width=2)
    return np.asarray(page)[None].copy(), ""


def _placed(values: NDArray[np.float64], span: float) -> NDArray[np.float64]:
    """Return values from the least on as pixels of the page, within its margin."""
    placed: NDArray[np.float64] = (values - values.min()) / (span or 1.0) * (SIDE - 1 - 2 * MARGIN) + MARGIN
    return placed


def _text(rows: NDArray[Any]) -> Portrait:
    return None, np.asarray(rows[0], dtype=np.uint8).tobytes().rstrip(b"\0").decode("utf-8", errors="replace")


PORTRAITS: dict[str, Callable[[NDArray[Any]], Portrait]] = {
    "image": _image,
    "audio": _audio,
    "sequence": _sequence,
    "text": _text,
}

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


def portrait(kind: str, rows: NDArray[Any], *, scale: NDArray[Any] | None = None) -> Portrait:
    r"""Return what shows a sample as it is stored, (rows, ...).

    An image is itself. A sound is its spectrogram, low bands below, loud parts bright; the windows of a long one lie
    side by side, at most `WINDOWS` of them. A sequence with two channels
    or more is the line of its first two, as a pen would draw it, y upwards; with one it is a curve over the points.
    A text is its words.

    Args:
        kind: of the sample.
        rows: of the sample, or of a change of it in the same units.
        scale: rows whose least and greatest values are the darkest and brightest parts of a sound, and the frame of a
            sequence, so that samples drawn on one scale can be compared; by default the sample's own.

    Raises:
        ValueError: when the kind is unknown.

    >>> portrait("text", np.frombuffer(b"same?\0\0", dtype=np.uint8)[None])
    (None, 'same?')
    """
    return choose("kind", kind, PORTRAITS)(rows, rows if scale is None else scale)


def _image(rows: NDArray[Any], _scale: NDArray[Any]) -> Portrait:
    return np.rint(rows[0]).astype(np.uint8), ""


def _audio(rows: NDArray[Any], scale: NDArray[Any]) -> Portrait:
    shown = rows[np.linspace(0, len(rows) - 1, min(len(rows), WINDOWS)).round().astype(int)]
    bands = np.asarray(shown, dtype=np.float64)[:, ::-1]
    low, high = float(scale.min()), float(scale.max())
    shares = (bands - low) / (high - low) if high > low else np.zeros_like(bands)
    pixels = np.rint(shares.clip(0, 1) * 255).astype(np.uint8)
    # A bright line where one window ends and the next begins.
    lined = np.pad(pixels, ((0, 0), (0, 0), (0, 1)), constant_values=255)
    return np.concatenate(list(lined), axis=1)[None, :, :-1], ""


def _sequence(rows: NDArray[Any], scale: NDArray[Any]) -> Portrait:
    path, frame = _path(rows[:1]), _path(scale)
    least, spans = frame.min(axis=(0, 2)), np.ptp(frame, axis=(0, 2))
    if rows.shape[1] > 1:
        # A pen's strokes keep their proportions; a curve fills its frame.
        spans[:] = spans.max()
    shares = (path[0] - least[:, None]) / np.where(spans > 0, spans, 1)[:, None]
    across, up = shares * (SIDE - 1 - 2 * MARGIN) + MARGIN
    page = Image.new("L", (SIDE, SIDE), 255)
    line = [(float(right), float(SIDE - 1 - above)) for right, above in zip(across, up, strict=True)]
    ImageDraw.Draw(page).line(line, fill=0, width=2)
    return np.asarray(page)[None].copy(), ""


def _path(rows: NDArray[Any]) -> NDArray[np.float64]:
    """Return x and y of the points (rows, 2, points): the first two channels, or the places and the only one."""
    points = np.asarray(rows[:, :2], dtype=np.float64)
    places = np.broadcast_to(np.arange(rows.shape[2], dtype=np.float64), points.shape)
    return np.concatenate([places, points], axis=1) if points.shape[1] == 1 else points


def _text(rows: NDArray[Any], _scale: NDArray[Any]) -> Portrait:
    return None, np.asarray(rows[0], dtype=np.uint8).tobytes().rstrip(b"\0").decode("utf-8", errors="replace")


PORTRAITS: dict[str, Callable[[NDArray[Any], NDArray[Any]], Portrait]] = {
    "image": _image,
    "audio": _audio,
    "sequence": _sequence,
    "text": _text,
}

"""Signatures that nobody wrote: a writer is a curve, his own copies of it differ a little, a forger's differ more."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

WAVES, POINTS = 6, 200
OWN, FORGED = 0.05, 0.25
"""How far copies are off, as a share of the curve's own waves."""

SIZE = (160, 96)


def lay_out(folder: Path, *, writers: int, genuine: int, forged: int, seed: int = 0) -> Path:
    """Write the images, and `signatures.csv` with path, label and forged; return the folder."""
    draw = np.random.default_rng(seed)
    rows: list[tuple[str, str, int]] = []
    for writer in range(writers):
        curve = draw.normal(size=(4, WAVES)) / np.arange(1, WAVES + 1)
        for number in range(genuine + forged):
            forgery = number >= genuine
            path = folder / f"w{writer:02}" / f"{'forged' if forgery else 'own'}{number:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(signature(curve, FORGED if forgery else OWN, draw))
            rows.append((path.relative_to(folder).as_posix(), f"w{writer:02}", int(forgery)))
    with (folder / "signatures.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("path", "label", "forged"), *rows])
    return folder


def signature(curve: NDArray[np.float64], spread: float, draw: np.random.Generator) -> bytes:
    """Return one copy as PNG: waves in x and y on a line from left to right, dark on light paper.

    Args:
        curve: (4, waves), the sines and cosines of x, then of y.
        spread: how far the copy is off.
        draw: where the changes come from.
    """
    waves = curve * (1 + spread * draw.normal(size=curve.shape))
    angles = np.linspace(0, 2 * np.pi, POINTS) * np.arange(1, curve.shape[1] + 1)[:, None]
    x = np.linspace(0, 1, POINTS) + 0.08 * (waves[0] @ np.sin(angles) + waves[1] @ np.cos(angles))
    y = waves[2] @ np.sin(angles) + waves[3] @ np.cos(angles)
    places = np.stack([20 + 120 * (x - x.min()) / np.ptp(x), 16 + 64 * (y - y.min()) / np.ptp(y)], axis=1)
    paper = Image.new("L", SIZE, 235)
    ImageDraw.Draw(paper).line([tuple(place) for place in places.tolist()], fill=30, width=int(draw.integers(2, 4)))
    stream = io.BytesIO()
    paper.save(stream, format="PNG")
    return stream.getvalue()

"""A contact sheet: samples in rows, each as it is stored and changed in several ways, for a person to look at."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from likewise.evaluation.portraits import Pixels, Portrait

Size = tuple[int, int]
Font = ImageFont.FreeTypeFont

MARGIN, GAP, LINE = 20, 10, 17
"""Pixels around the sheet, between pictures, and from line to line."""

LABELS = 170
"""Width of the column with the names."""

PICTURE: Size = (224, 128)
"""What a picture is brought to fit into: small ones by a whole number, so that every pixel is as large as the next; in
a row the pictures keep their proportions to each other."""

WORDS, MOST_LINES = 230, 9
"""Width of a text and its lines; what is longer ends in an ellipsis."""

PAPER, INK, FAINT, FRAME = "#ffffff", "#1a1a1a", "#6b6b6b", "#d0d0d0"


@dataclass(frozen=True)
class Row:
    """A sample in several portraits.

    Attributes:
        name: what stands beside it, such as its class.
        note: what stands below that, such as its id.
        portraits: as it is stored, then its versions.
    """

    name: str
    note: str
    portraits: tuple[Portrait, ...]


def contact_sheet(rows: Sequence[Row], *, title: str, notes: Sequence[str], captions: tuple[str, str]) -> bytes:
    """Return the sheet as a PNG file, the same bytes for the same rows and words.

    Args:
        rows: from the top down; all have the same number of portraits.
        title: what the sheet shows.
        notes: lines below the title.
        captions: what the first column is, and what the others are.

    >>> sheet = contact_sheet([Row("a", "1.png", ((None, "same?"),))], title="One", notes=[], captions=("it", ""))
    >>> Image.open(io.BytesIO(sheet)).format
    'PNG'
    """
    cells = [_cells(row.portraits) for row in rows]
    widths = [max(column) for column in zip(*([cell.width for cell in line] for line in cells), strict=True)]
    labels = [_label(row) for row in rows]
    heights = [max(label.height, *(cell.height for cell in line)) for label, line in zip(labels, cells, strict=True)]
    lefts = _edges([LABELS, *widths], MARGIN)
    head = _head(title, notes, lefts[-1] - GAP - MARGIN)
    tops = _edges([head.height, LINE, *heights], MARGIN)
    page = Image.new("RGB", (max(lefts[-1] - GAP, MARGIN + head.width) + MARGIN, tops[-1] - GAP + MARGIN), PAPER)
    page.paste(head, (MARGIN, tops[0]))
    for left, caption in zip(lefts[1:], captions, strict=False):
        _write(page, (left, tops[1]), caption, font=_font(13), fill=FAINT)
    for top, label, line in zip(tops[2:], labels, cells, strict=False):
        for left, cell in zip(lefts, [label, *line], strict=False):
            page.paste(cell, (left, top))
    stream = io.BytesIO()
    page.save(stream, "PNG", optimize=False)
    return stream.getvalue()


def _edges(lengths: Sequence[int], start: int) -> list[int]:
    """Return where each of several lengths begins, a gap between them, and where one more would."""
    return [start, *(start + np.cumsum([length + GAP for length in lengths])).tolist()]


def _head(title: str, notes: Sequence[str], width: int) -> Image.Image:
    lines = [line for note in notes for line in wrapped(note, width=max(width, 3 * WORDS), font=_font(13))]
    longest = max([_font(18, bold=True).getlength(title), *(_font(13).getlength(line) for line in lines)])
    page = Image.new("RGB", (int(longest) + 1, 28 + LINE * len(lines)), PAPER)
    _write(page, (0, 0), title, font=_font(18, bold=True))
    for number, line in enumerate(lines):
        _write(page, (0, 28 + LINE * number), line, font=_font(13), fill=FAINT)
    return page


def _label(row: Row) -> Image.Image:
    name = wrapped(row.name, width=LABELS, font=_font(14, bold=True))[:3]
    note = wrapped(row.note, width=LABELS, font=_font(11))[:3]
    page = Image.new("RGB", (LABELS, LINE * (len(name) + len(note))), PAPER)
    for number, line in enumerate(name):
        _write(page, (0, LINE * number), line, font=_font(14, bold=True))
    for number, line in enumerate(note, start=len(name)):
        _write(page, (0, LINE * number), line, font=_font(11), fill=FAINT)
    return page


def _cells(portraits: Sequence[Portrait]) -> list[Image.Image]:
    """Return the portraits of a row with a frame around each; the pictures are all enlarged or shrunk alike."""
    # A sound of several windows is wider than its versions, which are one window each.
    share = max((_share(picture) for picture, _ in portraits if picture is not None), default=1.0)
    insides = [_written(words) if picture is None else _sized(picture, share) for picture, words in portraits]
    cells = [Image.new("RGB", (inside.width + 2, inside.height + 2), FRAME) for inside in insides]
    for cell, inside in zip(cells, insides, strict=True):
        cell.paste(inside, (1, 1))
    return cells


def _share(picture: Pixels) -> float:
    """Return the factor by which a picture just fits: a whole number, or below 1."""
    share = min(PICTURE[0] / picture.shape[2], PICTURE[1] / picture.shape[1])
    return float(int(share)) if share >= 1 else share


def _sized(picture: Pixels, share: float) -> Image.Image:
    image = Image.fromarray(picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0)).convert("RGB")
    size = max(1, round(image.width * share)), max(1, round(image.height * share))
    return image.resize(size, Image.Resampling.NEAREST if share >= 1 else Image.Resampling.LANCZOS)


def _written(words: str) -> Image.Image:
    lines = wrapped(words, width=WORDS, font=_font(13))
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], "…"]
    page = Image.new("RGB", (WORDS + 12, LINE * max(1, len(lines)) + 8), PAPER)
    for number, line in enumerate(lines):
        _write(page, (6, 4 + LINE * number), line, font=_font(13))
    return page


def wrapped(words: str, *, width: int, font: Font) -> list[str]:
    """Return the lines of a text that fit the width in pixels, broken after spaces and slashes, else inside a word.

    A character that the font lacks is written as its number.
    """
    lines: list[str] = []
    for paragraph in "".join(map(_legible, words)).split("\n"):
        line = ""
        for piece in re.split(r"(?<=[ /])", paragraph):
            if line and font.getlength((line + piece).rstrip()) > width:
                lines.append(line)
                line = ""
            line += piece
            while font.getlength(line.rstrip()) > width:
                fits = next(n for n in range(len(line), 0, -1) if n == 1 or font.getlength(line[:n]) <= width)
                lines.append(line[:fits])
                line = line[fits:]
        lines.append(line)
    return [line.rstrip() for line in lines]


@cache
def _legible(character: str) -> str:
    if character == "\n" or (character.isprintable() and _drawn(character) != _drawn("\U0010ffff")):
        return character
    return f"\\u{ord(character):04x}"


def _drawn(character: str) -> bytes:
    return bytes(_font(13).getmask(character))


def _write(page: Image.Image, place: Size, words: str, *, font: Font, fill: str = INK) -> None:
    ImageDraw.Draw(page).text(place, words, font=font, fill=fill)


@cache
def _font(size: int, *, bold: bool = False) -> Font:
    # The font that comes with matplotlib: Latin, Greek and Cyrillic, the same on every machine.
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(folder / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"), size)

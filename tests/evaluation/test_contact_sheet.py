from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from likewise.evaluation import contact_sheet as module
from likewise.evaluation.contact_sheet import Row, contact_sheet, wrapped
from tests.data.pictures import noise

FONT = module._font(13)
LEFT = module.MARGIN + module.LABELS + module.GAP + 1
"""Where the pixels of the first picture begin."""


def picture(seed: int, *, height: int = 28, width: int = 28, channels: int = 1) -> NDArray[np.uint8]:
    return noise(seed, height=height, width=width, channels=channels).transpose(2, 0, 1)


def sheet(*rows: Row, notes: tuple[str, ...] = ("a note",)) -> bytes:
    return contact_sheet(rows, title="A title", notes=notes, captions=("stored", "seen"))


def pixels(content: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(content)))


def holds(page: NDArray[np.uint8], shown: NDArray[np.uint8], left: int) -> bool:
    """Whether a picture (height, width, 3) stands there, at whatever height."""
    height, width = shown.shape[:2]
    column = page[:, left : left + width]
    return any(np.array_equal(column[top : top + height], shown) for top in range(len(page) - height))


def enlarged(shown: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    image = np.broadcast_to(shown, (3, *shown.shape[1:])).transpose(1, 2, 0)
    return np.repeat(np.repeat(image, factor, axis=0), factor, axis=1)


def test_every_pixel_of_a_small_picture_is_a_square_in_its_column() -> None:
    shown = [picture(seed) for seed in range(3)]
    page = pixels(sheet(Row("a", "1", tuple((each, "") for each in shown))))
    step = 4 * 28 + 2 + module.GAP
    for number, each in enumerate(shown):
        assert holds(page, enlarged(each, 4), LEFT + number * step)
    assert not holds(page, enlarged(shown[1], 4), LEFT)


def test_colour_stays_and_large_pictures_shrink() -> None:
    colour = picture(0, channels=3, height=20, width=90)
    page = pixels(sheet(Row("a", "1", ((colour, ""),))))
    assert holds(page, enlarged(colour, 2), LEFT)
    flat = np.full((1, 1000, 500), 7, np.uint8)
    page = pixels(sheet(Row("a", "1", ((flat, ""),))))
    assert holds(page, np.full((128, 64, 3), 7, np.uint8), LEFT)
    assert not holds(page, np.full((129, 64, 3), 7, np.uint8), LEFT)


def test_a_wider_picture_is_as_large_as_those_of_its_row() -> None:
    wide, narrow = picture(0, width=100), picture(1)
    page = pixels(sheet(Row("a", "1", ((wide, ""), (narrow, "")))))
    assert holds(page, enlarged(wide, 4), LEFT)
    assert holds(page, enlarged(narrow, 4), LEFT + 4 * 100 + 2 + module.GAP)


def test_the_same_rows_give_the_same_bytes_and_others_do_not() -> None:
    rows = [Row(name, "1", ((picture(0), ""), (None, "words"))) for name in "ab"]
    assert sheet(*rows) == sheet(*rows)
    assert sheet(rows[0]) != sheet(rows[1])
    assert sheet(rows[0], notes=("b note",)) != sheet(rows[0])


def test_names_and_rows_are_there() -> None:
    one, two = (pixels(sheet(*[Row("name", "note", ((picture(0), ""),))] * count)) for count in (1, 2))
    assert two.shape[0] - one.shape[0] == 4 * 28 + 2 + module.GAP
    labels = one[:, module.MARGIN : module.MARGIN + module.LABELS]
    assert (labels[-4 * 28 - module.MARGIN :] < 128).any()


def test_a_text_without_end_is_cut() -> None:
    assert len(wrapped("word " * 10, width=module.WORDS, font=FONT)) == 2
    short, long = (pixels(sheet(Row("a", "1", ((None, "word " * count),)))) for count in (10, 3000))
    assert long.shape[0] - short.shape[0] == (module.MOST_LINES - 2) * module.LINE


@pytest.mark.parametrize("words", ["", "a b", "one two three four five " * 9, "x" * 300, "a/long/path/" * 12, "a\n\nb"])
def test_lines_fit_and_hold_all_words(words: str) -> None:
    lines = wrapped(words, width=120, font=FONT)
    assert all(FONT.getlength(line) <= 120 for line in lines)
    assert "".join(lines).replace(" ", "") == words.replace(" ", "").replace("\n", "")


def test_lines_break_after_spaces_and_slashes() -> None:
    width = int(FONT.getlength("Early_Aramaic/")) + 1
    assert wrapped("Early_Aramaic/character13", width=width, font=FONT) == ["Early_Aramaic/", "character13"]
    assert wrapped("first line\nsecond", width=500, font=FONT) == ["first line", "second"]


def test_what_the_font_lacks_stands_as_its_number() -> None:
    assert wrapped("Größe, Съешь, λ", width=500, font=FONT) == ["Größe, Съешь, λ"]
    assert wrapped("狗\a", width=500, font=FONT) == ["\\u72d7\\u0007"]

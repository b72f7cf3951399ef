from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from likewise.data.cropping import cropped, outstanding, window
from likewise.data.images import ImageSpec, decode
from likewise.data.kinds import build
from tests.data.pictures import encoded


def drawing(height: int = 60, width: int = 90, *, box: tuple[int, int, int, int], paper: int = 250) -> Image.Image:
    """Two lines that reach the corners of a box on paper that is not quite even."""
    pixels = np.random.default_rng(0).integers(paper - 5, paper + 6, (height, width)).clip(0, 255).astype(np.uint8)
    left, top, right, bottom = box
    pixels[top, left:right] = pixels[top:bottom, left] = 30
    pixels[bottom - 1, left:right] = pixels[top:bottom, right - 1] = 30
    return Image.fromarray(pixels)


def by_hand(image: Image.Image) -> tuple[int, int, int, int]:
    dark = [(x, y) for y in range(image.height) for x in range(image.width) if image.getpixel((x, y)) == 30]
    xs, ys = zip(*dark, strict=True)
    return min(xs), min(ys), max(xs) + 1, max(ys) + 1


@pytest.mark.parametrize("box", [(10, 20, 40, 30), (0, 0, 12, 50), (70, 5, 90, 60), (3, 4, 80, 8)])
def test_the_box_is_that_of_the_pixels_that_stand_out(box: tuple[int, int, int, int]) -> None:
    image = drawing(box=box)
    assert outstanding(np.asarray(image)) == by_hand(image) == box


@pytest.mark.parametrize("aspect", [1.0, 0.5, 2.5])
@pytest.mark.parametrize("box", [(10, 20, 40, 30), (0, 0, 12, 50), (70, 5, 90, 60)])
def test_the_window_holds_the_box_in_its_middle_with_the_margin_and_the_aspect(
    box: tuple[int, int, int, int], aspect: float
) -> None:
    left, top, right, bottom = window(box, (90, 60), aspect=aspect, margin=0.1)
    assert (right - left) / (bottom - top) == pytest.approx(aspect, rel=0.1)
    assert (left <= box[0], top <= box[1], right >= box[2], bottom >= box[3]) == (True,) * 4
    assert (left + right) / 2 == pytest.approx((box[0] + box[2]) / 2, abs=1)
    assert (top + bottom) / 2 == pytest.approx((box[1] + box[3]) / 2, abs=1)
    free = [(box[0] - left) / (box[2] - box[0]), (box[1] - top) / (box[3] - box[1])]
    assert min(free) == pytest.approx(0.1, abs=0.06)


def test_what_lies_beyond_the_image_is_background() -> None:
    result = np.asarray(cropped(drawing(box=(0, 0, 40, 6)), aspect=1.0, margin=0.1))
    assert result.shape == (48, 48)
    np.testing.assert_allclose(result[:20], 250, atol=2)
    assert (result == 30).sum() == 2 * 40 + 2 * 4


def test_a_white_drawing_on_black_is_cropped_alike() -> None:
    image = drawing(box=(10, 20, 40, 30))
    inverted = Image.fromarray(255 - np.asarray(image))
    given, other = (np.asarray(cropped(each, aspect=1.0, margin=0.2)) for each in (image, inverted))
    np.testing.assert_array_equal(255 - other, given)


def test_nothing_that_stands_out_leaves_the_image_whole() -> None:
    paper = Image.new("RGB", (20, 10), (200, 210, 220))
    assert cropped(paper, aspect=1.0, margin=0.1) is paper


def test_a_dot_stays_a_dot() -> None:
    paper = Image.new("L", (100, 100), 255)
    paper.putpixel((50, 50), 0)
    assert cropped(paper, aspect=1.0, margin=0.1).size == (20, 20)


def test_colour_keeps_its_background() -> None:
    paper = Image.new("RGB", (100, 60), (250, 240, 90))
    paper.paste((20, 20, 90), (0, 0, 50, 10))
    result = cropped(paper, aspect=1.0, margin=0.0)
    assert result.size == (50, 50)
    assert result.getpixel((0, 0)) == (250, 240, 90)
    assert result.getpixel((25, 25)) == (20, 20, 90)


def test_place_and_size_on_the_page_do_not_matter_to_what_is_decoded() -> None:
    spec = ImageSpec(28, 28, 1, crop=0.1)
    one = np.asarray(drawing(60, 90, box=(10, 20, 40, 40)))
    far = np.asarray(drawing(170, 260, box=(210, 120, 240, 140)))
    # The paper's grain differs: 5 grey values either way, and the median by 1 or so.
    np.testing.assert_allclose(decode(one, spec).astype(int), decode(far, spec).astype(int), atol=12)
    assert decode(encoded(one), spec).shape == (1, 28, 28)


def test_pixels_of_the_wanted_shape_are_cropped_too() -> None:
    pixels = np.full((28, 28), 255, dtype=np.uint8)
    pixels[4:12, 5:9] = 0
    plain, close = (decode(pixels, ImageSpec(28, 28, 1, crop=crop)) for crop in (None, 0.0))
    np.testing.assert_array_equal(plain[0], pixels)
    assert (close < 128).sum() > 8 * (plain < 128).sum()


def test_it_travels_with_the_model() -> None:
    made = build("image", height=28, width=28, channels=1, crop=0.1)
    assert made.describe()["crop"] == 0.1
    assert build("image", height=28, width=28, channels=1).describe()["crop"] is None

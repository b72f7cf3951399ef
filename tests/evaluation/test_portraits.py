from __future__ import annotations

import numpy as np
import pytest

from likewise.data import kinds
from likewise.evaluation.portraits import PORTRAITS, portrait


def test_every_kind_has_one() -> None:
    assert set(PORTRAITS) == set(kinds.KINDS)


def test_an_image_is_itself() -> None:
    image = np.random.default_rng(0).integers(0, 256, (3, 5, 7), dtype=np.uint8)
    picture, words = portrait("image", image[None])
    assert words == ""
    np.testing.assert_array_equal(picture, image)


def test_a_sound_has_low_bands_below_and_loud_parts_bright() -> None:
    spectrum = np.full((4, 6), -18.0, dtype=np.float16)
    spectrum[0, 2] = 1.0
    picture, _ = portrait("audio", spectrum[None])
    assert picture is not None
    assert picture.shape == (1, 4, 6)
    assert picture[0, 3, 2] == 255
    assert picture.sum() == 255
    silent, _ = portrait("audio", np.full((1, 4, 6), -18.0, dtype=np.float16))
    assert silent is not None
    assert not silent.any()


@pytest.mark.parametrize(("count", "shown"), [(2, [0, 1]), (4, [0, 1, 2, 3]), (10, [0, 3, 6, 9])])
def test_windows_of_a_long_sound_lie_side_by_side(count: int, shown: list[int]) -> None:
    windows = np.random.default_rng(0).uniform(-18, 1, (count, 4, 6)).astype(np.float16)
    windows[shown[0]], windows[shown[1]] = -18, 1
    picture, _ = portrait("audio", windows)
    assert picture is not None
    assert picture.shape == (1, 4, 7 * len(shown) - 1)
    assert (picture[0, :, 6::7] == 255).all()
    assert not picture[0, :, :6].any()
    for place, window in enumerate(shown):
        wanted = (windows[window, ::-1].astype(np.float64) + 18) / 19 * 255
        np.testing.assert_array_equal(picture[0, :, 7 * place : 7 * place + 6], np.rint(wanted))


def test_strokes_are_drawn_with_y_upwards_and_in_proportion() -> None:
    """An L that goes down and then half as far to the right."""
    picture, _ = portrait("sequence", np.array([[[0.0, 0.0, 1.0], [2.0, 0.0, 0.0], [9.0, 9.0, 9.0]]], dtype=np.float32))
    assert picture is not None
    rows, columns = np.nonzero(picture[0] == 0)
    left = rows[columns <= columns.min() + 1]
    assert np.ptp(left) > 110
    bottom = columns[rows >= rows.max() - 1]
    assert 55 < np.ptp(bottom) < 65


def test_one_channel_is_a_curve_that_fills_its_frame() -> None:
    picture, _ = portrait("sequence", np.array([[[0.0, 0.001, 0.0]]], dtype=np.float32))
    assert picture is not None
    rows, columns = np.nonzero(picture[0] == 0)
    assert np.ptp(rows) > 110
    assert np.ptp(columns) > 110
    assert abs(columns[rows.argmin()] - 64) <= 2


def test_a_point_that_does_not_move_can_be_drawn() -> None:
    picture, _ = portrait("sequence", np.zeros((1, 2, 4), dtype=np.float32))
    assert picture is not None
    assert picture.shape == (1, 128, 128)


def test_sounds_on_one_scale_can_be_compared() -> None:
    soft = np.full((1, 4, 6), -9.0, dtype=np.float32)
    loud = np.full((1, 4, 6), 0.0, dtype=np.float32)
    scale = np.concatenate([soft, loud, np.full((1, 4, 6), -18.0, dtype=np.float32)])
    for rows, wanted in ((soft, 128), (loud, 255)):
        picture, _ = portrait("audio", rows, scale=scale)
        assert picture is not None
        assert (picture == wanted).all()


def test_lines_on_one_scale_can_be_compared() -> None:
    line = np.array([[[0.0, 1.0], [0.0, 1.0]]], dtype=np.float32)
    scale = np.concatenate([line, 2 * line])
    extents = []
    for rows in (line, 2 * line):
        picture, _ = portrait("sequence", rows, scale=scale)
        assert picture is not None
        extents.append([np.ptp(places) for places in np.nonzero(picture[0] == 0)])
    (tall, wide), (taller, wider) = extents
    assert 55 < tall < 65
    assert 55 < wide < 65
    assert min(taller, wider) > 110


def test_pictures_between_whole_numbers_are_rounded() -> None:
    picture, _ = portrait("image", np.array([[[[0.4, 254.6]]]], dtype=np.float32))
    assert picture is not None
    assert picture.tolist() == [[[0, 255]]]


def test_a_text_is_its_words() -> None:
    rows = kinds.build("text", length=16).rows("Größe & <b>".encode())
    assert portrait("text", rows) == (None, "Größe & <b>")


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown kind 'video'"):
        portrait("video", np.zeros((1, 3)))

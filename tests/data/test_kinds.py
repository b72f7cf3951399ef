from __future__ import annotations

import io
import json
import pickle
from typing import Any

import numpy as np
import pytest
from PIL import Image

from likewise.data import kinds
from likewise.data.raw import Unreadable
from tests.data.recordings import encoded, tone

OPTIONS: dict[str, dict[str, Any]] = {
    "image": {"height": 6, "width": 5, "channels": 3},
    "audio": {"rate": 8000, "seconds": 0.5},
    "sequence": {"length": 7, "channels": 2, "differences": True},
    "text": {"length": 16},
}
SHAPES = {"image": (3, 6, 5), "audio": (40, 48), "sequence": (4, 7), "text": (16,)}
DTYPES = {"image": "uint8", "audio": "float16", "sequence": "float32", "text": "uint8"}


def file_of(kind: str) -> bytes:
    if kind == "image":
        stream = io.BytesIO()
        Image.fromarray(np.arange(8 * 9 * 3, dtype=np.uint8).reshape(8, 9, 3)).save(stream, "PNG")
        return stream.getvalue()
    if kind == "audio":
        return encoded(tone(440.0, seconds=1.2, rate=8000), rate=8000)
    return b"x,y\n0,1\n2,3\n5,1\n" if kind == "sequence" else b"a short text"


def test_every_kind_is_tried() -> None:
    assert set(kinds.KINDS) == set(OPTIONS)


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_file_becomes_rows_of_the_shape_and_type_that_it_says(kind: str) -> None:
    made = kinds.build(kind, **OPTIONS[kind])
    rows = made.rows(file_of(kind))
    assert (made.shape, made.dtype) == (SHAPES[kind], DTYPES[kind])
    assert rows.shape[1:] == made.shape
    assert rows.dtype == made.dtype
    assert len(rows) == (3 if kind == "audio" else 1)


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_description_makes_the_same_again_elsewhere(kind: str) -> None:
    made = kinds.build(kind, **OPTIONS[kind])
    again = kinds.build(**json.loads(json.dumps(made.describe())))
    assert again.describe() == made.describe()
    np.testing.assert_array_equal(again.rows(file_of(kind)), made.rows(file_of(kind)))
    sent = pickle.loads(pickle.dumps(made))
    np.testing.assert_array_equal(sent.rows(file_of(kind)), made.rows(file_of(kind)))


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_row_that_is_decoded_already_is_taken_as_it_is(kind: str) -> None:
    made = kinds.build(kind, **OPTIONS[kind])
    row = made.rows(file_of(kind))[0]
    np.testing.assert_array_equal(made.rows(row)[0], row)


@pytest.mark.parametrize("kind", OPTIONS)
def test_what_is_not_of_the_kind_is_refused(kind: str) -> None:
    with pytest.raises(Unreadable):
        kinds.build(kind, **OPTIONS[kind]).rows(b"\xff\xfe\x00 no such thing")


def test_unknown_names_list_the_known_ones_nearest_first() -> None:
    with pytest.raises(ValueError, match="unknown kind 'sound'; known: "):
        kinds.build("sound")
    with pytest.raises(ValueError, match="unknown option of the kind text 'lenght'; known: length"):
        kinds.build("text", lenght=3)

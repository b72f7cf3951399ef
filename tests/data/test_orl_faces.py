from __future__ import annotations

from pathlib import Path

import pytest

from likewise.data.orl_faces import open_orl_faces
from tests.data.pictures import encoded, noise, put, zipped
from tests.real import real


def test_a_person_is_a_class_packed_or_not(tmp_path: Path) -> None:
    for name in ("s1/1.pgm", "s1/10.pgm", "s40/2.pgm"):
        put(tmp_path / "faces" / name, encoded(noise(len(name)), "PPM"))
    put(tmp_path / "faces" / "README", b"text")
    put(tmp_path / "faces" / "s1" / "notes.txt", b"text")
    packed = open_orl_faces(zipped(tmp_path / "faces", tmp_path / "a.zip", below="orl_faces/"))
    for source in (packed, open_orl_faces(tmp_path / "faces")):
        assert [(raw.id, raw.label, raw.group) for raw in source] == [
            ("s1/1.pgm", "s1", None),
            ("s1/10.pgm", "s1", None),
            ("s40/2.pgm", "s40", None),
        ]
        assert source.carried is not None
        assert source.carried.to_pydict() == {"take": [1, 10, 2]}
        assert source.read(source.raws[2]) == encoded(noise(9), "PPM")


def test_something_else_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "alice" / "1.pgm", b"")
    with pytest.raises(ValueError, match=r"holds no file such as s17/3\.pgm: give the folder or the archive"):
        open_orl_faces(tmp_path)


def test_the_real_ones_are_all_there() -> None:
    source = open_orl_faces(real("orl-faces"))
    assert len(source) == 400
    assert len({raw.label for raw in source}) == 40

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from likewise.data.omniglot import JoinedReader, open_omniglot
from likewise.data.raw import Source
from tests.data.pictures import encoded, noise, put, tarred, zipped
from tests.real import real

BACKGROUND = ["Latin/character01/0001_01.png", "Latin/character01/0001_20.png", "Greek/character02/0002_03.png"]
EVALUATION = ["Tengwar/character01/0965_07.png"]


def drawings(folder: Path, names: list[str]) -> Path:
    for seed, name in enumerate(names):
        put(folder / name, encoded(noise(seed + 100 * len(names))))
    return folder


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    for stem, names in (("images_background", BACKGROUND), ("images_evaluation", EVALUATION)):
        drawings(tmp_path / "unpacked" / stem, names)
        (tmp_path / "packed").mkdir(exist_ok=True)
        zipped(tmp_path / "unpacked" / stem, tmp_path / "packed" / f"{stem}.zip", below=f"{stem}/")
    return tmp_path


def rows(source: Source) -> list[tuple[object, ...]]:
    assert source.carried is not None
    carried = zip(source.carried["split"].to_pylist(), source.carried["drawer"].to_pylist(), strict=True)
    with source.reader.reading() as read:
        return [
            (raw.id, raw.label, raw.group, *said, read(raw)) for raw, said in zip(source.raws, carried, strict=True)
        ]


def test_character_alphabet_drawer_and_split_of_both_parts(parts: Path) -> None:
    source = open_omniglot(parts / "packed")
    assert source.reader.reach == "anywhere"
    assert [row[:-1] for row in rows(source)] == [
        ("Greek/character02/0002_03.png", "Greek/character02", "Greek", "train", 3),
        ("Latin/character01/0001_01.png", "Latin/character01", "Latin", "train", 1),
        ("Latin/character01/0001_20.png", "Latin/character01", "Latin", "train", 20),
        ("Tengwar/character01/0965_07.png", "Tengwar/character01", "Tengwar", "test", 7),
    ]
    assert source.raws[3].path == "images_evaluation.zip/images_evaluation/Tengwar/character01/0965_07.png"
    assert source.read(source.raws[3]) == encoded(noise(100))
    assert pickle.loads(pickle.dumps(source.reader)) == source.reader


def test_packed_unpacked_or_both_are_the_same(parts: Path) -> None:
    expected = rows(open_omniglot(parts / "packed"))
    assert rows(open_omniglot(parts / "unpacked")) == expected
    (parts / "unpacked" / "images_evaluation").rename(parts / "packed" / "images_evaluation")
    assert rows(open_omniglot(parts / "packed")) == expected
    put(parts / "packed" / "README.md", b"text")
    put(parts / "packed" / "images_background_small1.zip", b"in the background, so not opened")
    assert rows(open_omniglot(parts / "packed")) == expected


def test_one_part_alone_and_the_alphabets_themselves(parts: Path) -> None:
    alone = rows(open_omniglot(parts / "packed" / "images_background.zip"))
    assert [row[3] for row in alone] == ["train"] * 3
    assert rows(open_omniglot(parts / "unpacked" / "images_background")) == alone


def test_the_alphabets_by_themselves_state_no_split(tmp_path: Path) -> None:
    source = open_omniglot(drawings(tmp_path / "mine", BACKGROUND))
    assert source.carried is not None
    assert source.carried.to_pydict() == {"drawer": [3, 1, 20]}


def test_a_part_that_is_a_link_elsewhere_is_refused(parts: Path, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "images_background.zip").symlink_to(parts / "packed" / "images_background.zip")
    with pytest.raises(ValueError, match=r"images_background\.zip is a link that leads outside the folder$"):
        open_omniglot(tmp_path / "links")


def test_a_compressed_tar_is_read_forward(parts: Path, tmp_path: Path) -> None:
    archive = tarred(parts / "unpacked" / "images_background", tmp_path / "a.tar.gz", mode="w:gz")
    source = open_omniglot(archive)
    assert JoinedReader((("a", source.reader),)).reach == "forward"
    assert source.read(source.raws[0]) == encoded(noise(302))


def test_something_else_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "Latin/character01/notes.txt", b"text")
    with pytest.raises(ValueError, match=r"holds no file such as Korean/character07/0546_12\.png: give the folder or"):
        open_omniglot(tmp_path)


def test_the_real_one() -> None:
    source = open_omniglot(real("omniglot"))
    assert len(source) == 2720
    assert source.carried is not None
    assert source.carried.column_names == ["drawer", "split"]
    assert all(raw.refused is None for raw in source)

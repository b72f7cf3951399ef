from __future__ import annotations

from pathlib import Path

import pytest

from likewise.data.raw import Source
from likewise.data.speech_commands import open_speech_commands
from likewise.data.tables import Columns
from tests.data import recordings
from tests.data.pictures import put, tarred, zipped

NAMES = [
    "bed/00176480_nohash_0.wav",
    "bed/004ae714_nohash_1.wav",
    "up/00176480_nohash_0.wav",
    "up/abcdef01_nohash_2.wav",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "speech"
    for place, name in enumerate([*NAMES, "_background_noise_/pink_noise.wav"]):
        put(root / name, recordings.encoded(recordings.tone(200.0 + place)))
    put(root / "validation_list.txt", b"bed/004ae714_nohash_1.wav\n")
    put(root / "testing_list.txt", b"up/00176480_nohash_0.wav\nbed/00176480_nohash_0.wav\n")
    put(root / "README.md", b"text")
    put(root / "LICENSE", b"text")
    return root


def splits(source: Source) -> list[str]:
    assert source.carried is not None
    listed: list[str] = source.carried["split"].to_pylist()
    return listed


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "tar.gz"])
def test_word_speaker_take_and_the_official_split(kind: str, folder: Path, tmp_path: Path) -> None:
    archive = tmp_path / f"data.{kind}"
    if kind == "zip":
        zipped(folder, archive, below="top/")
    elif kind != "folder":
        tarred(folder, archive, mode=f"w:{kind.partition('.')[2]}", below="./")
    source = open_speech_commands(folder if kind == "folder" else archive)
    assert [raw.id for raw in source] == NAMES
    assert [raw.label for raw in source] == ["bed", "bed", "up", "up"]
    assert [raw.group for raw in source] == ["00176480", "004ae714", "00176480", "abcdef01"]
    assert splits(source) == ["test", "val", "test", "train"]
    assert source.carried is not None
    assert source.carried.column_names == ["take", "split"]
    assert source.read(source.raws[1]) == (folder / NAMES[1]).read_bytes()


def test_the_speaker_can_be_the_class(folder: Path) -> None:
    source = open_speech_commands(folder, columns=Columns(label="speaker"))
    assert [(raw.label, raw.group) for raw in source][1] == ("004ae714", None)
    assert source.carried is not None
    assert source.carried["word"].to_pylist() == ["bed", "bed", "up", "up"]
    source = open_speech_commands(folder, columns=Columns(label="speaker", group="word"))
    assert [(raw.label, raw.group) for raw in source][1] == ("004ae714", "bed")
    with pytest.raises(ValueError, match=r"has no column 'wort' \(ingest\.columns\.label\); its columns: word, "):
        open_speech_commands(folder, columns=Columns(label="wort"))


def test_without_both_lists_no_split_is_carried(folder: Path) -> None:
    (folder / "testing_list.txt").unlink()
    source = open_speech_commands(folder)
    assert source.carried is not None
    assert source.carried.column_names == ["take"]


def test_a_list_that_cannot_be_read_is_named(folder: Path) -> None:
    (folder / "testing_list.txt").write_bytes(b"up/\xff")
    with pytest.raises(ValueError, match=r"speech: testing_list\.txt: 'utf-8' codec can't decode byte 0xff"):
        open_speech_commands(folder)
    (folder / "testing_list.txt").unlink()
    (folder / "testing_list.txt").mkdir()
    put(folder / "testing_list.txt" / "x", b"")
    (folder / "validation_list.txt").unlink()
    (folder / "validation_list.txt").symlink_to("nothing")
    assert open_speech_commands(folder).carried is not None


def test_a_list_that_is_a_link_elsewhere_is_not_read(folder: Path, tmp_path: Path) -> None:
    (folder / "testing_list.txt").unlink()
    (folder / "testing_list.txt").symlink_to(put(tmp_path / "secret.txt", b"secret"))
    with pytest.raises(ValueError, match=r"speech: testing_list\.txt: a link that leads outside the folder$"):
        open_speech_commands(folder)


def test_something_else_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "bed" / "1.wav", b"")
    with pytest.raises(ValueError, match=r"holds no file such as right/bb05582b_nohash_3\.wav: give the folder"):
        open_speech_commands(tmp_path)

from __future__ import annotations

from pathlib import Path

import pytest

from likewise.data.sources import open_source
from likewise.data.tables import Columns
from tests.data import recordings
from tests.data.pictures import put, tarred, zipped
from tests.real import real

NAMES = ["0_ann_0.wav", "0_ann_11.wav", "1_bob_4.wav", "1_bob_5.wav", "README.md", "x_bob_5.wav"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for place, name in enumerate(NAMES):
        put(tmp_path / "fsdd/recordings" / name, recordings.encoded(recordings.tone(200.0 + place)))
    return tmp_path / "fsdd"


@pytest.mark.parametrize(
    ("label", "wanted"), [("digit", ["0", "0", "1", "1"]), ("speaker", ["ann", "ann", "bob", "bob"])]
)
@pytest.mark.parametrize("inner", ["", "recordings"])
def test_names_say_the_class_and_the_official_split(label: str, wanted: list[str], inner: str, folder: Path) -> None:
    source = open_source("fsdd", folder / inner, columns=Columns(label=label))
    assert [raw.id for raw in source] == NAMES[:4]
    assert [raw.label for raw in source] == wanted
    assert source.carried is not None
    assert source.carried["split"].to_pylist() == ["test", "train", "test", "train"]
    assert source.carried["take"].to_pylist() == [0, 11, 4, 5]
    assert source.read(source.raws[2]) == (folder / "recordings" / NAMES[2]).read_bytes()


def test_the_speaker_can_be_the_group(folder: Path) -> None:
    source = open_source("fsdd", folder, columns=Columns(label="digit", group="speaker"))
    assert [raw.group for raw in source] == ["ann", "ann", "bob", "bob"]


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "a.wav", b"")
    with pytest.raises(ValueError, match=r"holds no file such as 7_jackson_32\.wav: give the folder or the archive"):
        open_source("fsdd", tmp_path, columns=Columns(label="digit"))
    with pytest.raises(ValueError, match=r"missing does not exist: put the data there, or give an empty folder to"):
        open_source("fsdd", tmp_path / "missing", columns=Columns(label="digit"))


def test_recordings_that_are_a_link_elsewhere_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "recordings").symlink_to(folder / "recordings")
    with pytest.raises(ValueError, match=r"recordings is a link that leads outside the folder$"):
        open_source("fsdd", tmp_path / "links", columns=Columns(label="digit"))


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_as_it_is_published_is_the_same(kind: str, folder: Path, tmp_path: Path) -> None:
    below = "free-spoken-digit-dataset-1.0.9/"
    archive = tmp_path / f"v1.0.9.{kind}"
    zipped(folder, archive, below=below) if kind == "zip" else tarred(folder, archive, mode="w:gz", below=below)
    columns = Columns(label="digit", group="speaker")
    plain, packed = (open_source("fsdd", path, columns=columns) for path in (folder, archive))
    assert [(raw.id, raw.label, raw.group) for raw in packed] == [(raw.id, raw.label, raw.group) for raw in plain]
    assert packed.carried == plain.carried
    assert packed.read(packed.raws[2]) == plain.read(plain.raws[2])


def test_another_label_lists_the_columns(folder: Path) -> None:
    with pytest.raises(
        ValueError, match=r"the file names has no column 'spaeker' \(ingest\.columns\.label\); its columns: speaker"
    ):
        open_source("fsdd", folder, columns=Columns(label="spaeker"))


def test_the_real_ones_are_all_there() -> None:
    source = open_source("fsdd", real("fsdd"), columns=Columns(label="speaker"))
    assert len(source) == 3000
    assert len({raw.label for raw in source}) == 6
    assert source.carried is not None
    assert source.carried["split"].to_pylist().count("test") == 300

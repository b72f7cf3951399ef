import subprocess
import sys
from pathlib import Path

import pytest

from likewise.data.named import FILES
from likewise.data.raw import Unreadable
from likewise.data.sources import SOURCES, open_source
from tests.data.pictures import class_folders, encoded, noise, put


def test_the_sources_are_known_by_name() -> None:
    assert list(SOURCES)[:6] == ["digits", "folder", "idx", "manifest", "parquet", "pairs"]
    assert list(FILES) == list(SOURCES)[6:]
    with pytest.raises(ValueError, match=r"^unknown source 'floder'; known: folder, "):
        open_source("floder", "data/raw")


def test_an_unknown_option_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"unknown option of the source folder 'follow_link'; known: follow_links, skip"
    ):
        open_source("folder", tmp_path, follow_link=True)
    with pytest.raises(ValueError, match=r"unknown option of the source idx 'skip'; known: none"):
        open_source("idx", tmp_path, skip=["a"])


def test_a_missing_path_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere does not exist: put the data there, or give the path"):
        open_source("folder", tmp_path / "nowhere")


def test_an_empty_source_is_refused(tmp_path: Path) -> None:
    put(tmp_path / ".gitignore", b"*")
    put(tmp_path / "README.md", b"nothing here yet")
    (tmp_path / "a").mkdir()
    with pytest.raises(ValueError, match=r"the source 'folder' at .* is empty: nothing in it is a sample"):
        open_source("folder", str(tmp_path))


def test_a_source_iterates_in_the_order_of_its_ids_and_reads(tmp_path: Path) -> None:
    source = open_source("folder", class_folders(tmp_path))
    ids = [raw.id for raw in source]
    assert len(source) == 9
    assert ids == sorted(ids)
    assert source.read(next(iter(source))) == encoded(noise(0))


def test_what_a_source_refuses_it_does_not_read(tmp_path: Path) -> None:
    put(tmp_path / "loose.png", encoded(noise(1)))
    source = open_source("folder", tmp_path)
    with pytest.raises(Unreadable, match=r"^no class folder$"):
        source.read(source.raws[0])


def test_importing_is_fast_because_it_imports_little() -> None:
    code = (
        "import sys, likewise.data.sources, likewise.data.splits, likewise.data.ingestion; "
        "print(*{'torch', 'sklearn', 'scipy', 'pandas', 'pandera', 'pyarrow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""

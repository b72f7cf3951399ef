from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from likewise.data.decoder_key import decoder_key
from likewise.data.kinds import build
from likewise.stages.recall import decoded_folder, limit, recalling

TEXT = build("text", length=8)


def test_it_lies_in_the_cache_folder_unless_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("LIKEWISE_DECODED", raising=False)
    assert decoded_folder() == tmp_path / "likewise/decoded"
    monkeypatch.setenv("LIKEWISE_DECODED", str(tmp_path / "here"))
    assert decoded_folder() == tmp_path / "here"
    monkeypatch.setenv("LIKEWISE_DECODED", "off")
    assert decoded_folder() is None
    monkeypatch.setenv("LIKEWISE_DECODED", "s3://bucket/decoded")
    with pytest.raises(ValueError, match="LIKEWISE_DECODED: given s3://bucket/decoded; give a folder of this machine"):
        decoded_folder()


@pytest.mark.parametrize(("given", "size"), [("", 10**10), ("0.5", 5 * 10**8), ("0", 0)])
def test_how_much_room_it_may_take(monkeypatch: pytest.MonkeyPatch, given: str, size: int) -> None:
    monkeypatch.setenv("LIKEWISE_DECODED_GB", given)
    assert limit() == size


@pytest.mark.parametrize("given", ["lots", "-1", "nan", "inf"])
def test_a_size_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("LIKEWISE_DECODED_GB", given)
    with pytest.raises(ValueError, match=f"LIKEWISE_DECODED_GB: given '{given}'; give gigabytes, such as 10"):
        limit()


def test_it_is_opened_under_the_key_of_the_preprocessing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LIKEWISE_DECODED", str(tmp_path / "cache"))
    row = np.zeros((1, 8), np.uint8)
    for known in (0, 1):
        with recalling(TEXT) as cache:
            assert cache is not None
            assert len(cache) == known
            digests, crcs = np.ones((1, 32), np.uint8), np.zeros(1, np.uint32)
            cache.keep(digests=digests, counts=np.ones(1, np.int64), crcs=crcs, rows=row, reasons=[])
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.is_dir()] == [decoder_key(TEXT)]


@pytest.mark.parametrize(("name", "value"), [("LIKEWISE_DECODED", "off"), ("LIKEWISE_DECODED_GB", "0")])
def test_it_can_be_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str) -> None:
    monkeypatch.setenv("LIKEWISE_DECODED", str(tmp_path))
    monkeypatch.setenv(name, value)
    with recalling(TEXT) as cache:
        assert cache is None
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_had_is_said_and_done_without(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LIKEWISE_DECODED", str(tmp_path / "file"))
    with recalling(TEXT) as cache:
        assert cache is None
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("ingest: decode cache: ")
    assert line.endswith(f"'{tmp_path}/file'; going on without it (LIKEWISE_DECODED=off does so unasked)")


def test_its_notes_are_printed_at_the_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LIKEWISE_DECODED", str(tmp_path))
    with pytest.raises(KeyError), recalling(TEXT) as cache:
        assert cache is not None
        cache.notes.append("something to know")
        raise KeyError
    assert capsys.readouterr().out == "ingest: decode cache: something to know\n"

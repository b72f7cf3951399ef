from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from likewise.data import decoder_key as module
from likewise.data import images
from likewise.data.decoder_key import DECIDING, decoder_key
from likewise.data.kinds import KINDS, build
from tests.imports import reached

IMAGE: dict[str, Any] = {"height": 8, "width": 8, "channels": 1}
OPTIONS: dict[str, dict[str, Any]] = {
    "image": IMAGE,
    "audio": {"rate": 8000, "seconds": 1.0},
    "sequence": {"length": 8, "channels": 2},
    "text": {"length": 8},
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_code_of_a_kind_is_what_its_modules_import(kind: str) -> None:
    assert set(DECIDING) == set(KINDS)
    code, libraries = DECIDING[kind]
    first, *_ = code
    named = {f"likewise.{name}" for name in ("choices", "data.kinds", "data.raw")} | {one.__name__ for one in code}
    assert named == reached(first.__name__) | {"likewise.choices", "likewise.data.kinds", "likewise.data.raw"}
    assert all(library() and all(library()) for library in libraries)


def test_every_option_makes_another_key_and_nothing_else_does() -> None:
    changes = [{}, {"height": 9}, {"channels": 3}, {"min_side": 5}]
    keys = [decoder_key(build("image", **IMAGE | change)) for change in changes]
    assert len(set(keys)) == len(keys)
    assert keys[0] == decoder_key(build("image", **dict(reversed(IMAGE.items()))))
    others = [decoder_key(build(kind, **options)) for kind, options in OPTIONS.items()]
    assert len(set(others)) == len(KINDS)


def test_edited_code_makes_another_key_of_its_kind_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image, text = build("image", **IMAGE), build("text", length=8)
    before = decoder_key(image), decoder_key(text)
    edited = tmp_path / "images.py"
    edited.write_bytes(Path(str(images.__file__)).read_bytes() + b"\n")
    monkeypatch.setattr(images, "__file__", str(edited))
    assert decoder_key(image) != before[0]
    assert decoder_key(text) == before[1]


@pytest.mark.parametrize("library", ["pillow", "numpy"])
def test_another_version_of_a_library_makes_another_key(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = decoder_key(build("image", **IMAGE))
    monkeypatch.setattr(module, "version", lambda name: "0.1" if name == library else version(name))
    assert decoder_key(build("image", **IMAGE)) != before

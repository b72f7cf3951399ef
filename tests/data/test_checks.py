from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from likewise.data import checks
from likewise.data.checks import CHECKS, Checked, Finding, check, told
from likewise.data.fingerprints import fingerprints

SPLITS = ["train", "val", "test", "train"]


def images(count: int = 4) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, 1, 12, 10), dtype=np.uint8)


def data(
    *,
    media: NDArray[np.uint8] | None = None,
    groups: list[str | None] | None = None,
    left_out: list[tuple[str, str | None, str]] | None = None,
    stated: Mapping[str, str] | None = None,
    splits: list[str] = SPLITS,
    bits: int = 3,
    offsets: list[int] | None = None,
) -> Checked:
    count = len(splits)
    samples = pd.DataFrame({"id": [f"{row}.png" for row in range(count)], "class": ["a", "b"] * (count // 2)})
    samples = samples.assign(split=splits, group=pd.Series(groups or [None] * count, dtype="str"))
    quarantine = pd.DataFrame(left_out or [], columns=["id", "class", "reason"]).astype("str")
    media = images(count) if media is None else media
    return Checked("image", samples, quarantine, stated, media, np.array(offsets or range(count + 1)), bits)


def found(name: str, **options: Any) -> tuple[int, tuple[str, ...]]:
    finding = CHECKS[name](data(**options))
    return finding.count, finding.examples


@pytest.mark.parametrize("name", CHECKS)
def test_clean_data_is_clean(name: str) -> None:
    assert found(name) == (0, ())
    assert found(name, stated={f"{row}.png": split for row, split in enumerate(SPLITS)}) == (0, ())


def test_classes_of_which_nothing_is_left() -> None:
    rows = [("5.png", "z", "class too small: 1 usable, 2 needed"), ("6.png", "y", "bad"), ("7.png", "z", "bad")]
    assert found("small_classes", left_out=[*rows, ("8.png", "a", "bad"), ("9.png", None, "bad")]) == (2, ("y", "z"))


def test_one_file_under_two_classes() -> None:
    rows = [(f"{row}.png", "a", f"label conflict with {row + 1}.png (class b)") for row in range(5, 9)]
    count, examples = found("label_conflicts", left_out=[*rows, ("9.png", "a", "duplicate of 1.png")])
    assert count == 4
    assert examples[0] == "5.png: label conflict with 6.png (class b)"
    assert len(examples) == 3


def test_one_file_in_two_splits_of_the_table() -> None:
    rows: list[tuple[str, str | None, str]] = [
        (f"{row}.png", "a", f"duplicate of {row - 5}.png") for row in (5, 6, 7, 8)
    ]
    stated = {"0.png": "train", "1.png": "val", "2.png": "test", "5.png": "test", "6.png": "val", "8.png": "val"}
    assert found("same_file", left_out=rows, stated=stated) == (1, ("5.png (test) is 0.png (train)",))
    assert found("same_file", left_out=rows, stated=None) == (0, ())


def test_a_group_in_two_splits() -> None:
    assert found("same_group", groups=["g", "g", "h", None]) == (1, ("g",))
    assert found("same_group", groups=["g", None, None, "g"]) == (0, ())


def near_oracle(media: NDArray[np.uint8], splits: list[str], bits: int) -> int:
    words = [int(word) for word in fingerprints("image", media)[:, 0]]
    rows = list(zip(words, splits, strict=True))
    return sum(
        split != "train" and any((word ^ other).bit_count() <= bits and split != side for other, side in rows)
        for word, split in rows
    )


def test_images_that_look_like_one_of_another_split() -> None:
    media = images(6)
    media[4] = np.clip(media[1] * 0.98, 0, 255).astype(np.uint8)
    media[5] = media[3]
    splits = ["train", "train", "val", "test", "test", "test"]
    count, examples = found("near_duplicates", media=media, splits=splits)
    assert (count, examples) == (1, ("4.png (test) ~ 1.png (train)",))
    assert near_oracle(media, splits, 3) == 1


@pytest.mark.parametrize("bits", [0, 1, 2, 3])
def test_as_when_every_pair_of_images_is_compared(bits: int) -> None:
    draw = np.random.default_rng(bits)
    shapes = np.kron(draw.integers(0, 2, (30, 1, 2, 2)), np.ones((1, 1, 5, 5)))
    media = np.clip(90 + 60 * shapes + draw.normal(0, 3, shapes.shape), 0, 255).astype(np.uint8)
    splits = [SPLITS[number] for number in draw.integers(0, 3, 30)]
    count, examples = found("near_duplicates", media=media, splits=splits, bits=bits)
    assert count == near_oracle(media, splits, bits)
    assert len(examples) == min(count, 3)


def test_images_of_one_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "BLOCK_ROWS", 3)
    media = np.random.default_rng(0).integers(0, 256, (8, 3, 4, 5), dtype=np.uint8)
    media[1] = 255
    media[4] = np.array([1, 2, 3])[:, None, None]
    media[5, :2] = 7
    assert found("constant", media=media, splits=SPLITS * 2) == (2, ("1.png", "4.png"))


def test_a_sound_is_constant_when_each_of_its_windows_is() -> None:
    media = np.random.default_rng(0).integers(0, 256, (8, 3, 4), dtype=np.uint8)
    media[[0, 1, 3, 7]] = 9
    assert found("constant", media=media, offsets=[0, 2, 5, 7, 8]) == (2, ("0.png", "3.png"))


def test_modes_look_tell_or_stop() -> None:
    bad = data(groups=["g", "g", "h", "h"], left_out=[("9.png", "a", "label conflict with 8.png (class b)")])
    results = check(bad, {"same_group": "warn", "label_conflicts": "off"})
    assert results == {"same_group": Finding(2, "groups are in two splits", ("g", "h"))}
    assert check(data(), {"same_group": "fail"})["same_group"].count == 0
    with pytest.raises(ValueError, match="groups are in two splits") as caught:
        check(bad, {"same_group": "fail", "label_conflicts": "fail", "constant": "warn"})
    assert str(caught.value) == (
        "check same_group: 2 groups are in two splits: g; h; check label_conflicts: 1 samples are under two classes "
        "and left out: 9.png: label conflict with 8.png (class b); mend the data, or set the check to warn "
        "(ingest.checks)"
    )


def test_off_does_not_look(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(data: Checked) -> Finding:
        raise AssertionError(data)

    monkeypatch.setitem(CHECKS, "near_duplicates", refuse)
    assert check(data(), {"near_duplicates": "off"}) == {}


def test_only_some_are_named() -> None:
    assert told("x", Finding(1200, "things", ("a", "b"))) == "check x: 1,200 things: a; b and 1,198 more"
    assert told("x", Finding(0, "things", ())) == "check x: 0 things"

"""Settings written into a params file: the values asked for change, and not a letter else."""

from __future__ import annotations

import difflib
from typing import Any

import pytest
from ruamel.yaml import YAML

from likewise.delivery.labels import flat
from likewise.stages.settings import nested, shown, written
from tests.imports import ROOT

FILES = sorted(ROOT.glob("recipes/*.yaml"))
SETTINGS: dict[str, Any] = {
    "train.learning_rate": 1e-05,
    "train.margin": None,
    "train.mining": "all",
    "train.encoder_options.width": 48,
    "train.loss_learning_rate": 0.123456,
    "evaluate.costs.even.prior": 0.25,
}


def read(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_only_the_lines_of_the_settings_change(file: Any) -> None:
    before = file.read_text(encoding="utf-8")
    after = written(before, SETTINGS)
    assert flat(read(after)) == {k: v for k, v in flat(read(before)).items() if k != "train.encoder_options"} | SETTINGS
    old, new = before.splitlines(), after.splitlines()
    changed = [(a, b) for a, b in zip(old, new, strict=True) if a != b]
    assert len(changed) <= len(SETTINGS)
    # Comments stay, and stay in their column where the value leaves room.
    assert all(a.partition(" #")[2] == b.partition(" #")[2] for a, b in changed)
    rate = next(b for a, b in changed if "learning_rate" in a)
    assert rate.index("#") == next(a for a, _ in changed if "learning_rate" in a).index("#")


def test_a_setting_as_it_is_changes_nothing() -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    same = {key: flat(read(text))[key] for key in ("train.loss", "train.scale", "train.encoder_options", "train.ema")}
    assert "".join(difflib.unified_diff([text], [written(text, same)])) == ""


WRONG = {
    "train.los": "there is no such key; did you mean loss",
    "trian.loss": "there is no block trian",
    "train.loss.name": "there is no block train.loss",
}


@pytest.mark.parametrize("key", WRONG)
def test_what_the_file_lacks_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match=WRONG[key]) as caught:
        written("train:\n  loss: triplet # which\n", {key: "supcon"})
    assert str(caught.value).startswith(f"params.yaml: {key}: ")


def test_a_value_over_several_lines_is_refused() -> None:
    with pytest.raises(ValueError, match=r"train.k: .*by hand"):
        written("train:\n  k:\n    - 1\n    - 2\n", {"train.k": 3})
    with pytest.raises(ValueError, match="by hand"):
        written("train:\n  k: a b\n", {"train.k": 3})


@pytest.mark.parametrize("value", [None, True, 3, 1e-05, -0.5, "all", "no", "a: b", "1e3", "# x", {"width": 32}])
def test_what_is_shown_reads_the_same(value: Any) -> None:
    assert read(f"k: {shown(value)}\n") == {"k": value}


def test_nested_is_the_inverse_of_flat() -> None:
    whole = {"train": {"margin": 0.3, "augment": {"image": {"flip": 0.5}}}}
    assert nested(flat(whole)) == whole

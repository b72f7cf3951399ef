from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from likewise import artifacts
from likewise.stages import train_assembly
from likewise.stages.train_checks import check_classes, refuse_not_square
from likewise.stages.train_params import Params
from tests.projects import ROOT
from tests.small import make, params

PAIRS: dict[str, Any] = {"feed": "pairs", "loss": "contrastive", "margin": None, "mining": None}


def block(**changes: Any) -> Params:
    given: Params = params(ROOT, "train", classes_per_batch=2, samples_per_class=4, **changes)
    return given


def labels(**sizes: int) -> pd.Series[str]:
    return pd.Series([name for name, size in sizes.items() for _ in range(size)], dtype="str")


def test_classes_that_are_large_enough_are_not_worth_a_word() -> None:
    assert check_classes(block(small_classes="fail"), labels(a=4, b=9)) is None
    assert check_classes(block(small_classes="fail", **PAIRS), labels(a=2, b=2)) is None


def test_small_ones_are_named_the_smallest_first() -> None:
    sizes = labels(a=3, b=1, c=4, d=2, e=1, f=3)
    assert check_classes(block(), sizes) == (
        "5 of 6 classes have fewer than the 4 training samples of train.samples_per_class: b (1), e (1), d (2) and 2 "
        "more: batches show some samples several times"
    )
    assert check_classes(block(**PAIRS), sizes) == (
        "2 of 6 classes have fewer than two training samples: b (1), e (1): feed pairs has no genuine pair of them"
    )
    for changes in ({}, PAIRS):
        assert check_classes(block(small_classes="off", **changes), sizes) is None


def test_they_stop_the_training_where_they_are_to() -> None:
    with pytest.raises(ValueError, match=r"b \(1\).*; add samples, lower train\.samples_per_class, raise ingest"):
        check_classes(block(small_classes="fail"), labels(a=4, b=1))
    with pytest.raises(ValueError, match=r"pair of them; add samples, raise ingest\.min_class, or set train\.small_cl"):
        check_classes(block(small_classes="fail", **PAIRS), labels(a=4, b=1))


@pytest.mark.parametrize("mode", ["fail", "warn", "off"])
def test_fewer_classes_than_a_batch_wants_are_refused(mode: str) -> None:
    with pytest.raises(
        ValueError, match=r"^train\.classes_per_batch is 2, and there are 1 training classes: set it to 1 or less$"
    ):
        check_classes(block(small_classes=mode), labels(a=9))
    assert check_classes(block(small_classes=mode, rotations=4), labels(a=9)) is None
    assert check_classes(block(small_classes=mode, **PAIRS), labels(a=9)) is None


def test_turns_count_as_classes() -> None:
    many: Params = params(ROOT, "train", classes_per_batch=10, rotations=4)
    with pytest.raises(ValueError, match=r"there are 2 training classes in 4 turns: set it to 8 or less"):
        check_classes(many, labels(a=9, b=9))


def test_a_training_is_set_up_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make(tmp_path / "project")
    samples = artifacts.SAMPLES.read(root)
    lost = samples.index[(samples["class"] == "k3") & (samples["split"] == "train")][:6]
    artifacts.SAMPLES.write(samples.assign(split=samples["split"].mask(samples.index.isin(lost), "test")), root)
    told = "1 of 6 classes have fewer than the 4 training samples of train.samples_per_class: k3 (2)"
    train_assembly.set_up(params(root, "train"), root)
    assert capsys.readouterr().out.startswith(f"train: {told}")
    with pytest.raises(ValueError, match=told.replace("(", r"\(").replace(")", r"\)")):
        train_assembly.set_up(params(root, "train", small_classes="fail"), root)


@pytest.mark.parametrize(("shape", "sides"), [((40, 98), "40 x 98"), ((1, 5, 8), "5 x 8"), ((9,), "9")])
def test_what_is_not_square_is_not_turned(shape: tuple[int, ...], sides: str) -> None:
    refuse_not_square((3, 8, 8), rotations=4)
    with pytest.raises(
        ValueError, match=rf"^train\.rotations: 4 turns square images, and the samples are {sides}: set it to 1$"
    ):
        refuse_not_square(shape, rotations=4)

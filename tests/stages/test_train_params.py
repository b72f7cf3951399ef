from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path

import pytest
from pydantic import ValidationError

from likewise.config import load_params, read_yaml
from likewise.data.augment import LIMITS, Augmentation
from likewise.stages import train_params
from tests.projects import ROOT
from tests.small import make, params


def limits(name: str) -> tuple[float, float]:
    least, most = train_params.Augment.model_fields[name].metadata
    return least.ge, most.le


def test_the_augment_block_has_the_kinds_and_limits_of_the_augmentation() -> None:
    assert list(train_params.Augment.model_fields) == [each.name for each in fields(Augmentation)]
    assert {name: limits(name) for name in train_params.Augment.model_fields} == {n: (0, m) for n, m in LIMITS.items()}


@pytest.mark.parametrize("name", LIMITS)
def test_both_refuse_the_same(name: str) -> None:
    off = asdict(Augmentation())
    for good in (0, LIMITS[name]):
        assert Augmentation(**train_params.Augment(**off | {name: good}).model_dump()) == Augmentation(**{name: good})
    for bad in (-0.1, LIMITS[name] + 0.1):
        with pytest.raises(ValidationError):
            train_params.Augment(**off | {name: bad})
        with pytest.raises(ValueError, match=name):
            Augmentation(**{name: bad})


@pytest.mark.parametrize("file", ["params.yaml", *sorted(f"recipes/{p.name}" for p in ROOT.glob("recipes/*.yaml"))])
def test_every_params_file_gives_an_augmentation(file: str) -> None:
    assert isinstance(Augmentation(**read_yaml(ROOT / file)["train"]["augment"]), Augmentation)


def test_a_misspelt_kind_names_the_nearest(tmp_path: Path) -> None:
    root = make(tmp_path / "project", data=False)
    path = root / "params.yaml"
    path.write_text(
        path.read_text(encoding="utf-8").replace("    rotation: 0.0", "    rotatoin: 0.0"), encoding="utf-8"
    )
    with pytest.raises(
        ValueError, match=r"train\.augment\.rotatoin: unknown key; did you mean train\.augment\.rotation"
    ):
        load_params(root)


def test_the_stage_trains_with_what_the_block_says(tmp_path: Path) -> None:
    from likewise.stages import train_assembly

    root = make(tmp_path / "project")
    block = params(root, "train")
    strengths = asdict(Augmentation(shift=0.1, erase=0.2))
    fit = train_assembly.set_up(type(block).model_validate(block.model_dump() | {"augment": strengths}), root)
    assert fit._settings.augment == Augmentation(shift=0.1, erase=0.2)

"""The sweep block: every mistake is one line that names the key; what it allows fits train."""

from __future__ import annotations

from typing import Any

import pytest

from likewise import config
from likewise.stages import sweep_params
from tests.imports import ROOT

DEFAULT: dict[str, Any] = config.read_yaml(ROOT / "params.yaml")


def mistakes(space: dict[str, Any], variants: list[dict[str, Any]] | None = None, **train: Any) -> list[str]:
    raw = {**DEFAULT, "train": {**DEFAULT["train"], **train}}
    raw["sweep"] = {**DEFAULT["sweep"], "space": space, "variants": variants or []}
    try:
        config.checked(raw)
    except config.ConfigError as error:
        return str(error).splitlines()
    return []


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"learning_rat": {"low": 0.1, "high": 0.2}}, "sweep.space.learning_rat: no key of train"),
    "nearest": ({"augment.image.flipp": {"low": 0.1, "high": 0.2}}, "did you mean augment.image.flip?"),
    "a block": ({"augment": {"choices": [1]}}, "sweep.space.augment: no key of train that holds one value"),
    "of another kind": ({"augment.audio.noise": {"low": 0.0, "high": 0.1}}, "sweep.space.augment.audio.noise: no key"),
    "option of another encoder": ({"encoder_options.heads": {"choices": [2]}}, "did you mean encoder_options"),
    "the seed": ({"seed": {"low": 0, "high": 9}}, "sweep.space.seed: a seed that is picked for its val EER is luck"),
    "unknown word in a range": ({"margin": {"low": 0.1, "hihg": 0.2}}, "did you mean sweep.space.margin.high?"),
    "half a range": ({"margin": {"low": 0.1}}, "sweep.space.margin: give low and high, or choices"),
    "upside down": ({"margin": {"low": 0.2, "high": 0.1}}, "sweep.space.margin: low 0.2 must be below high 0.1"),
    "log of nought": ({"margin": {"low": 0.0, "high": 0.1, "log": True}}, "log goes with a low above 0"),
    "text": ({"margin": {"low": "a", "high": 0.1}}, "sweep.space.margin.low: given 'a'; allowed: a number"),
    "choices and a range": ({"margin": {"low": 0.1, "choices": [0.2]}}, "choices go without low"),
    "a choice twice": ({"margin": {"choices": [0.2, 0.2]}}, "a choice is given twice"),
    "a list as a choice": ({"margin": {"choices": [[0.2]]}}, "sweep.space.margin.choices.0: given [0.2]; allowed"),
    "out of range": ({"ema": {"low": 0.5, "high": 1.0}}, "sweep.space.ema: with 1.0: Input should be less than 1"),
    "a fraction for a whole number": ({"epochs": {"low": 1.5, "high": 9}}, "sweep.space.epochs: with 1.5: "),
    "what the loss does not take": ({"scale": {"low": 1.0, "high": 2.0}}, "with 1.0: loss triplet takes no scale"),
    "unknown choice": ({"mining": {"choices": ["all", "semihrad"]}}, "sweep.space.mining: with 'semihrad': Input sh"),
}


@pytest.mark.parametrize("space", WRONG.values(), ids=WRONG.keys())
def test_a_mistake_is_told_in_a_line(space: tuple[dict[str, Any], str]) -> None:
    given, said = space
    found = mistakes(given)
    assert any(said in line for line in found), found
    assert all(line.startswith("params.yaml: sweep.") for line in found)


SUPCON = {"loss": "supcon", "distance": "cosine", "margin": None, "mining": None}
TRIPLET = {"loss": "triplet", "distance": "euclidean", "margin": 0.2, "mining": "all"}


def test_variants_are_whole_sets_of_keys() -> None:
    rate = {"learning_rate": {"low": 0.001, "high": 0.1, "log": True}}
    assert mistakes(rate, [SUPCON, TRIPLET]) == []
    assert "number 1: loss supcon takes no margin" in mistakes(rate, [{**SUPCON, "margin": 0.2}])[0]
    assert "all must set the same keys" in mistakes(rate, [SUPCON, {"loss": "triplet"}])[0]
    assert "margin is in the space and in the variants" in mistakes({"margin": {"choices": [0.2]}}, [SUPCON])[0]
    assert "sweep.variants.los: no key of train" in mistakes(rate, [{"los": "supcon"}])[0]
    assert (
        "sweep.space.memory: with 64: loss supcon" in mistakes({"memory": {"choices": [0, 64]}}, [SUPCON, TRIPLET])[0]
    )


def test_options_of_an_encoder_that_a_variant_brings() -> None:
    width = {"encoder_options.width": {"low": 32, "high": 64, "step": 32}}
    assert mistakes(width) == []
    assert mistakes({"encoder_options.heads": {"choices": [2]}}, [{"encoder": "vit"}]) == []
    assert "width is 32.0, but must be a whole number" in mistakes({"encoder_options.width": {"choices": [32.0]}})[0]


def test_merged_leaves_the_block_as_it_was() -> None:
    train = {"margin": 0.2, "augment": {"image": {"flip": 0.0, "blur": 0.1}}}
    changed = sweep_params.merged(train, {"augment.image.flip": 0.5})
    assert changed == {"margin": 0.2, "augment": {"image": {"flip": 0.5, "blur": 0.1}}}
    assert train["augment"] == {"image": {"flip": 0.0, "blur": 0.1}}

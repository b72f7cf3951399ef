from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from likewise import artifacts
from likewise.config import Block, load_params
from likewise.data import augment, augment_sequences, augment_sounds, augment_texts
from likewise.data.augmentations import AUGMENTATIONS, build
from likewise.stages import augment_params, train_assembly
from tests.small import CLASSES, make, params

KINDS: dict[str, tuple[type[Block], dict[str, float]]] = {
    "image": (augment_params.ImageAugment, augment.LIMITS),
    "audio": (augment_params.SoundAugment, augment_sounds.LIMITS),
    "sequence": (augment_params.SequenceAugment, augment_sequences.LIMITS),
    "text": (augment_params.TextAugment, augment_texts.LIMITS),
}
EACH = [(kind, name) for kind, (_, limits) in KINDS.items() for name in limits]


def limits(block: type[Block], name: str) -> tuple[float, float]:
    least, most = block.model_fields[name].metadata
    return least.ge, most.le


def test_there_is_a_block_for_the_augmentation_of_each_kind() -> None:
    assert list(augment_params.Augment.model_fields) == list(AUGMENTATIONS) == list(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_block_has_the_changes_and_limits_of_the_augmentation(kind: str) -> None:
    block, known = KINDS[kind]
    strengths = [each.name for each in fields(AUGMENTATIONS[kind]) if each.name != "differences"]
    assert list(block.model_fields) == strengths == list(known)
    assert {name: limits(block, name) for name in block.model_fields} == {n: (0, m) for n, m in known.items()}


@pytest.mark.parametrize(("kind", "name"), EACH)
def test_both_refuse_the_same(kind: str, name: str) -> None:
    (block, known), made = KINDS[kind], AUGMENTATIONS[kind]
    off = dict.fromkeys(known, 0.0)
    for good in (0, known[name]):
        assert made(**block(**off | {name: good}).model_dump()) == made(**{name: good})
    for bad in (-0.1, known[name] + 0.1):
        with pytest.raises(ValidationError):
            block(**off | {name: bad})
        with pytest.raises(ValueError, match=name):
            made(**{name: bad})


def test_rotations_make_classes_for_the_loss(tmp_path: Path) -> None:
    root = make(tmp_path / "project")
    fit = train_assembly.set_up(
        params(root, "train", rotations=4, loss="arcface", distance="cosine", margin=None, mining=None), root
    )
    assert {name: len(each) for name, each in fit.loss.named_parameters()} == {"proxies": 4 * CLASSES}


def test_rotations_want_square_images_and_the_feed_of_classes(tmp_path: Path) -> None:
    root = make(tmp_path / "project")
    with pytest.raises(ValueError, match="rotations make new classes, for feed classes, not triplets"):
        params(root, "train", rotations=4, feed="triplets", mining=None)
    media, _ = artifacts.read_media(root)
    narrow = np.array(media)[..., :-1]
    with artifacts.MEDIA.writing(root) as path, path.open("wb") as stream:
        np.save(stream, narrow)
    with pytest.raises(ValueError, match=r"^train\.rotations: 4 turns square images, and the samples are 8 x 7: set"):
        train_assembly.set_up(params(root, "train", rotations=4), root)


def test_mirror_images_are_classes_or_versions_and_not_both(tmp_path: Path) -> None:
    block = params(make(tmp_path / "project", data=False), "train")
    flipped = {"image": asdict(augment.Augmentation(flip=0.5)), "audio": None, "sequence": None, "text": None}
    for turns in (1, 4):
        type(block).model_validate(block.model_dump() | {"rotations": turns, "augment": flipped})
    with pytest.raises(ValueError, match=r"mirror images classes of their own, .*: set flip: 0, or rotations: 4"):
        type(block).model_validate(block.model_dump() | {"rotations": 8, "augment": flipped})


def test_an_augmentation_of_another_kind_is_refused(tmp_path: Path) -> None:
    root = make(tmp_path / "project")
    block = params(root, "train")
    wrong = {"image": None, "audio": dict.fromkeys(augment_sounds.LIMITS, 0.0), "sequence": None, "text": None}
    with pytest.raises(ValueError, match=r"train\.augment\.audio: the samples are of the kind image; set it to null"):
        train_assembly.set_up(type(block).model_validate(block.model_dump() | {"augment": wrong}), root)


def test_differences_are_those_of_the_preprocessing() -> None:
    for given in (True, False):
        made = build({"kind": "sequence", "differences": given}, {"sequence": {"warp": 0.5}})
        assert made == augment_sequences.SequenceAugmentation(warp=0.5, differences=given)


def test_a_misspelt_kind_names_the_nearest(tmp_path: Path) -> None:
    root = make(tmp_path / "project", data=False)
    path = root / "params.yaml"
    path.write_text(
        path.read_text(encoding="utf-8").replace("      rotation: 0.0", "      rotatoin: 0.0"), encoding="utf-8"
    )
    with pytest.raises(
        ValueError, match=r"train\.augment\.image\.rotatoin: unknown key; did you mean train\.augment\.image\.rotation"
    ):
        load_params(root)


def test_the_stage_trains_with_what_the_block_says(tmp_path: Path) -> None:
    root = make(tmp_path / "project")
    block = params(root, "train")
    strengths = {
        "image": asdict(augment.Augmentation(shift=0.1, erase=0.2)),
        "audio": None,
        "sequence": None,
        "text": None,
    }
    fit = train_assembly.set_up(type(block).model_validate(block.model_dump() | {"augment": strengths}), root)
    assert fit._settings.augment == augment.Augmentation(shift=0.1, erase=0.2)

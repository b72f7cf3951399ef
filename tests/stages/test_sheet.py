from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from likewise import artifacts
from likewise.data import augment, kinds
from likewise.stages import ingest, sheet
from likewise.stages.train_params import Params
from tests.data import recordings
from tests.data.pictures import put
from tests.small import CLASSES, SIDE, make, params

SOUND = {"rate": 8000, "seconds": 0.5, "overlap": 0.5, "mels": 20}
GAIN = {"shift": 0.0, "gain": 12.0, "noise": 0.0, "mask_mels": 0.0, "mask_frames": 0.0}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make(tmp_path / "project")


def train(root: Path, **changes: Any) -> Params:
    block: Params = params(root, "train", **changes)
    return block


def images(root: Path, **strengths: float) -> dict[str, Any]:
    return {**train(root).augment.model_dump(), "image": {**train(root).augment.model_dump()["image"], **strengths}}


def batch(root: Path, count: int = 3, *, rotations: int = 1) -> Any:
    return sheet.turned(np.arange(count), rotations=rotations)


def test_versions_are_what_training_makes_of_the_rows(project: Path) -> None:
    strengths = {"rotation": 20.0, "brightness": 0.2, "erase": 0.1}
    block = train(project, augment=images(project, **strengths))
    stored, seen = sheet.views(block, project, batch(project), versions=4, seed=7)
    media, _ = artifacts.read_media(project)
    assert [rows.tolist() for rows in stored] == [media[number : number + 1].tolist() for number in range(3)]
    generator = torch.Generator().manual_seed(7)
    change = augment.Augmentation(**strengths)
    for version in seen:
        expected = change(torch.from_numpy(np.array(media[:3])), generator=generator)
        np.testing.assert_array_equal(version, expected.numpy())
    assert not np.array_equal(seen[0], seen[1])


def test_without_augmentation_training_sees_what_is_stored(project: Path) -> None:
    stored, seen = sheet.views(train(project), project, batch(project), versions=2, seed=0)
    assert [version.tolist() for version in seen] == [np.concatenate(stored).tolist()] * 2


def test_turned_samples_are_rows_of_their_own(project: Path) -> None:
    block = train(project, rotations=8)
    given = batch(project, 2, rotations=8)
    stored, seen = sheet.views(block, project, given, versions=1, seed=0)
    media, _ = artifacts.read_media(project)
    ways = [(turn, step) for step in (1, -1) for turn in range(4)]
    expected = [np.rot90(media[number], turn, axes=(1, 2))[:, :, ::step] for number in range(2) for turn, step in ways]
    np.testing.assert_array_equal(np.concatenate(stored), expected)
    np.testing.assert_array_equal(seen[0], expected)
    sample = pd.Series({"class": "k1", "id": "k1/7.png"})
    assert [sheet.named(sample, turn)[0] for turn in (0, 3, 4, 5)] == [
        "k1",
        "k1, turned by 270°",
        "k1, mirrored",
        "k1, turned by 90°, mirrored",
    ]


def sounds(root: Path) -> Params:
    for number in range(48):
        sound = recordings.encoded(recordings.hiss(number, seconds=1.3))
        put(root / "raw" / "abcd"[number % 4] / f"{number}.wav", sound)
    block = params(root, "ingest", source="folder", path="raw", kind="audio", image=None, audio=made())
    ingest.run(block, root)
    return train(root, augment={"image": None, "audio": GAIN, "sequence": None, "text": None})


def made() -> dict[str, Any]:
    described = kinds.build("audio", **SOUND).describe()
    return {name: value for name, value in described.items() if name != "kind"}


def test_of_a_long_sound_training_sees_a_window(tmp_path: Path) -> None:
    root = make(tmp_path / "project", data=False)
    block = sounds(root)
    stored, seen = sheet.views(block, root, batch(root, 2), versions=30, seed=0)
    assert [rows.shape for rows in stored] == [(5, 20, 48)] * 2
    shifts = seen[:, 0, None] - stored[0].astype(np.float32)
    # A gain moves all values of the window that was drawn by as much, but for the floor and the precision of halves.
    fits = np.ptp(shifts, axis=(2, 3)) < 0.02
    assert (fits.sum(axis=1) == 1).all()
    assert set(fits.argmax(axis=1)) == set(range(5))
    sheet.write(block, root, root / "sheet.png", classes=2, versions=2, seed=0)
    assert (root / "sheet.png").read_bytes().startswith(b"\x89PNG")


def test_classes_are_drawn_by_the_seed(project: Path) -> None:
    samples = artifacts.SAMPLES.read(project)
    chosen = sheet.draw(samples, 4, seed=0)
    assert len(chosen) == chosen["class"].nunique() == 4
    assert list(chosen["class"]) == sorted(chosen["class"])
    pd.testing.assert_frame_equal(chosen, sheet.draw(samples, 4, seed=0))
    assert len({tuple(sheet.draw(samples, 4, seed=seed)["id"]) for seed in range(5)}) == 5
    assert len(sheet.draw(samples, 100, seed=0)) == CLASSES


def test_samples_without_classes_can_be_shown(project: Path) -> None:
    samples = artifacts.SAMPLES.read(project).assign(**{"class": None})
    chosen = sheet.draw(samples, 5, seed=0)
    assert chosen["id"].nunique() == 5
    assert sheet.named(chosen.iloc[0], 0) == ("no class", chosen["id"].iloc[0])
    with pytest.raises(ValueError, match="there are no training samples to show"):
        sheet.draw(samples[:0], 5, seed=0)


def test_a_sheet_shows_training_samples_only_and_is_the_same_for_a_seed(project: Path) -> None:
    block = train(project, augment=images(project, blur=1.0))
    contents = []
    for number, seed in enumerate((1, 1, 2)):
        out = project / "sheets" / f"{number}.png"
        sheet.write(block, project, out, classes=2, versions=3, seed=seed)
        contents.append(out.read_bytes())
    assert contents[0] == contents[1] != contents[2]
    held_out = artifacts.SAMPLES.read(project)
    artifacts.SAMPLES.write(held_out.assign(split="test"), project)
    with pytest.raises(ValueError, match="there are no training samples to show"):
        sheet.write(block, project, project / "none.png", classes=2, versions=3, seed=1)
    assert not (project / "none.png").exists()


def test_refusals(project: Path, tmp_path: Path) -> None:
    block = train(project)
    options = {"classes": 2, "versions": 2, "seed": 0}
    with pytest.raises(ValueError, match=r"a\.jpg: a contact sheet is a PNG file: give a name that ends in \.png"):
        sheet.write(block, project, project / "a.jpg", **options)
    with pytest.raises(ValueError, match=r"summary\.json: missing; run `dvc repro`"):
        sheet.write(block, make(tmp_path / "empty", data=False), project / "a.png", **options)
    wrong = train(project, augment={"image": None, "audio": GAIN, "sequence": None, "text": None})
    with pytest.raises(ValueError, match=r"train\.augment\.audio: the samples are of the kind image; set it to null"):
        sheet.write(wrong, project, project / "a.png", **options)
    media, _ = artifacts.read_media(project)
    oblong = np.array(media)[:, :, :5]
    with artifacts.MEDIA.writing(project) as path, path.open("wb") as stream:
        np.save(stream, oblong)
    with pytest.raises(ValueError, match=rf"train\.rotations: 4 turns square images, and the samples are 5 x {SIDE}"):
        sheet.write(train(project, rotations=4), project, project / "a.png", **options)


def test_what_is_on_is_said(project: Path) -> None:
    assert sheet.described(train(project, augment=images(project, flip=0.5, blur=1.25)).augment) == (
        "train.augment.image: flip 0.5, blur 1.25"
    )
    assert sheet.remarks("image", train(project)) == []
    assert sheet.remarks("image", train(project, rotations=4)) == [
        "train.rotations: turned samples are of classes of their own."
    ]
    assert "one scale" in sheet.remarks("sequence", train(project))[0]

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from likewise import artifacts
from likewise.delivery.loading import load
from likewise.delivery.registry import Registered
from likewise.stages import triplets
from tests.small import CLASSES, EACH, SIDE, make, params

Array = np.ndarray[Any, Any]
Made = tuple[Path, Registered]

ALL = CLASSES * EACH["train"] * (EACH["train"] - 1) * (CLASSES - 1) * EACH["train"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make(tmp_path / "project")


def test_triplets_are_true_distinct_and_of_train(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    triplets.run(params(project, "triplets", count=2000), project)
    frame = artifacts.TRIPLETS.read(project)
    samples = artifacts.SAMPLES.read(project).set_index("id")
    anchor, positive, negative = (samples.loc[frame[name]].reset_index() for name in frame.columns)
    assert (anchor["class"] == positive["class"]).all()
    assert (anchor["class"] != negative["class"]).all()
    assert (anchor["id"] != positive["id"]).all()
    assert {*anchor["split"], *positive["split"], *negative["split"]} == {"train"}
    assert len(frame.drop_duplicates()) == 2000
    assert capsys.readouterr().out == f"triplets: 2,000 of {ALL:,} triplets\n"


@pytest.mark.parametrize("strategy", [{}, {"strategy": "hard", "reference": "pca", "nearest": 4}])
def test_a_share_of_the_negatives_forges_the_class_of_the_anchor(
    strategy: dict[str, Any], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = artifacts.SAMPLES.read(project)
    fake = samples["class"].notna() & (samples.groupby(["split", "class"]).cumcount() < 2)
    samples = samples.assign(**{"class": samples["class"].mask(fake), "forges": samples["class"].where(fake)})
    artifacts.SAMPLES.write(samples, project)
    triplets.run(params(project, "triplets", count=200, skilled_share=0.3, **strategy), project)
    frame, known = artifacts.TRIPLETS.read(project), samples.set_index("id")
    anchor, positive, negative = (known.loc[frame[name]].reset_index() for name in frame.columns)
    forged = negative["forges"].notna()
    assert forged.sum() == 60
    assert (anchor["class"] == positive["class"]).all()
    assert (negative["forges"] == anchor["class"])[forged].all()
    assert (negative["class"] != anchor["class"]).all()
    assert len(frame.drop_duplicates()) == 200
    assert {*anchor["split"], *negative["split"]} == {"train"}
    every = CLASSES * (EACH["train"] - 2) * (EACH["train"] - 3) * 2
    assert f"; 60 with a forgery of {every:,}" in capsys.readouterr().out
    with pytest.raises(ValueError, match=rf"^triplets\.skilled_share: 400 triplets .* there are {every}: lower it"):
        triplets.run(params(project, "triplets", count=400, skilled_share=1.0, **strategy), project)


def test_without_classes_there_are_no_triplets(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = artifacts.SAMPLES.read(project)
    artifacts.SAMPLES.write(samples.assign(**{"class": None}), project)
    triplets.run(params(project, "triplets"), project)
    assert len(artifacts.TRIPLETS.read(project)) == 0
    assert capsys.readouterr().out == "triplets: 0 of none: no sample has a class\n"


def test_the_order_of_the_samples_does_not_matter_and_the_seed_does(project: Path) -> None:
    def drawn(seed: int) -> bytes:
        triplets.run(params(project, "triplets", seed=seed), project)
        return (project / artifacts.TRIPLETS.path).read_bytes()

    first = drawn(0)
    samples = artifacts.SAMPLES.read(project)
    artifacts.SAMPLES.write(samples.sample(frac=1, random_state=3), project)
    assert drawn(0) == first
    assert drawn(1) != first


def test_all_triplets_can_be_had_and_one_more_is_refused(project: Path) -> None:
    triplets.run(params(project, "triplets", count=ALL), project)
    assert len(artifacts.TRIPLETS.read(project).drop_duplicates()) == ALL
    with pytest.raises(ValueError, match=rf"^triplets\.count: {ALL + 1} .* have {ALL}") as caught:
        triplets.run(params(project, "triplets", count=ALL + 1), project)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    # What is no param must not be offered.
    assert text.endswith("ask for fewer.")


HARD = {"strategy": "hard", "reference": "pca", "nearest": 4}
EVERY_HARD = CLASSES * EACH["train"] * (EACH["train"] - 1) * 4


def nearest_by_full_sort(points: Array, samples: pd.DataFrame, nearest: int) -> dict[str, set[str]]:
    """The nearest samples of other classes of each training sample, by name."""
    members = samples[samples["split"] == "train"]
    found = {}
    for row, name, sample in zip(members.index, members["class"], members["id"], strict=True):
        others = members[members["class"] != name]
        far = np.linalg.norm(points[others.index] - points[row], axis=1)
        found[str(sample)] = set(others["id"].to_numpy()[np.argsort(far)[:nearest]].tolist())
    return found


def check_hard(root: Path, points: Array) -> None:
    samples, frame = artifacts.SAMPLES.read(root), artifacts.TRIPLETS.read(root)
    wanted = nearest_by_full_sort(points, samples, 4)
    assert set(zip(frame["anchor"], frame["negative"], strict=True)) == {
        (anchor, negative) for anchor, negatives in wanted.items() for negative in negatives
    }
    label = samples.set_index("id")["class"]
    assert (label[frame["anchor"]].to_numpy() == label[frame["positive"]].to_numpy()).all()
    assert len(frame.drop_duplicates()) == len(frame) == EVERY_HARD


def share_nearer(root: Path, points: Array) -> float:
    rows = {name: row for row, name in enumerate(artifacts.SAMPLES.read(root)["id"])}
    anchor, positive, negative = (points[[rows[i] for i in ids]] for _, ids in artifacts.TRIPLETS.read(root).items())
    far = [np.linalg.norm(anchor - other, axis=1) for other in (positive, negative)]
    return float((far[1] < far[0]).mean())


def test_hard_negatives_are_the_nearest_of_another_class_by_the_raw_media(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    triplets.run(params(project, "triplets", **HARD, count=EVERY_HARD), project)
    points = artifacts.read_media(project)[0].reshape(-1, SIDE * SIDE).astype(np.float64)
    check_hard(project, points)
    told = f"triplets: {EVERY_HARD:,} of {EVERY_HARD:,} hard triplets; "
    share = f"in {share_nearer(project, points):.1%} the negative is nearer than the positive\n"
    assert capsys.readouterr().out == told + share


def test_hard_triplets_do_not_depend_on_the_order_of_the_samples_and_do_on_the_seed(project: Path) -> None:
    def drawn(seed: int) -> bytes:
        triplets.run(params(project, "triplets", **HARD, seed=seed), project)
        return (project / artifacts.TRIPLETS.path).read_bytes()

    first = drawn(0)
    assert drawn(0) == first
    assert drawn(1) != first
    samples, media = artifacts.SAMPLES.read(project), np.array(artifacts.read_media(project)[0])
    order = np.random.default_rng(3).permutation(len(samples))
    artifacts.SAMPLES.write(samples.iloc[order], project)
    np.save(artifacts.MEDIA.existing(project), media[order])
    assert drawn(0) == first


def test_val_and_test_do_not_matter_to_the_reference(project: Path) -> None:
    triplets.run(params(project, "triplets", **HARD), project)
    before = (project / artifacts.TRIPLETS.path).read_bytes()
    samples, media = artifacts.SAMPLES.read(project), np.array(artifacts.read_media(project)[0])
    media[(samples["split"] != "train").to_numpy()] = 255
    np.save(artifacts.MEDIA.existing(project), media)
    triplets.run(params(project, "triplets", **HARD), project)
    assert (project / artifacts.TRIPLETS.path).read_bytes() == before


def test_hard_by_a_registered_model_that_another_project_made(
    project: Path, registered: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _ = registered
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{made / 'mlflow.db'}")
    digest = artifacts.MODEL.read(made)["weights_sha256"]
    triplets.run(params(project, "triplets", **HARD | {"reference": digest}, count=EVERY_HARD), project)
    check_hard(project, load().embed(artifacts.read_media(project)[0]).astype(np.float64))


def test_of_a_model_that_compares_by_cosine_the_length_does_not_count(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from torch import nn

    from likewise.delivery import weights

    class Lengths(nn.Module):
        def forward(self, samples: torch.Tensor) -> torch.Tensor:
            return samples.flatten(1).float() * (1 + samples[:, 0, 0, :1] % 5)

    def embeddings(distance: str) -> Array:
        monkeypatch.setattr(weights, "load_by_weights", lambda digest, root: (Lengths(), distance))
        return triplets.embeddings("0" * 64, *artifacts.read_media(project), np.arange(9), project)

    long = embeddings("euclidean")
    assert not np.allclose(np.linalg.norm(long, axis=1), 1)
    np.testing.assert_allclose(embeddings("cosine"), long / np.linalg.norm(long, axis=1, keepdims=True), rtol=1e-6)


def other_shape(root: Path) -> None:
    np.save(artifacts.MEDIA.existing(root), np.array(artifacts.read_media(root)[0])[:, :, :5])


def one_class(root: Path) -> None:
    samples = artifacts.SAMPLES.read(root)
    artifacts.SAMPLES.write(samples.assign(**{"class": "k0"}), root)


def nothing(root: Path) -> None:
    pass


MISTAKES: dict[str, tuple[Callable[[Path], None], dict[str, Any], str]] = {
    "too many": (nothing, {"count": EVERY_HARD + 1}, rf"^triplets\.count: {EVERY_HARD + 1} .* {EVERY_HARD} hard ones"),
    "one class": (one_class, {}, r"^triplets\.strategy: These labels have one class"),
    "no such model": (nothing, {"reference": "0" * 64}, r"^triplets\.reference: weights 0{64}: no registered model"),
    "a model of other pictures": (
        other_shape,
        {"reference": "its"},
        r"^triplets\.reference: the mlp encoder takes",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_what_cannot_be_drawn_is_told_in_a_line_with_its_key(
    name: str, project: Path, registered: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, given, words = MISTAKES[name]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{registered[0] / 'mlflow.db'}")
    if given.get("reference") == "its":
        given = {"reference": artifacts.MODEL.read(registered[0])["weights_sha256"]}
    change(project)
    with pytest.raises(ValueError, match=words) as caught:
        triplets.run(params(project, "triplets", **HARD | given), project)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reference": "pca"}, "strategy uniform takes no reference: set reference: null"),
        ({"nearest": 5}, "strategy uniform takes no nearest: set nearest: null"),
        ({"strategy": "hard", "nearest": 5}, "strategy hard needs reference, such as reference: pca"),
        ({"strategy": "hard", "reference": "pca"}, "strategy hard needs nearest, such as nearest: 10"),
        (HARD | {"nearest": 0}, "nearest"),
        (HARD | {"reference": "champion"}, "given the text 'champion'; allowed: pca, or the weights_sha256 of a"),
        (HARD | {"reference": "A" * 64}, r"registered model \(64 digits 0-9 and a-f\)"),
        (HARD | {"reference": "a" * 63}, "allowed: pca, or the weights_sha256 of a registered model"),
        ({"strategy": "semihard"}, "'uniform' or 'hard'"),
    ],
)
def test_params_that_do_not_fit_are_refused(project: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        params(project, "triplets", **changes)

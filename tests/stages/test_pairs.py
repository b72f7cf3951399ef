from __future__ import annotations

from pathlib import Path

import pytest

from likewise import artifacts
from likewise.stages import pairs
from tests.small import make, params


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make(tmp_path / "project")


def test_pairs_are_balanced_true_and_of_their_split(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs.run(params(project, "pairs", train=101, genuine_share=0.3), project)
    samples = artifacts.SAMPLES.read(project).set_index("id")
    for split, count, genuine in (("train", 101, 30), ("val", 60, 18), ("test", 160, 48)):
        frame = artifacts.PAIRS[split].read(project)
        assert (len(frame), int(frame["same"].sum())) == (count, genuine)
        left, right = (samples.loc[frame[side]].reset_index() for side in ("left", "right"))
        assert ((left["class"] == right["class"]) == (frame["same"] == 1)).all()
        assert set(left["split"]) | set(right["split"]) == {split}
        assert not {*left["class"].isna(), *right["class"].isna()} - {False}
        either_way = {frozenset(pair) for pair in zip(frame["left"], frame["right"], strict=True)}
        assert len(either_way) == count
        assert all(len(pair) == 2 for pair in either_way)
    assert capsys.readouterr().out.splitlines()[1] == "pairs: val: 60 pairs, 18 of them genuine"


def test_the_order_of_the_samples_does_not_matter_and_the_seed_does(project: Path) -> None:
    def drawn(seed: int) -> list[bytes]:
        pairs.run(params(project, "pairs", seed=seed), project)
        return [(project / table.path).read_bytes() for table in artifacts.PAIRS.values()]

    first = drawn(0)
    samples = artifacts.SAMPLES.read(project)
    artifacts.SAMPLES.write(samples.sample(frac=1, random_state=3), project)
    assert drawn(0) == first
    assert not set(drawn(1)) & set(first)


@pytest.mark.parametrize(
    ("split", "asked", "words"),
    [
        ("train", 400, "pairs.train: 200 genuine and 200 impostor pairs were asked for, but .* have 168 genuine"),
        ("val", 80, "pairs.val: 40 genuine and 40 impostor pairs .* have 33 genuine and 220 impostor pairs"),
        ("test", 10**9, "pairs.test: .* have 90 genuine and 540 impostor pairs"),
    ],
)
def test_too_many_pairs_are_refused_with_the_number_that_exist(
    project: Path, split: str, asked: int, words: str
) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        pairs.run(params(project, "pairs", **{split: asked}), project)
    assert len(str(caught.value).splitlines()) == 1


def test_missing_samples_say_what_to_do(tmp_path: Path) -> None:
    root = make(tmp_path / "project", data=False)
    with pytest.raises(artifacts.ArtifactError, match=r"samples\.parquet: missing; run `dvc repro`"):
        pairs.run(params(root, "pairs"), root)

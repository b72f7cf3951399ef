from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise import artifacts
from likewise.stages import pairs
from tests.small import make, params


@st.composite
def forged_samples(draw: st.DrawFn) -> pd.DataFrame:
    """Samples of all splits in any order: two to four classes of two or three samples, some with forgeries."""
    rows = [
        (split, f"k{number}" if not forged else None, f"k{number}" if forged else None)
        for split in artifacts.SPLITS
        for number in range(draw(st.integers(2, 4)))
        for forged, count in ((False, draw(st.integers(2, 3))), (True, draw(st.integers(0, 3))))
        for _ in range(count)
    ]
    frame = pd.DataFrame(draw(st.permutations(rows)), columns=["split", "class", "forges"])
    return frame.assign(id=[f"{number:03}" for number in range(len(frame))])


@given(forged_samples(), st.integers(2, 8), st.floats(0.01, 0.99), st.floats(0, 1), st.integers(0, 9))
@settings(deadline=None, max_examples=40)
def test_no_genuine_pair_holds_a_forgery_whatever_the_split_and_the_shares(
    samples: pd.DataFrame, count: int, genuine_share: float, skilled_share: float, seed: int
) -> None:
    asked = pairs.Params(
        train=count, val=count, test=count, genuine_share=genuine_share, skilled_share=skilled_share, seed=seed
    )
    known = samples.set_index("id")
    for split in artifacts.SPLITS:
        members = samples[samples["split"] == split]
        try:
            frame = pairs.draw(members, split, asked)
        except ValueError as error:
            assert str(error).startswith(f"pairs.{split}: ")  # noqa: PT017 - a draw may ask for more than there is
            continue
        left, right = (known.loc[frame[side]].reset_index() for side in ("left", "right"))
        forged = right["forges"].notna()
        assert left["forges"].isna().all()
        assert not (frame["same"] == 1)[forged].any()
        assert (left["class"] == right["forges"])[forged].all()
        assert ((left["class"] == right["class"]) == (frame["same"] == 1)).all()
        assert {*left["split"], *right["split"]} == {split}
        impostors = int((frame["same"] == 0).sum())
        some = members["forges"].notna().any()
        assert forged.sum() == (int(impostors * skilled_share + 0.5) if some else 0)


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


def test_listed_trials_are_the_test_pairs_all_and_in_their_order(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs.run(params(project, "pairs"), project)
    before = {split: artifacts.PAIRS[split].read(project) for split in artifacts.SPLITS}
    names = artifacts.SAMPLES.read(project).query("split == 'test'")["id"].tolist()
    listed = pd.DataFrame({"left": names[9:4:-1], "right": names[20:25], "same": np.array([1, 0, 0, 1, 0], np.int8)})
    artifacts.TRIALS.write(listed, project)
    pairs.run(params(project, "pairs", test=2), project)
    for split, expected in (before | {"test": listed}).items():
        pd.testing.assert_frame_equal(artifacts.PAIRS[split].read(project), expected, check_dtype=False)
    said = "pairs: test: 5 pairs, 2 of them genuine, all as listed (ingest.trials)"
    assert capsys.readouterr().out.splitlines()[-1] == said


def give(root: Path) -> pd.DataFrame:
    """Write all pairs of each split as if the source had given them, one in four genuine or more, in any order."""
    samples = artifacts.SAMPLES.read(root).dropna(subset=["class"])
    every = samples.merge(samples, on="split").query("id_x < id_y").sample(frac=1, random_state=1)
    same = (every["class_x"] == every["class_y"]).astype(np.int8)
    frame = pd.DataFrame({"left": every["id_y"], "right": every["id_x"], "same": same, "carried.n": range(len(every))})
    artifacts.GIVEN_PAIRS.write(frame.reset_index(drop=True), root)
    return frame.assign(split=every["split"]).reset_index(drop=True)


def test_given_pairs_are_taken_whole_or_so_many_at_most(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = give(project)
    pairs.run(params(project, "pairs", train=None, val=50, test=10**6), project)
    told = capsys.readouterr().out.splitlines()
    for split, count in (("train", None), ("val", 50), ("test", None)):
        frame = artifacts.PAIRS[split].read(project)
        own = given[given["split"] == split][["left", "right", "same"]].reset_index(drop=True)
        if count is None:
            pd.testing.assert_frame_equal(frame, own, check_dtype=False)
            continue
        merged = own.reset_index().merge(frame, on=["left", "right"], suffixes=("", "_taken"))
        assert len(merged) == len(frame) == count
        assert merged["index"].is_monotonic_increasing
        assert (merged["same"] == merged["same_taken"]).all()
        assert frame["left"].tolist() == merged["left"].tolist()
        assert abs(frame["same"].sum() - count * own["same"].mean()) <= 1
    assert told[0].endswith(", all that are given")
    assert told[1] == f"pairs: val: 50 pairs, {frame_of(project, 'val')} of them genuine, drawn from 253 that are given"


def frame_of(root: Path, split: str) -> int:
    return int(artifacts.PAIRS[split].read(root)["same"].sum())


def test_which_pairs_are_taken_depends_on_the_seed_and_not_on_order_or_sides(project: Path) -> None:
    give(project)

    def taken(seed: int) -> set[frozenset[str]]:
        pairs.run(params(project, "pairs", train=40, val=20, test=20, seed=seed), project)
        frame = artifacts.PAIRS["train"].read(project)
        return {frozenset(pair) for pair in zip(frame["left"], frame["right"], strict=True)}

    first = taken(0)
    table = artifacts.GIVEN_PAIRS.read(project).sample(frac=1, random_state=5)
    turned = table.rename(columns={"left": "right", "right": "left"})[list(table.columns)]
    artifacts.GIVEN_PAIRS.write(turned, project)
    assert taken(0) == first
    assert taken(1) != first


def test_drawn_pairs_need_a_count(project: Path) -> None:
    with pytest.raises(
        ValueError, match=r"^pairs\.val: null takes all the pairs that a source gives, and these are drawn"
    ):
        pairs.run(params(project, "pairs", val=None), project)


def with_forgeries(root: Path, *, each: int) -> pd.DataFrame:
    """Make the last samples of each class and split forgeries of it."""
    samples = artifacts.SAMPLES.read(root)
    late = samples.groupby(["split", "class"]).cumcount(ascending=False) < each
    fake = late & samples["class"].notna()
    samples = samples.assign(**{"class": samples["class"].mask(fake), "forges": samples["class"].where(fake)})
    artifacts.SAMPLES.write(samples, root)
    return samples.set_index("id")


def test_a_share_of_the_impostors_is_skilled(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = with_forgeries(project, each=1)
    pairs.run(params(project, "pairs", train=60, val=20, test=60, skilled_share=0.4), project)
    for split, skilled in (("train", 12), ("val", 4), ("test", 12)):
        frame = artifacts.PAIRS[split].read(project)
        forged = samples["forges"][frame["right"]].notna().to_numpy()
        assert forged.sum() == skilled
        assert (frame["same"][forged] == 0).all()
    assert capsys.readouterr().out.splitlines()[1] == "pairs: val: 20 pairs, 10 of them genuine, 4 with a forgery"
    with pytest.raises(ValueError, match=r"^pairs\.val: 24 pairs of a sample and a forgery .* there are 17: "):
        pairs.run(params(project, "pairs", train=30, val=30, genuine_share=0.2, skilled_share=1.0), project)


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

from __future__ import annotations

from pathlib import Path

import pytest

from likewise import artifacts
from likewise.stages import triplets
from tests.small import CLASSES, EACH, make, params

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
    assert len(str(caught.value).splitlines()) == 1

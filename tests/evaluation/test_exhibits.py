from __future__ import annotations

from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray

from likewise.evaluation import exhibits as module
from likewise.evaluation.exhibits import Shown, exhibits
from likewise.evaluation.portraits import Portrait
from tests.evaluation.judged import samples


def portrait(row: int) -> Portrait:
    return None, f"words of {row}"


@pytest.fixture
def shown() -> Shown:
    return Shown.of(samples(classes=6, each=8), split="test", within="any", portrait=portrait)


def dots(svg: str) -> list[tuple[float, float, str]]:
    found = ElementTree.fromstring(svg).iter("circle")
    return [(float(dot.get("cx", "")), float(dot.get("cy", "")), str(dot[0].text)) for dot in found]


def nearest(vectors: NDArray[Any], probe: int, rows: list[int]) -> int:
    return int(np.argmin([np.linalg.norm(vectors[probe] - vectors[row]) for row in rows]))


def test_samples_of_the_split_are_shown_with_their_own_picture_and_name() -> None:
    of = samples(classes=6, each=8)
    shown = Shown.of(of, split="test", within="group", portrait=portrait)
    first = int(np.flatnonzero(of.frame["split"] == "test")[0])
    side = shown.side(0)
    assert (side.id, side.label, side.words) == (of.frame["id"][first], of.frame["class"][first], f"words of {first}")
    assert shown.groups is not None
    assert set(shown.groups) == {"even", "odd"}


def test_every_sample_of_the_map_can_be_named(shown: Shown) -> None:
    maps = exhibits(shown, ways=3, seed=0).maps
    assert len(maps) == 2
    for figure in maps:
        names = [name for _, _, name in dots(figure.svg)]
        assert sorted(names) == sorted(f"{i}, class {c}" for i, c in zip(shown.ids, shown.labels, strict=True))
        assert "all 48 test samples of 6 classes" in figure.caption
        assert {"k0", "k5"} <= {text.text for text in ElementTree.fromstring(figure.svg).iter("text")}


def test_a_map_of_many_has_some_of_each_class(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAPPED", 12)
    monkeypatch.setattr(module, "COLOURED", 2)
    figure = module.map_figures(shown, seed=0)[0]
    classes = [name.rpartition(" ")[2] for _, _, name in dots(figure.svg)]
    assert sorted(classes) == sorted([f"k{number}" for number in range(6)] * 2)
    assert "12 of 48 test samples" in figure.caption
    assert figure.svg.count("hues") == 1


def test_tasks_are_answered_by_the_nearest_example_and_wrong_ones_come_first(shown: Shown) -> None:
    found = exhibits(shown, ways=4, seed=0)
    rows = {str(name): row for row, name in enumerate(shown.ids)}
    assert len(found.tasks) == module.TASKS
    for task in found.tasks:
        examples = [rows[side.id] for side in task.examples]
        assert len({side.label for side in task.examples}) == 4
        assert task.examples[task.right].label == task.probe.label
        assert task.probe.id not in {side.id for side in task.examples}
        assert task.answer == nearest(shown.embeddings, rows[task.probe.id], examples)
    answers = [task.answer == task.right for task in found.tasks]
    assert answers == sorted(answers)
    assert not answers[0]


def test_confused_classes_are_shown_by_the_samples_that_are_nearest(shown: Shown) -> None:
    found = exhibits(shown, ways=3, seed=0)
    assert 0 < len(found.confusions) <= module.CONFUSED
    for each in found.confusions:
        assert (each.left.label, each.right.label) == (each.label, each.taken_for)
        assert 0 < each.samples <= each.of == 8
    assert f"of {len(shown.ids)} test samples" in found.confusions_note


def test_embeddings_that_confuse_nothing() -> None:
    shown = Shown.of(samples(), split="test", within="any", portrait=portrait)
    apart = replace(shown, embeddings=np.eye(6, dtype=np.float32)[np.unique(shown.labels, return_inverse=True)[1]])
    found = exhibits(apart, ways=3, seed=0)
    assert found.confusions == []
    assert "of the same class for all of 48" in found.confusions_note


@pytest.mark.parametrize(("classes", "each", "maps", "tasks"), [(6, 1, 0, 0), (2, 4, 2, 0), (2, 3, 0, 0), (4, 2, 2, 6)])
def test_what_few_samples_do_not_allow_is_left_out(classes: int, each: int, maps: int, tasks: int) -> None:
    found = exhibits(
        Shown.of(samples(classes=classes, each=each), split="test", within="any", portrait=portrait), ways=3, seed=0
    )
    assert (len(found.maps), len(found.tasks)) == (maps, tasks)


def test_samples_without_classes_show_nothing() -> None:
    of = samples()
    frame = of.frame.assign(**{"class": of.frame["class"].where(of.frame["split"] != "test")})
    found = exhibits(Shown.of(replace(of, frame=frame), split="test", within="any", portrait=portrait), ways=3, seed=0)
    assert (found.maps, found.confusions, found.tasks, found.confusions_note) == ([], [], [], "")


@pytest.mark.parametrize(
    ("label", "short"), [("a", "a"), ("Latin/character07", "character07"), ("x" * 20, "x" * 13 + "…")]
)
def test_names_on_a_map_are_short(label: str, short: str) -> None:
    assert module._short(label) == short

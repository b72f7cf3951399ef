from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from likewise.evaluation import metrics
from likewise.evaluation.tasks import parse
from likewise.evaluation.trials import Samples
from tests.evaluation import judged
from tests.evaluation.judged import few_resamples

__all__ = ["few_resamples"]
pytestmark = pytest.mark.usefixtures("few_resamples")

ALWAYS = [
    "verification",
    "verification_all_pairs",
    "calibration",
    "retrieval",
    "oneshot",
    "openset",
    "clustering",
]


def measured(of: Samples, *, tasks: list[str] | None = None, cohort: Any = None, **changes: Any) -> dict[str, Any]:
    asked = judged.asked(**changes)
    val, test, chosen = judged.trials(of, "val"), judged.trials(of, "test"), judged.decided(of)
    listed = parse(tasks or [], where="tasks.txt")
    found = metrics.all_metrics(of, val, test, chosen, asked, cohort=cohort, tasks=listed)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    return found


def with_columns(of: Samples, **columns: Any) -> Samples:
    return replace(
        of, frame=of.frame.assign(**{name: pd.Series(values, dtype="str") for name, values in columns.items()})
    )


def test_the_sections_are_those_that_the_data_allow_and_that_were_asked_for() -> None:
    of = judged.samples()
    bare = with_columns(of, group=[None] * len(of.frame))
    assert sorted(measured(bare)) == sorted(ALWAYS)
    grouped = measured(of)
    assert sorted(grouped) == sorted([*ALWAYS, "oneshot_within_groups", "slices"])
    assert "classes of one group" in grouped["oneshot_within_groups"]["protocol"]
    assert "classes from anywhere" in grouped["oneshot"]["protocol"]
    full = measured(
        of,
        within="group",
        shots=3,
        tasks=["s048 s049", "s056 s057"],
        cohort=judged.samples(classes=9, seed=5).classed("val"),
        normalisation="s",
    )
    more = ["oneshot_prototypes", "oneshot_tasks", "slices", "verification_normalised"]
    assert sorted(full) == sorted([*ALWAYS, *more])
    assert "classes of one group" in full["oneshot"]["protocol"]
    assert "3-shot" in full["oneshot_prototypes"]["protocol"]
    assert full["oneshot_tasks"]["episodes"] == 1
    assert "s-norm by 9 training classes" in full["verification_normalised"]["protocol"]


def test_every_section_names_its_protocol() -> None:
    for name, section in measured(judged.samples()).items():
        parts = section.values() if name == "slices" else [section]
        assert all(part["protocol"] for part in parts)


def test_without_classes_what_needs_them_is_null_with_a_reason_and_has_the_same_keys() -> None:
    of = judged.samples()
    with_classes = measured(of)
    classless = with_columns(of, **{"class": [None] * len(of.frame)})
    found = measured(classless)
    assert found["verification"]["eer_low"] is None or found["verification"]["protocol"].endswith("over groups")
    assert "slices" not in found
    for name in ("verification_all_pairs", "retrieval", "oneshot", "openset", "clustering"):
        section = found[name]
        assert section["protocol"] == "not measured: no test sample has a class"
        assert {value for key, value in section.items() if key != "protocol"} == {None}
        assert set(section) <= set(with_classes[name])
    figures = {key for key in with_classes["verification_all_pairs"] if key.endswith("_low")}
    assert figures <= set(found["verification_all_pairs"])


@pytest.mark.parametrize(
    ("changes", "name", "words"),
    [
        ({"ways": 7}, "oneshot", "not measured: 7-way episodes need 7 classes"),
        ({"shots": 8}, "openset", "not measured: an open set needs two classes"),
        ({"ways": 4}, "oneshot_within_groups", "not measured: 4-way episodes need 4 classes"),
    ],
)
def test_too_few_classes_are_a_reason_and_no_error(changes: dict[str, Any], name: str, words: str) -> None:
    section = measured(judged.samples(), **changes)[name]
    assert section["protocol"].startswith(words)
    assert {value for key, value in section.items() if key != "protocol"} == {None}


def test_one_class_in_test_is_a_reason() -> None:
    of = judged.samples()
    one = of.frame["class"].where(of.frame["class"] == "k0")
    marked = with_columns(of, **{"class": one.where(of.frame["split"] == "test", of.frame["class"])})
    found = measured(marked)
    assert found["verification_all_pairs"]["protocol"] == (
        "not measured: none of the 28 pairs is impostor; error rates need pairs of both kinds"
    )
    assert found["clustering"]["protocol"] == "not measured: a single class has nothing to be told from"
    assert found["openset"]["protocol"].startswith("not measured: an open set needs two classes")
    assert found["retrieval"]["recall_at_1"] == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"slices": ["taken"]}, r"^evaluate\.slices: samples have no column 'taken'; they have: taken in, "),
        (
            {"tasks": ["s048 s049", "s056 nobody"]},
            r"^evaluate\.tasks: tasks\.txt: line 2: 'nobody' is no sample of val",
        ),
        (
            {"normalisation": "as", "cohort_top": 10, "cohort": judged.samples(classes=9, seed=5).classed("val")},
            r"^evaluate\.normalisation: 10 cohort scores were asked for out of 9",
        ),
    ],
)
def test_what_was_asked_for_by_name_and_cannot_be_had_is_one_line(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        measured(judged.samples(), **changes)
    assert len(str(caught.value).splitlines()) == 1


def test_the_order_of_the_samples_changes_nothing() -> None:
    of = judged.samples()
    order = np.random.default_rng(0).permutation(len(of.frame))
    mixed = Samples(of.frame.iloc[order].reset_index(drop=True), of.embeddings[order], of.distance)
    one, other = measured(of), measured(mixed)
    for name in ALWAYS:
        assert {key: pytest.approx(value, abs=1e-7) for key, value in one[name].items()} == other[name]

from __future__ import annotations

import pandas as pd
import pytest

from likewise.data.forgeries import classes, imitated, refuse_astray, with_groups
from likewise.data.raw import Raw


def test_a_forgery_takes_the_only_group_of_its_class_unless_it_has_one() -> None:
    raws = [
        Raw("1", "Ann", "", "north"),
        Raw("2", "Bob", "", "north"),
        Raw("3", "Bob", "", "south"),
        Raw("4", None, "", "east", forges="Ann"),
        *(Raw(f"5{name}", None, "", forges=name) for name in ("Ann", "Bob", "Eve")),
        Raw("6", "Ann", "", "north"),
        Raw("7", None, ""),
    ]
    assert [raw.group for raw in with_groups(raws)] == [
        *("north", "north", "south", "east"),
        *("north", None, None),
        *("north", None),
    ]
    assert [imitated(raw) for raw in raws] == ["Ann", "Bob", "Bob", "Ann", "Ann", "Bob", "Eve", "Ann", None]


def frame(*rows: tuple[str | None, str | None, str | None]) -> pd.DataFrame:
    samples = pd.DataFrame(rows, columns=["class", "forges", "group"])
    return samples.assign(id=[str(number) for number in range(len(rows))])


def test_a_forgery_must_meet_its_class_in_its_group() -> None:
    met = frame(("a", None, "g"), ("a", None, "h"), (None, "a", "h"), ("b", None, "h"), (None, "b", "h"))
    refuse_astray(met)
    refuse_astray(met[["id", "class", "group"]])
    with pytest.raises(
        ValueError, match=r"^1 forgeries are of a group .* such as 2 \(group i, class a\): give them the group"
    ):
        refuse_astray(frame(("a", None, "g"), ("b", None, "i"), (None, "a", "i"), (None, "b", "i")))


def test_frames_without_forgeries_have_their_classes() -> None:
    samples = frame(("a", None, None), (None, "b", None), (None, None, None))
    assert classes(samples).fillna("").tolist() == ["a", "b", ""]
    assert classes(samples[["class"]]).fillna("").tolist() == ["a", "", ""]

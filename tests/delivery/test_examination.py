from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

from likewise.delivery import examination
from likewise.delivery.examination import Finding


def test_every_check_is_run_in_its_order_and_none_stops_the_others() -> None:
    def broken() -> Iterator[Finding]:
        yield Finding("b", "ok", "never told")
        raise RuntimeError("two\nlines")

    found = examination.examine(
        {"a": lambda: [Finding("a", "ok", "fine"), Finding("a", "note", "but", "do")], "b": broken, "c": lambda: []}
    )
    assert found == [
        Finding("a", "ok", "fine"),
        Finding("a", "note", "but", "do"),
        Finding("b", "problem", "could not be checked: two", "see the message"),
    ]


def test_a_check_that_takes_too_long_is_told_of_and_not_waited_for() -> None:
    held = threading.Event()

    def slow() -> list[Finding]:
        held.wait(20)
        return []

    start = time.monotonic()
    found = examination.examine({"slow": slow, "quick": lambda: [Finding("quick", "ok", "fine")]}, seconds=0.3)
    took = time.monotonic() - start
    held.set()
    assert took < 5
    assert [(each.topic, each.state) for each in found] == [("slow", "note"), ("quick", "ok")]
    assert found[0].text == "no answer within 0.3 s"


def test_what_to_do_stands_below_what_is_so() -> None:
    text = examination.as_text([Finding("disk", "ok", "plenty"), Finding("dvc", "note", "no remote", "add one")])
    assert text == "ok       disk         plenty\nnote     dvc          no remote\n                      -> add one"


def test_the_nearest_folder_that_is_there(tmp_path: Path) -> None:
    assert examination.within(tmp_path / "not" / "there") == tmp_path

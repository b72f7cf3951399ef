"""docs/benchmarks.md says what was measured: it is written from the results, and every benchmark has one."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest

from benchmarks import table
from benchmarks.table import Goal
from tests.imports import ROOT

RESULTS = table.load()
SCRIPTS = {path.stem for path in (ROOT / "benchmarks").glob("*.py")} - {"__init__", "timing", "table"}


def test_it_is_what_the_script_writes() -> None:
    assert table.DOCUMENT.read_text(encoding="utf-8") == table.document(RESULTS)


def test_every_script_has_a_result_and_a_place() -> None:
    assert set(RESULTS) == SCRIPTS == set(table.GOALS)


def test_make_bench_runs_every_script_and_then_the_table() -> None:
    # Under `make test` this make would announce its folder.
    command = ["make", "--no-print-directory", "--dry-run", "-o", "setup", "bench"]
    said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    scripts = re.findall(r"benchmarks/(\w+)\.py", said)
    assert sorted(scripts) == sorted(SCRIPTS)
    assert said.rstrip().endswith("-m benchmarks.table")


@pytest.mark.parametrize("name", table.GOALS)
def test_every_goal_is_of_a_line_that_was_measured(name: str) -> None:
    lines = [(line["work"], line["peer_name"]) for line in RESULTS[name]["lines"]]
    assert len(set(lines)) == len(lines)
    assert set(table.GOALS[name]) <= set(lines)


def measured(ratio: float, ours: int, peer: int) -> dict[str, Any]:
    side = {"median_s": 2.0, "min_s": 1.0, "max_s": 3.0}
    ratios = {"ratio": ratio, "ratio_min": ratio, "ratio_max": ratio}
    return {"work": "w", "peer_name": "p", "ours": side, "peer": side, **ratios, "ours_bytes": ours, "peer_bytes": peer}


@pytest.mark.parametrize(
    ("goal", "line", "expected"),
    [
        (Goal(speed=40), measured(40.0, 1, 1), True),
        (Goal(speed=40), measured(39.9, 1, 1), False),
        (Goal(time=3), measured(0.334, 1, 1), True),
        (Goal(time=3), measured(0.333, 1, 1), False),
        (Goal(memory=0.1), measured(1.0, 10, 100), True),
        (Goal(memory=0.1), measured(1.0, 11, 100), False),
        (Goal(megabytes=1), measured(1.0, 10**6, 1), True),
        (Goal(megabytes=1), measured(1.0, 10**6 + 1, 1), False),
        (Goal(seconds=2), measured(1.0, 1, 1), True),
        (Goal(seconds=1.9), measured(1.0, 1, 1), False),
        (Goal(speed=2, memory=0.1), measured(3.0, 50, 100), False),
    ],
)
def test_a_goal_is_reached_only_in_all_its_parts(goal: Goal, line: dict[str, Any], expected: bool) -> None:
    assert table.reached(line, goal) == expected
    assert table.verdict(line, goal) == ("yes" if expected else "**no**")


def test_a_peer_that_fails_is_named_and_gives_no_verdict_on_times() -> None:
    line = {"work": "w", "peer_name": "p", "ours_bytes": 5, "peer_failed": "within 8 GB: why"}
    assert table.row(line, Goal(speed=1)).split(" | ")[3:5] == ["fails within 8 GB: why", "-"]
    assert table.verdict(line, Goal(speed=1)) == "the peer fails"


def test_a_figure_that_is_missing_gives_no_verdict() -> None:
    line = {"work": "w", "peer_name": "p", "ours_bytes": None, "peer_bytes": 5}
    assert table.verdict(line, Goal(megabytes=1)) == "not measured"
    assert table.verdict(line | {"ours_bytes": 5}, Goal(speed=1, memory=1)) == "not measured"
    assert table.verdict(line | {"ours_bytes": 5}, Goal(memory=1)) == "yes"

from __future__ import annotations

import io
import json
import re

import pytest

from likewise.commands import output
from likewise.delivery.examination import Finding, as_text
from likewise.delivery.lineage_text import Section


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> pytest.CaptureFixture[str]:
    """What is printed, by commands that take it for a terminal."""
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(output, "_on_terminal", lambda: True)
    return capsys


ROWS = [["a.png", "[red]ann[/red]"], ["b\n.png", "nobody"]]


def test_in_a_pipe_there_are_lines_with_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    output.as_table(("sample", "who"), ROWS)
    assert capsys.readouterr().out == "sample\twho\na.png\t[red]ann[/red]\nb\\n.png\tnobody\n"
    output.as_facts("same", {"distance": "0.1", "probability": "99.0%"}, good=True)
    assert capsys.readouterr().out == "same\ndistance     0.1\nprobability  99.0%\n"


def test_a_terminal_is_drawn_a_table_and_names_are_no_styles(terminal: pytest.CaptureFixture[str]) -> None:
    output.as_table(("sample", "who"), ROWS)
    drawn = terminal.readouterr().out
    assert "[red]ann[/red]" in drawn
    assert "\t" not in drawn
    assert "─" in drawn
    assert "b\\n.png" in drawn


@pytest.mark.parametrize(("good", "code"), [(True, "\x1b[1;32m"), (False, "\x1b[1;31m"), (None, "\x1b[1m")])
def test_the_answer_has_its_colour_on_a_terminal(
    terminal: pytest.CaptureFixture[str], good: bool | None, code: str
) -> None:
    output.as_facts("word", {"distance": "0.1"}, good=good)
    assert terminal.readouterr().out == f"{code}word\x1b[0m\ndistance  0.1\n"


def test_no_color_is_heeded(terminal: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    output.as_facts("word", {"distance": "0.1"}, good=True)
    assert terminal.readouterr().out in ("word\ndistance  0.1\n", "\x1b[1mword\x1b[0m\ndistance  0.1\n")


FOUND = [
    Finding("disk", "ok", "[b]plenty[/b]"),
    Finding("dvc", "note", "no remote", "add one"),
    Finding("gpu", "problem", "x"),
]


def test_findings_are_lines_in_a_pipe_and_marks_on_a_terminal(
    capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    output.as_findings(FOUND, as_text(FOUND))
    assert capsys.readouterr().out == as_text(FOUND) + "\n"
    terminal = request.getfixturevalue("terminal")
    output.as_findings(FOUND, as_text(FOUND))
    drawn = terminal.readouterr().out
    for words in ("\x1b[1;32m✓", "\x1b[1;33m!", "\x1b[1;31m✗", "[b]plenty[/b]", "\x1b[33m→ add one"):
        assert words in drawn
    assert "problem" not in drawn


SECTIONS = [
    Section("likewise 2", "table", (("registered", "today"), ("run", "word " * 20 + "end"))),
    Section("Notes", "list", (("", "[red]known[/red]"),)),
    Section("Commands", "lines", (("", "git checkout " + "f" * 80),)),
]


def test_sections_are_plain_in_a_pipe_and_as_wide_as_the_terminal_there(
    capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    output.as_sections(SECTIONS, "plain")
    assert capsys.readouterr().out == "plain\n"
    terminal = request.getfixturevalue("terminal")
    output.as_sections(SECTIONS, "plain")
    drawn = terminal.readouterr().out
    assert drawn.startswith("\x1b[1mlikewise 2\x1b[0m\n  \x1b[36mregistered\x1b[0m  today")
    assert "[red]known[/red]" in drawn
    # A command is copied as it stands; all else keeps to the 60 columns.
    assert "git checkout " + "f" * 80 in drawn
    monkeypatch.setenv("NO_COLOR", "1")
    output.as_sections(SECTIONS[:2], "plain")
    assert max(len(re.sub(r"\x1b\[\d*m", "", line)) for line in terminal.readouterr().out.splitlines()) <= 60
    output.as_sections([], "nothing was found")
    assert terminal.readouterr().out == "nothing was found\n"


def test_a_terminal_that_understands_ascii_alone_is_taken_for_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding, expected in (("utf-8", True), ("latin-1", False)):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
        monkeypatch.setattr("sys.stdout", stream)
        assert output._on_terminal() is expected


def test_json_is_one_line_and_knows_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    output.as_json({"name": None, "of": "Zoë"})
    said = capsys.readouterr().out
    assert json.loads(said) == {"name": None, "of": "Zoë"}
    assert said.count("\n") == 1
    with pytest.raises(ValueError, match="not JSON compliant"):
        output.as_json({"distance": float("nan")})

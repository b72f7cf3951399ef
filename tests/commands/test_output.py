from __future__ import annotations

import json

import pytest

from likewise.commands import output


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


def test_json_is_one_line_and_knows_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    output.as_json({"name": None, "of": "Zoë"})
    said = capsys.readouterr().out
    assert json.loads(said) == {"name": None, "of": "Zoë"}
    assert said.count("\n") == 1
    with pytest.raises(ValueError, match="not JSON compliant"):
        output.as_json({"distance": float("nan")})

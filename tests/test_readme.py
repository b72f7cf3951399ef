"""The README says what is true: its commands are the ones the tests run, and every module has its caption."""

from __future__ import annotations

import ast
import re

import pytest

from tests.imports import ROOT, modules

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_its_two_commands_are_those_that_are_tested() -> None:
    block = README.split("## Two commands")[1].split("```")[1]
    assert re.findall(r"^make \w+", block, flags=re.MULTILINE) == ["make repro", "make test"]
    assert "make test" in (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert '"make", "-o", ".venv/installed", "repro"' in (ROOT / "tests/conftest.py").read_text(encoding="utf-8")
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert {"repro", "test", "ui"} <= targets


@pytest.mark.parametrize("module", [name for name, path in modules().items() if path.name != "__init__.py"])
def test_every_module_has_its_caption(module: str) -> None:
    path = modules()[module]
    caption = str(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))).splitlines()[0].rstrip(".")
    assert f"| `{path.name}` | {caption.replace('|', chr(92) + '|')} |" in README


@pytest.mark.parametrize("name", re.findall(r"`(recipes/\w+\.yaml|docs/\w+\.md|flows/\w+\.py|\w+\.toml)`", README))
def test_files_it_names_exist(name: str) -> None:
    assert (ROOT / name).is_file()

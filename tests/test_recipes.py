"""The recipes are what their heads say."""

from __future__ import annotations

from tests.imports import ROOT


def below_the_head(file: str) -> str:
    text = (ROOT / file).read_text(encoding="utf-8")
    return text[text.index("\ningest:") :]


def test_digits_are_the_default_params() -> None:
    assert below_the_head("recipes/digits.yaml") == below_the_head("params.yaml")

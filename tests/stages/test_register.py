from __future__ import annotations

import pytest
from pydantic import ValidationError

from likewise.stages import register
from tests.small import Fresh, params


def test_it_says_what_it_made_and_again_what_was_there(fresh: Fresh, capsys: pytest.CaptureFixture[str]) -> None:
    root = fresh()
    for _ in range(2):
        register.run(params(root, "register", name="mine"), root)
    assert capsys.readouterr().out.splitlines() == [
        "register: new version mine 1 (champion)",
        "register: promoted: there was no champion",
        "register: already there: mine 1 (champion)",
    ]


def test_an_experiment_registers_nothing_aloud(
    fresh: Fresh, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "tried")
    root = fresh()
    before = (root / "mlflow.db").read_bytes()
    register.run(params(root, "register"), root)
    assert capsys.readouterr().out.startswith("register: skipped, an experiment registers nothing; ")
    assert (root / "mlflow.db").read_bytes() == before


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "it's", " x"])
def test_a_name_that_an_address_cannot_hold_is_refused(fresh: Fresh, name: str) -> None:
    with pytest.raises(ValidationError, match="name"):
        params(fresh(), "register", name=name)

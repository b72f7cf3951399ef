"""A sweep's study: what comes next, what is ended early, what is the best; nothing is trained here."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import TrialState
from ruamel.yaml import YAML

from flows import study as studies
from flows import sweep_record
from flows.study import Study, StudyError
from likewise import config
from likewise.delivery.labels import flat
from likewise.stages import settings, sweep_params, train_params
from tests.imports import ROOT

TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")
WHOLE: dict[str, Any] = config.read_yaml(ROOT / "params.yaml")
TRAIN: dict[str, Any] = WHOLE["train"]
SPACE: dict[str, Any] = {
    "learning_rate": {"low": 0.0005, "high": 0.02, "log": True},
    "margin": {"low": 0.05, "high": 0.6},
    "epochs": {"low": 4, "high": 20, "step": 4},
    "mining": {"choices": ["all", "semihard"]},
}


def block(**changes: Any) -> sweep_params.Params:
    given = {"trials": 12, "seed": 0, "random": 4, "prune_after": 2, "prune_epoch": 2, "space": SPACE, "variants": []}
    return sweep_params.Params.model_validate({**given, **changes})


def study(storage: BaseStorage | None = None, **changes: Any) -> Study:
    return Study(block(**changes), TRAIN, key="k", storage=storage or InMemoryStorage())


def figure(tried: Mapping[str, Any]) -> float:
    """What the training of some settings would come to: lowest at a rate of 0.002 and a margin of 0.3."""
    return abs(math.log(float(tried["learning_rate"]) / 0.002)) / 10 + abs(float(tried["margin"]) - 0.3) + 0.01


def run(one: Study, total: int) -> list[dict[str, Any]]:
    tried = []
    while (asked := one.ask(total)) is not None:
        tried.append(asked.settings)
        one.complete(asked.number, figure(asked.settings))
    return tried


def test_the_same_seed_and_results_give_the_same_trials() -> None:
    tried = run(study(), 12)
    assert len(tried) == 12
    assert tried == run(study(), 12)
    assert tried != run(study(seed=1), 12)
    assert tried[0] == {key: TRAIN[key] for key in SPACE}, "params.yaml itself is the first"


def test_later_trials_are_nearer_the_best_than_random_ones() -> None:
    figures = [figure(each) for each in run(study(trials=40), 40)]
    assert statistics.mean(figures[-15:]) < statistics.mean(figures[1:5])
    assert min(figures) < 0.6 * figures[0]


def test_a_sweep_that_was_cut_short_goes_on_as_if_it_had_not_been() -> None:
    whole, storage = run(study(), 12), InMemoryStorage()
    first = study(storage)
    for _ in range(6):
        asked = first.ask(12)
        assert asked is not None
        first.complete(asked.number, figure(asked.settings))
    left = first.ask(12)
    assert left is not None
    first.runs(left.number, "its Prefect run")

    second = study(storage)
    assert second.retry() == ["its Prefect run"]
    assert second.trial(left.number).state == TrialState.FAIL
    assert second.trial(left.number).user_attrs[studies.RETRIED]
    assert run(second, 12) == whole[6:]
    assert second.counted() == 12
    assert second.retry() == []
    text = sweep_record.summary(second)
    assert "cut short, started again" in text
    assert "12 trials: 12 whole." in text


def test_more_trials_go_on_with_the_same_study() -> None:
    storage = InMemoryStorage()
    early = run(study(storage, trials=5), 5)
    assert early + run(study(storage, trials=12), 12) == run(study(), 12)


def test_a_database_keeps_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'sweeps.db'}"
    early = run(Study(block(), TRAIN, key="k", storage=url), 3)
    again = Study(block(), TRAIN, key="k", storage=url)
    assert [trial.user_attrs[studies.SETTINGS] for trial in again.trials()] == early


def test_a_study_is_named_by_what_its_figures_depend_on() -> None:
    name = studies.name_of(block(), TRAIN, "k")
    assert name == studies.name_of(block(trials=99), TRAIN, "k")
    assert name == studies.name_of(block(), {**TRAIN, "margin": 0.5}, "k"), "the best was applied"
    others = [
        studies.name_of(block(), TRAIN, "other data"),
        studies.name_of(block(seed=1), TRAIN, "k"),
        studies.name_of(block(), {**TRAIN, "embedding": 32}, "k"),
        studies.name_of(block(space={**SPACE, "margin": {"low": 0.05, "high": 0.7}}), TRAIN, "k"),
    ]
    assert len({name, *others}) == 5


def ended_early(courses: list[list[float]], course: list[float], *, after: int, first: int) -> int | None:
    """The rule by hand: the epoch after which a trial is ended, given the courses of the whole trials."""
    for epoch in range(1, len(course) + 1):
        others = [each[epoch - 1] for each in courses if len(each) >= epoch]
        if len(courses) >= after and epoch >= first and others and min(course[:epoch]) > statistics.median(others):
            return epoch
    return None


def test_trials_are_ended_early_by_the_rule() -> None:
    draw = np.random.default_rng(0)
    one = study(trials=30)
    whole: list[list[float]] = []
    ends: list[int | None] = []
    while (asked := one.ask(30)) is not None:
        course = (draw.uniform(0.05, 0.4) * np.exp(-draw.uniform(0, 0.5) * np.arange(6))).tolist()
        wanted = ended_early(whole, course, after=2, first=2)
        found = next((e for e, value in enumerate(course, 1) if one.report(asked.number, e, value)), None)
        assert found == wanted
        ends.append(found)
        if found is None:
            whole.append(course)
            one.complete(asked.number, min(course))
        else:
            one.prune(asked.number, studies.early(found, course[found - 1]))
    assert set(ends) >= {None, 2}, "some are whole, some are not"
    assert len(one.trials(TrialState.PRUNED)) == sum(end is not None for end in ends)


FEW: dict[str, Any] = {"mining": {"choices": ["all", "semihard"]}}


def test_settings_that_were_tried_are_not_tried_again() -> None:
    one = study(space=FEW)
    tried = []
    while (asked := one.ask(6)) is not None:
        tried.append(asked.settings["mining"])
        one.report(asked.number, 1, 0.3)
        one.complete(asked.number, 0.1)
    assert sorted(tried) == ["all", "semihard"]
    assert [trial.value for trial in one.trials(TrialState.COMPLETE)] == [0.1] * 6
    assert "as trial 0" in sweep_record.summary(one)


def test_trials_side_by_side_with_the_same_settings_share_the_result() -> None:
    one = study(space=FEW)
    running = [asked for asked in (one.ask(6), one.ask(6), one.ask(6)) if asked is not None]
    assert len(running) == 2
    assert len(one.trials(TrialState.RUNNING)) == 6
    one.complete(running[0].number, 0.2)
    one.fail(running[1].number, "out of memory")
    assert not one.trials(TrialState.RUNNING)
    best = one.best()
    assert best is not None
    assert best.number == running[0].number


def test_a_sweep_gives_up_when_everything_fails() -> None:
    one = study()
    for _ in range(studies.FAILURES):
        asked = one.ask(12)
        assert asked is not None
        one.fail(asked.number, "disk full")
    with pytest.raises(StudyError, match="the last 3 trials failed; the last one: disk full"):
        one.ask(12)


def test_two_sweeps_of_one_study_do_not_run_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with studies.held("sweep-1"), studies.held("sweep-2"), pytest.raises(StudyError, match="by another process"):  # noqa: SIM117
        with studies.held("sweep-1"):
            pass


SUPCON = {"loss": "supcon", "distance": "cosine", "margin": None, "mining": None}
AS_IT_IS = {key: TRAIN[key] for key in SUPCON}


def test_params_yaml_is_the_first_trial_where_it_lies_in_the_space() -> None:
    rate = {"learning_rate": SPACE["learning_rate"]}
    assert studies.start(block(), TRAIN) == {key: TRAIN[key] for key in SPACE}
    assert studies.start(block(), {**TRAIN, "margin": 0.7}) is None
    assert studies.start(block(), {**TRAIN, "epochs": 13}) is None
    assert studies.start(block(), {**TRAIN, "mining": "hard"}) is None
    assert studies.start(block(space=rate, variants=[SUPCON]), TRAIN) is None
    assert studies.start(block(space=rate, variants=[SUPCON, AS_IT_IS]), TRAIN) == {
        "learning_rate": TRAIN["learning_rate"],
        studies.VARIANT: 1,
    }


def test_variants_are_set_whole_and_numbers_are_rounded_within_their_range() -> None:
    params = block(space={"ema": {"low": 0.12345, "high": 0.98765}}, variants=[SUPCON, AS_IT_IS])
    assert studies.settings_of(params, {"ema": 0.123451, studies.VARIANT: 0}) == {"ema": 0.12345, **SUPCON}
    assert studies.settings_of(params, {"ema": 0.45678, studies.VARIANT: 1}) == {"ema": 0.457, **AS_IT_IS}
    for each in run(study(trials=8), 8):
        train_params.Params.model_validate(sweep_params.merged(TRAIN, each))


def test_the_best_becomes_a_params_file() -> None:
    one = study()
    tried = run(one, 12)
    best = min(tried, key=figure)
    given = flat(YAML(typ="safe", pure=True).load(sweep_record.best_file(one)))
    assert given == {f"train.{key}": value for key, value in best.items()}
    applied = flat(YAML(typ="safe", pure=True).load(settings.written(TEXT, given)))
    assert {key: applied[key] for key in given} == given
    assert {key for key in applied if applied[key] != flat(WHOLE)[key]} <= set(given)


def test_the_summary_says_what_to_do_and_what_mattered() -> None:
    one = study(trials=20)
    run(one, 20)
    text = sweep_record.summary(one, run_id="1a2b")
    best = one.best()
    assert best is not None
    assert "`likewise apply runs:/1a2b/best.yaml`" in text
    assert f"Trial {best.number} is the best: EER on val {best.value:.3%}" in text
    rows = [line for line in text.partition("## Trials")[2].splitlines() if line.startswith("|")]
    assert len(rows) == 22
    assert rows[2].startswith(f"| {best.number} | ")
    shares = one.importances()
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["mining"] < max(shares["learning_rate"], shares["margin"]), "mining changes nothing here"
    assert all(f"| {key} | " in text for key in SPACE)


def test_a_summary_of_nothing() -> None:
    one = study()
    assert sweep_record.best_file(one) == ""
    assert "likewise apply" not in sweep_record.summary(one)

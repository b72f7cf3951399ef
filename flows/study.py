"""A sweep's study: which settings come next, which trial is ended early, and which is the best; kept by optuna.

The study lies outside the pipeline, under a name made of what its figures depend on: a sweep that was cut short, or is
given more trials, goes on; one over other data, code or settings is another study.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from likewise.config import cache_folder
from likewise.stages import sweep_params

VARIANT = "variant"
DIGITS = 3
"""Significant digits of a drawn number: more would say nothing, and nobody could read them."""

FAILURES = 3
"""After so many failed trials in a row the sweep gives up: something is wrong with more than the settings."""

SETTINGS, REASON, RUN, RETRIED, TWIN = "settings", "reason", "run", "retried", "twin"
"""What is noted of a trial: its settings, why it ended, the Prefect run, that it was started again, whom it is like."""

ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


class StudyError(RuntimeError):
    """Why a study cannot go on, in one line."""


@dataclass(frozen=True)
class Asked:
    """A trial to run: its number, and the settings of train that it tries, by dotted key."""

    number: int
    settings: dict[str, Any]


class Study:
    """The trials of one sweep so far.

    Args:
        params: the `sweep` block.
        train: the `train` block that the settings change; where it lies in the space it is the first trial.
        key: what the val EER of a trial depends on besides its settings: data, code, libraries.
        storage: a database, or its address; by default `LIKEWISE_SWEEPS`, or a SQLite file in the cache folder.
    """

    def __init__(
        self,
        params: sweep_params.Params,
        train: Mapping[str, Any],
        *,
        key: str,
        storage: str | BaseStorage | None = None,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.params, self.name = params, name_of(params, train, key)
        self._distributions = distributions(params)
        self._asked: dict[int, optuna.Trial] = {}
        self._waiting: dict[int, int] = {}
        self._study = optuna.create_study(
            storage=storage or storage_url(),
            study_name=self.name,
            direction="minimize",
            pruner=pruner(params),
            load_if_exists=True,
        )
        base = start(params, train)
        if base is not None and not self._study.get_trials(deepcopy=False):
            self._study.enqueue_trial(base)

    def retry(self) -> list[str]:
        """Mark the trials failed that a sweep before this one left running, and put them in the queue again.

        Returns:
            The Prefect runs that they had.
        """
        left = self.trials(TrialState.RUNNING)
        for trial in left:
            self._asked[trial.number] = optuna.Trial(self._study, trial._trial_id)
            self._asked[trial.number].set_user_attr(RETRIED, True)
            self._end(trial.number, TrialState.FAIL, "the sweep was cut short")
            self._study.enqueue_trial(trial.params)
        return [trial.user_attrs[RUN] for trial in left if RUN in trial.user_attrs]

    def ask(self, total: int) -> Asked | None:
        """Return the next trial to run, or nothing when `total` have been tried or run now.

        A trial whose settings another one has gets that one's result, at once or when it has ended.

        Raises:
            StudyError: when the last trials all failed.
        """
        while self.counted() < total:
            self._give_up()
            self._study.sampler = sampler(self.params, drawn=self._drawn())
            trial = self._study.ask(self._distributions)
            self._asked[trial.number] = trial
            settings = settings_of(self.params, trial.params)
            twin = self._twin(settings)
            trial.set_user_attr(SETTINGS, settings)
            if twin is None:
                return Asked(trial.number, settings)
            trial.set_user_attr(TWIN, twin.number)
            self._waiting[trial.number] = twin.number
            self._settle()
        return None

    def report(self, number: int, epoch: int, val_eer: float) -> bool:
        """Note a trial's val EER after an epoch, and tell whether the trial is to be ended."""
        trial = self._asked[number]
        trial.report(val_eer, epoch)
        return trial.should_prune()

    def complete(self, number: int, val_eer: float) -> None:
        """Note the val EER of the weights that a trial kept."""
        self._study.tell(number, val_eer)
        self._settle()

    def prune(self, number: int, reason: str) -> None:
        """Note that a trial was ended early."""
        self._end(number, TrialState.PRUNED, reason)

    def fail(self, number: int, reason: str) -> None:
        """Note that a trial failed."""
        self._end(number, TrialState.FAIL, reason)

    def runs(self, number: int, run: str) -> None:
        """Note the Prefect run of a trial."""
        self._asked[number].set_user_attr(RUN, run)

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Return the trials in the order of their numbers: of some states, or all but those that wait."""
        wanted = states or (*ENDED, TrialState.RUNNING)
        return self._study.get_trials(deepcopy=False, states=wanted)

    def trial(self, number: int) -> FrozenTrial:
        """Return one trial."""
        return next(trial for trial in self.trials() if trial.number == number)

    def counted(self) -> int:
        """Return how many trials count as tried, those that run among them; one that is started again counts once."""
        return sum(RETRIED not in trial.user_attrs for trial in self.trials())

    def best(self) -> FrozenTrial | None:
        """Return the trial with the lowest val EER, the earliest of several."""
        complete = self.trials(TrialState.COMPLETE)
        return min(complete, key=lambda trial: (trial.value, trial.number), default=None)

    def importances(self) -> dict[str, float]:
        """Return what share of the differences between whole trials each key accounts for; none from too few.

        By PED-ANOVA (Watanabe, Bansal and Hutter 2023): how much of the space the better trials leave out.
        """
        complete = self.trials(TrialState.COMPLETE)
        if len({trial.value for trial in complete}) < 2 or len(complete) < self.params.prune_after:
            return {}
        return dict(optuna.importance.get_param_importances(self._study))

    def _give_up(self) -> None:
        last = [trial for trial in self.trials(*ENDED) if RETRIED not in trial.user_attrs][-FAILURES:]
        if len(last) == FAILURES and all(trial.state == TrialState.FAIL for trial in last):
            raise StudyError(f"the last {FAILURES} trials failed; the last one: {last[-1].user_attrs.get(REASON, '')}")

    def _drawn(self) -> int:
        """Return how many trials were drawn; those that were put in the queue were not."""
        return sum("fixed_params" not in trial.system_attrs for trial in self.trials())

    def _twin(self, settings: Mapping[str, Any]) -> FrozenTrial | None:
        states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
        same = [trial for trial in self.trials(*states) if trial.user_attrs.get(SETTINGS) == settings]
        return same[0] if same else None

    def _settle(self) -> None:
        """Give the trials that wait for another one its result, if it has ended."""
        ended = {trial.number: trial for trial in self.trials(*ENDED)}
        for number, other in list(self._waiting.items()):
            twin = ended.get(other)
            if twin is None:
                continue
            del self._waiting[number]
            for epoch, val_eer in twin.intermediate_values.items():
                self._asked[number].report(val_eer, epoch)
            if REASON in twin.user_attrs:
                self._asked[number].set_user_attr(REASON, twin.user_attrs[REASON])
            self._study.tell(number, twin.value if twin.state == TrialState.COMPLETE else None, state=twin.state)

    def _end(self, number: int, state: TrialState, reason: str) -> None:
        self._asked[number].set_user_attr(REASON, reason)
        self._study.tell(number, state=state)
        self._settle()


@contextmanager
def held(name: str) -> Iterator[None]:
    """Hold a study: two sweeps would each take the other's running trials for dead ones.

    Raises:
        StudyError: when another process of this machine holds it.
    """
    lock = cache_folder() / "locks" / f"{name}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=0):
            yield
    except Timeout:
        raise StudyError(f"{name} is being run by another process already (lock {lock})") from None


def storage_url() -> str:
    """Return where studies are kept: `LIKEWISE_SWEEPS`, or a SQLite file in the cache folder."""
    given = os.environ.get("LIKEWISE_SWEEPS")
    if given:
        return given
    path = Path(cache_folder()) / "sweeps.db"
    path.parent.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{path}"


def name_of(params: sweep_params.Params, train: Mapping[str, Any], key: str) -> str:
    """Return the name of a study: a hash of all that its figures and its choices depend on.

    Not of the number of trials, nor of what params.yaml has for the keys that are tried: with more trials a study goes
    on, and it is the same one when its best settings have been applied.

    Args:
        params: the `sweep` block.
        train: the `train` block.
        key: what else decides a figure.
    """
    sweep = params.model_dump(exclude={"trials"})
    tried = [*params.space, *(params.variants[0] if params.variants else ())]
    others = sweep_params.merged(train, dict.fromkeys(tried))
    text = json.dumps({"sweep": sweep, "train": others, "key": key}, sort_keys=True)
    return f"sweep-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def experiment_name(study: str, settings: Mapping[str, Any]) -> str:
    """Return what the DVC experiment of these settings is called: a trial that is started again is the same one."""
    return f"{study}-{hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]}"


def distributions(params: sweep_params.Params) -> dict[str, BaseDistribution]:
    """Return the space as optuna has it; the variants are a choice among their numbers."""
    found = {key: _distribution(dimension) for key, dimension in params.space.items()}
    if params.variants:
        found[VARIANT] = CategoricalDistribution(range(len(params.variants)))
    return found


def _distribution(dimension: sweep_params.Dimension) -> BaseDistribution:
    if dimension.choices is not None:
        return CategoricalDistribution(dimension.choices)
    low, high, step = dimension.low, dimension.high, dimension.step
    if dimension.whole:
        return IntDistribution(low, high, log=dimension.log, step=step or 1)
    return FloatDistribution(low, high, log=dimension.log, step=step)


def settings_of(params: sweep_params.Params, picked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of train for what optuna picked: numbers rounded, the variant's keys in its place."""
    settings = {key: _rounded(params.space[key], value) for key, value in picked.items() if key != VARIANT}
    return settings | (params.variants[picked[VARIANT]] if VARIANT in picked else {})


def _rounded(dimension: sweep_params.Dimension, value: Any) -> Any:
    if dimension.choices is not None or dimension.whole or dimension.step is not None:
        return value
    return min(max(float(f"{value:.{DIGITS}g}"), dimension.low), dimension.high)


def start(params: sweep_params.Params, train: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the settings of params.yaml as optuna would have picked them; nothing where they lie outside the space."""
    picked: dict[str, Any] = {}
    for key in distributions(params):
        if key == VARIANT:
            same = [i for i, each in enumerate(params.variants) if sweep_params.merged(train, each) == dict(train)]
            if not same:
                return None
            picked[key] = same[0]
            continue
        value = _at(train, key)
        if not _within(params.space[key], value):
            return None
        picked[key] = value
    return picked


def _within(dimension: sweep_params.Dimension, value: Any) -> bool:
    if dimension.choices is not None:
        return value in dimension.choices
    if not isinstance(value, int | float) or not dimension.low <= value <= dimension.high:
        return False
    return not dimension.whole or (value - dimension.low) % (dimension.step or 1) == 0


def _at(block: Any, key: str) -> Any:
    for name in key.split("."):
        block = block.get(name) if isinstance(block, Mapping) else None
    return block


def sampler(params: sweep_params.Params, *, drawn: int) -> optuna.samplers.BaseSampler:
    """Return what draws the next settings: its seed follows from the sweep's and from how many were drawn before.

    So the same results give the same settings, also to a sweep that was cut short.
    """
    digest = hashlib.sha256(f"{params.seed}:{drawn}".encode()).digest()
    return optuna.samplers.TPESampler(seed=int.from_bytes(digest[:4], "big"), n_startup_trials=params.random)


def early(epoch: int, val_eer: float) -> str:
    """Return why a trial is ended early."""
    return f"ended after epoch {epoch}: EER on val {val_eer:.3%}, above the median of the whole trials"


def pruner(params: sweep_params.Params) -> optuna.pruners.BasePruner:
    """Return what ends a trial: its best val EER so far is above the median of the whole trials' after that epoch."""
    return optuna.pruners.MedianPruner(n_startup_trials=params.prune_after, n_warmup_steps=params.prune_epoch)

"""What is left of a sweep: a run in MLflow above those of its trials, a summary, and a file of the best settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState
from prefect.logging import get_run_logger

from flows import study as studies
from flows.study import Study
from likewise.delivery import labels, tracking
from likewise.files import replacing
from likewise.stages.settings import nested, shown

if TYPE_CHECKING:
    from mlflow import MlflowClient

FOLDER = "reports/sweep"
BEST, SUMMARY = "best.yaml", "summary.md"
SWEEP_TAG, TRIAL_TAG, PRUNED_TAG = "likewise.sweep", "likewise.trial", "likewise.pruned"
"""Of runs: the study that they belong to; of a trial's: its number, and why it was ended early."""

PARENT_TAG = "mlflow.parentRunId"
STATES = {
    TrialState.COMPLETE: "whole",
    TrialState.PRUNED: "ended early",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "cut short",
}


class Record:
    """The sweep's run in MLflow; a store that does not answer is said once and is in nobody's way.

    Args:
        root: the project's root.
        study: the sweep's study: one that goes on has one run.
        subject: what the project is about, in a word.
    """

    def __init__(self, root: Path, study: Study, *, subject: str) -> None:
        self.run_id = ""
        self._root, self._study = root, study
        self._down = False
        self._guarded(lambda client: self._begin(client, subject))

    def trial(self, number: int, *, pruned: str = "") -> None:
        """Put a trial's run below the sweep's, and say of one that was ended early why."""
        self._guarded(lambda client: self._adopt(client, self._study.trial(number), pruned))

    def end(self, status: str, files: Mapping[str, str]) -> None:
        """End the sweep's run with its files."""
        self._guarded(lambda client: self._finish(client, status, files))

    def _begin(self, client: MlflowClient, subject: str) -> None:
        experiment = tracking.experiment_id(client, self._root)
        found = client.search_runs([experiment], f"tags.`{SWEEP_TAG}` = '{self._study.name}'", max_results=1000)
        own = [run for run in found if TRIAL_TAG not in run.data.tags]
        if own:
            self.run_id = own[0].info.run_id
            client.update_run(self.run_id, status="RUNNING")
            return
        tags = {SWEEP_TAG: self._study.name, "mlflow.source.name": "flows.sweep", "mlflow.source.type": "LOCAL"}
        run = client.create_run(experiment, tags=tags, run_name=f"sweep {subject} {self._study.name[-8:]}")
        self.run_id = run.info.run_id
        tracking.log_params(client, self.run_id, labels.flat(self._study.params.model_dump(), "sweep."))

    def _adopt(self, client: MlflowClient, trial: FrozenTrial, pruned: str) -> None:
        experiment = studies.experiment_name(self._study.name, trial.user_attrs[studies.SETTINGS])
        place = tracking.experiment_id(client, self._root)
        found = client.search_runs([place], f"tags.`{labels.EXPERIMENT_TAG}` = '{experiment}'", max_results=1)
        if not found or not self.run_id:
            return
        child = found[0]
        tags = {PARENT_TAG: self.run_id, SWEEP_TAG: self._study.name, TRIAL_TAG: str(trial.number)}
        tags |= {PRUNED_TAG: pruned} if pruned else {}
        for name, value in (tags | {"mlflow.runName": f"trial {trial.number}"}).items():
            client.set_tag(child.info.run_id, name, value)
        # A training that was killed outright could not say so.
        if pruned and child.info.status == "RUNNING":
            client.set_terminated(child.info.run_id, "KILLED")

    def _finish(self, client: MlflowClient, status: str, files: Mapping[str, str]) -> None:
        from mlflow.entities import Metric

        now = tracking.milliseconds()
        best, metrics = float("inf"), []
        for trial in self._study.trials(TrialState.COMPLETE):
            value = float(trial.value or 0.0)
            best = min(best, value)
            metrics += [Metric("trial_val_eer", value, now, trial.number)]
            metrics += [Metric("best_val_eer", best, now, trial.number)]
        tracking.log_metrics(client, self.run_id, metrics)
        for name, text in files.items():
            client.log_text(self.run_id, text, name)
        client.set_terminated(self.run_id, status)

    def _guarded(self, call: Callable[[MlflowClient], None]) -> None:
        if self._down:
            return
        try:
            with tracking.settings(tracking.IMPATIENT):
                call(tracking.connect(tracking.tracking_uri(self._root)))
        except tracking.failures() as error:
            self._down = True
            warn(f"MLflow cannot be reached ({tracking.reason(error)}): the sweep goes on without a run of its own")


def warn(text: str) -> None:
    """Put a warning in the run's log."""
    get_run_logger().warning(text)


def best_file(study: Study) -> str:
    """Return the params file of the best settings, which `likewise apply` writes into params.yaml."""
    best = study.best()
    if best is None:
        return ""
    settings = {f"train.{key}": value for key, value in best.user_attrs[studies.SETTINGS].items()}
    head = (
        f"# The best of {study.counted()} trials of {study.name}: trial {best.number}, EER on val {best.value:.4%}.\n"
        "# `likewise apply` and this file's path write the settings into params.yaml.\n"
    )
    return head + "\n".join(_block(nested(settings))) + "\n"


def _block(whole: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    for name, value in whole.items():
        if isinstance(value, Mapping):
            yield f"{indent}{name}:"
            yield from _block(value, indent + "  ")
        else:
            yield f"{indent}{name}: {shown(value)}"


def summary(study: Study, *, run_id: str = "") -> str:
    """Return the sweep in Markdown: the best settings and how to apply them, what mattered, and every trial.

    Args:
        study: the sweep's study.
        run_id: of the sweep's run in MLflow, if it has one.
    """
    best, trials = study.best(), study.trials()
    states = [trial.state for trial in trials if studies.RETRIED not in trial.user_attrs]
    counts = ", ".join(f"{states.count(state)} {word}" for state, word in STATES.items() if state in states)
    parts = [f"# Sweep {study.name}", f"{study.counted()} trials: {counts or 'none yet'}."]
    if best is not None:
        where = f"runs:/{run_id}/{BEST}" if run_id else f"{FOLDER}/{BEST}"
        parts += [
            f"**Trial {best.number} is the best: EER on val {best.value:.3%}.** It was picked as the lowest of "
            f"{len(study.trials(TrialState.COMPLETE))}, so expect a little more of a new training.",
            f"```yaml\n{best_file(study)}```",
            f"Apply: `likewise apply {where}`, then `make repro`: its training is in the run cache already.",
        ]
    importances = study.importances()
    if importances:
        rows = [f"| {key} | {share:.0%} |" for key, share in importances.items()]
        parts += ["## What mattered", "\n".join(["| key | share |", "|---|---:|", *rows])]
    return "\n\n".join([*parts, "## Trials", "\n".join(_rows(trials))]) + "\n"


def _rows(trials: list[FrozenTrial]) -> Iterator[str]:
    keys = list(dict.fromkeys(key for trial in trials for key in trial.user_attrs.get(studies.SETTINGS, ())))
    yield f"| trial | EER on val | epochs | {' | '.join(keys)} | |"
    yield "|---:|---:|---:|" + "---|" * (len(keys) + 1)
    for trial in sorted(trials, key=lambda each: (each.value is None, each.value, each.number)):
        settings = trial.user_attrs.get(studies.SETTINGS, {})
        value = "" if trial.value is None else f"{trial.value:.3%}"
        cells = [shown(settings[key]) if key in settings else "" for key in keys]
        told = [str(trial.number), value, str(len(trial.intermediate_values)), *cells, _remark(trial)]
        yield f"| {' | '.join(told)} |"


def _remark(trial: FrozenTrial) -> str:
    noted = trial.user_attrs
    if studies.TWIN in noted:
        return f"as trial {noted[studies.TWIN]}"
    if studies.RETRIED in noted:
        return "cut short, started again"
    said = " ".join(str(noted.get(studies.REASON, "")).split()).replace("|", "/")
    return said if len(said) < 120 else "... " + said[-115:]


def write(root: Path, files: Mapping[str, str]) -> None:
    """Write the sweep's files into its folder; a best file of another sweep does not stay."""
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name in (BEST, SUMMARY):
        if not files.get(name):
            (folder / name).unlink(missing_ok=True)
            continue
        with replacing(folder / name) as path:
            path.write_text(files[name], encoding="utf-8")

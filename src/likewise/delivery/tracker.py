"""The run of a training as it trains: written by a thread of its own, so that no server is in training's way."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

from likewise.delivery import tracking
from likewise.delivery.labels import EXPERIMENT_TAG, Labels
from likewise.delivery.readings import Readings
from likewise.delivery.tracking import RESUMED_TAG, milliseconds

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

WAIT_SECONDS = 4.0
"""How long a training waits for a server: once at its start and once at its end, and never in between."""

EMBEDDED_WAIT_SECONDS = 60.0
"""The same for a store that is a file here: its tables may have to be made first, and it does not go away."""


class Tracker:
    """The run of one training; what cannot be written is tried again with the next epoch, and at the end.

    Args:
        root: the project's root.
        key: the train key: an unfinished run that carries it is resumed.
        params: flat names and values, as in `params.yaml`.
        labels: what the run is to be known by.
    """

    def __init__(self, root: Path, key: str, *, params: Mapping[str, object], labels: Labels | None = None) -> None:
        self._root, self._key, self._params, self._labels = root, key, params, labels or Labels()
        embedded = tracking.tracking_uri(root).startswith(tracking.SQLITE)
        self._wait = EMBEDDED_WAIT_SECONDS if embedded else WAIT_SECONDS
        # What there is to write, and how far the writer is; both change under the lock only.
        self._news = threading.Condition()
        self._asked = self._answered = 0
        self._epochs: dict[int, dict[str, float]] = {}
        self._times: dict[int, int] = {}
        self._status: str | None = None
        # The writer's own.
        self._client: MlflowClient | None = None
        self._run_id = ""
        self._created = self._down = self._left = False
        self._logged: set[int] = set()

    def __enter__(self) -> Self:
        self._readings = Readings()
        self._settings = ExitStack()
        self._settings.enter_context(tracking.settings(tracking.IMPATIENT))
        # Here and not in the thread, which would import it while this one imports other things.
        import mlflow  # noqa: F401

        threading.Thread(target=self._write, name="tracker", daemon=True).start()
        self._ask(wait=self._wait)
        return self

    def log_epochs(self, history: Iterable[Mapping[str, float]]) -> None:
        """Have the epochs logged that the run lacks; what the machine did meanwhile goes with the last of them."""
        new = {int(epoch["epoch"]): dict(epoch) for epoch in history if int(epoch["epoch"]) not in self._epochs}
        if new:
            new[max(new)] |= self._readings.since_last()
            with self._news:
                self._times |= dict.fromkeys(new, milliseconds())
                self._epochs |= new
        self._ask()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """End the run: `FINISHED`, `KILLED` by an interrupt or a signal, or `FAILED`."""
        with self._settings:
            with self._news:
                self._status = "FINISHED" if kind is None else "FAILED" if issubclass(kind, Exception) else "KILLED"
            if not self._ask(wait=self._wait) and not self._down:
                self._say("MLflow does not answer; `likewise register` fills the run in when it does")
            self._left = True

    def _ask(self, *, wait: float = 0.0) -> bool:
        """Wake the writer, and tell whether it was done with all there is within `wait` seconds."""
        with self._news:
            self._asked += 1
            self._news.notify_all()
            return self._news.wait_for(lambda: self._answered >= self._asked, timeout=wait)

    def _write(self) -> None:
        over = False
        try:
            while not over:
                with self._news:
                    self._news.wait_for(lambda: self._asked > self._answered)
                    asked, epochs, status = self._asked, dict(self._epochs), self._status
                self._try(epochs, status)
                over = status is not None
                self._answer(asked)
        finally:
            # Whatever ended it, nobody waits for it any more.
            self._answer(sys.maxsize)

    def _answer(self, asked: int) -> None:
        with self._news:
            self._answered = asked
            self._news.notify_all()

    def _try(self, epochs: Mapping[int, Mapping[str, float]], status: str | None) -> None:
        try:
            self._bring_up_to_date(epochs, status)
        except tracking.failures() as error:
            if not self._down:
                self._say(
                    f"MLflow cannot be reached ({tracking.reason(error)}); training goes on, and "
                    "`likewise register` fills the run in when it is back"
                )
            self._down = True
        else:
            if self._down:
                self._say("MLflow is back, and the run is whole again")
            self._down = False

    def _bring_up_to_date(self, epochs: Mapping[int, Mapping[str, float]], status: str | None) -> None:
        client = self._client or self._begin()
        tracking.log_history(client, self._run_id, epochs.values(), logged=self._logged, times=self._times)
        self._logged |= epochs.keys()
        if status is not None:
            client.set_terminated(self._run_id, status)

    def _begin(self) -> MlflowClient:
        """Find or make the run; done again after a failure, it finds what it made."""
        client = tracking.connect(tracking.tracking_uri(self._root))
        experiment = tracking.experiment_id(client, self._root)
        run = tracking.find_run(client, experiment, self._key)
        if run is None or (run.info.status == "FINISHED" and not self._created):
            self._created = True
            run = tracking.create_run(client, experiment, self._key, self._labels)
        elif not self._created:
            self._resume(client, run)
        tracking.log_params(client, run.info.run_id, self._params)
        tracking.log_dataset(client, run, self._labels)
        self._client, self._run_id = client, run.info.run_id
        return client

    def _resume(self, client: MlflowClient, run: Run) -> None:
        client.update_run(run.info.run_id, status="RUNNING")
        self._logged = tracking.logged_epochs(client, run.info.run_id)
        client.set_tag(run.info.run_id, RESUMED_TAG, "true")
        if EXPERIMENT_TAG in self._labels.tags:
            client.set_tag(run.info.run_id, EXPERIMENT_TAG, self._labels.tags[EXPERIMENT_TAG])

    def _say(self, text: str) -> None:
        # A call that hung may come back when nobody waits for it any more.
        if not self._left:
            print(f"train: {text}", file=sys.stderr, flush=True)

"""Who is champion: decided by the gate or by a person, and written on both versions."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from likewise import artifacts
from likewise.config import legible
from likewise.delivery import card
from likewise.delivery.gate import Decision, Judged, Rule, judge
from likewise.delivery.loading import download
from likewise.delivery.model import Model, ModelError
from likewise.delivery.store import CHALLENGER, CHAMPION, GATE_TAG, HEADING, PREVIOUS, RegistryError, holder, in_turn
from likewise.delivery.trials import GateTrials, NotComparable

if TYPE_CHECKING:
    from mlflow import MlflowClient

CLAIM_TAG = "likewise.deciding"
"""Of the registered model: which version a process decided on last, and a word of that process's own."""
TRIALS_FOLDER = "gate"
OLDER = "- (older decisions are in the tags of the versions)"
REASON = 600
"""So many characters of a decision stand on the page; its tag holds up to `TAG`, as MLflow does on PostgreSQL."""
TAG = 5000


def decide(
    client: MlflowClient, root: Path, name: str, version: int, rule: Rule, *, guard: str | None
) -> Decision | None:
    """Judge a version against the champion, move the aliases, and write the decision on both.

    Nothing is decided where the version is the champion, or was judged against this champion before.

    Raises:
        RegistryError: when another process decides too, or made another champion meanwhile.
        ValueError: when the samples have no column `guard`.
    """
    champion = holder(client, name, CHAMPION)
    if champion is not None and champion in {version, _told(client, name, version)}:
        return None
    claim = _claim(client, name, version)
    champion = holder(client, name, CHAMPION)
    if champion is None:
        decision = Decision(True, "there was no champion", {})
    else:
        decision = _judged(client, root, name, version, champion, rule, guard)
    _check_nobody_else(client, name, claim, champion)
    if decision.promote:
        _enthrone(client, name, version, champion)
    _write(client, name, version, champion, decision)
    return decision


def _claim(client: MlflowClient, name: str, version: int) -> str:
    """Write on the registered model who decides now, before the champion is looked up, and return what was written.

    An alias cannot be set on a condition. Of two processes that decide at once the one that wrote last goes on.
    """
    from mlflow.exceptions import MlflowException

    claim = f"version {version}, {uuid4().hex}"
    try:
        client.set_registered_model_tag(name, CLAIM_TAG, claim)
    except MlflowException as error:
        if error.error_code != "BAD_REQUEST":
            raise
        # Of two first claims at one moment the database refuses one as a duplicate; now that one replaces the other.
        client.set_registered_model_tag(name, CLAIM_TAG, claim)
    return claim


def _check_nobody_else(client: MlflowClient, name: str, claim: str, champion: int | None) -> None:
    found = client.get_registered_model(name)
    now = found.aliases.get(CHAMPION)
    if found.tags.get(CLAIM_TAG) != claim:
        other = str(found.tags.get(CLAIM_TAG)).partition(",")[0]
        raise RegistryError(f"{name}: another process decides on {other} at this moment; run `likewise register` again")
    if (None if now is None else int(now)) != champion:
        raise RegistryError(f"{name}: another process changed the champion meanwhile; run `likewise register` again")


def promote(root: Path, *, name: str, version: int, reason: str) -> None:
    """Make a version the champion because a person says so.

    Raises:
        RegistryError: when there is no such version, or the store cannot be reached.
    """
    with in_turn(root, again=f"likewise promote --version {version} --reason ...") as client:
        _check(client, name, version)
        champion = holder(client, name, CHAMPION)
        if champion == version:
            raise RegistryError(f"{name} {version} is the champion already")
        _write(client, name, version, champion, Decision(True, f"by hand: {reason}", {}))
        _enthrone(client, name, version, champion)


def rollback(root: Path, *, name: str, reason: str) -> int:
    """Make the previous champion the champion again, and return its version.

    Raises:
        RegistryError: when there is none, or the store cannot be reached.
    """
    with in_turn(root, again="likewise rollback") as client:
        previous, champion = (holder(client, name, alias) for alias in (PREVIOUS, CHAMPION))
        if previous is None:
            raise RegistryError(f"{name} has no previous champion to go back to; `likewise promote` takes any version")
        _write(client, name, previous, champion, Decision(True, f"rolled back: {reason}", {}))
        _enthrone(client, name, previous, champion)
        return previous


def _judged(
    client: MlflowClient, root: Path, name: str, version: int, champion: int, rule: Rule, guard: str | None
) -> Decision:
    trials = GateTrials.of(root)
    shared, challenger = trials.shared(guard), trials.judged(_of_project(root))
    _keep_scores(client, name, version, trials, challenger)
    try:
        with tempfile.TemporaryDirectory() as fetched:
            folder = download(f"models:/{name}/{champion}", root, to=Path(fetched))
            reigning = trials.judged(Model.from_folder(folder))
    except (ModelError, NotComparable) as error:
        return Decision(False, f"version {champion} cannot be judged on these trials: {error}", {})
    return judge(challenger, reigning, shared, rule)


def _of_project(root: Path) -> Model:
    """Load the project's own model, whose files lie where the stages wrote them."""
    with tempfile.TemporaryDirectory() as temporary:
        for path in artifacts.DELIVERED:
            shutil.copy2(root / path, temporary)
        return Model.from_folder(Path(temporary))


def _keep_scores(client: MlflowClient, name: str, version: int, trials: GateTrials, challenger: Judged) -> None:
    run = client.get_model_version(name, str(version)).run_id
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "trials.parquet"
        trials.table(challenger).to_parquet(path, index=False)
        client.log_artifact(run, str(path), f"{TRIALS_FOLDER}/version-{version}")


def _told(client: MlflowClient, name: str, version: int) -> int | None:
    """Return the champion that a version was judged against last."""
    champion = client.get_model_version(name, str(version)).tags.get(f"{GATE_TAG}.against", "none")
    return None if champion == "none" else int(champion)


def _check(client: MlflowClient, name: str, version: int) -> None:
    known = sorted(int(found.version) for found in client.search_model_versions(f"name = '{name}'"))
    if version not in known:
        listed = ", ".join(map(str, known)) or "none"
        raise RegistryError(f"{name} has no version {version}; known: {listed}")


def _enthrone(client: MlflowClient, name: str, version: int, champion: int | None) -> None:
    client.set_registered_model_alias(name, CHAMPION, str(version))
    if champion is not None:
        client.set_registered_model_alias(name, PREVIOUS, str(champion))
    if holder(client, name, CHALLENGER) == version:
        client.delete_registered_model_alias(name, CHALLENGER)


def _write(client: MlflowClient, name: str, version: int, champion: int | None, decision: Decision) -> None:
    """Write the decision as tags on the version, and as a note on it and on the champion."""
    told = "promoted" if decision.promote else "kept"
    tags = {"": told, ".against": str(champion or "none"), ".reason": decision.reason, **_numbers(decision.figures)}
    for key, value in tags.items():
        client.set_model_version_tag(name, str(version), f"{GATE_TAG}{key}", value[:TAG])
    against = f"version {champion}" if champion else "no champion"
    place = "became champion" if decision.promote else "did not become champion"
    _note(client, name, version, f"Against {against}: it {place}; {decision.reason}.")
    if champion is not None:
        place = "gave its place to" if decision.promote else "kept its place against"
        _note(client, name, champion, f"It {place} version {version}; {decision.reason}.")


def _numbers(figures: Mapping[str, float]) -> dict[str, str]:
    return {f".{name}": f"{value:.6g}" for name, value in figures.items()}


def _note(client: MlflowClient, name: str, version: int, text: str) -> None:
    """Add a line to the version's page, under a heading of its own."""
    page = client.get_model_version(name, str(version)).description or ""
    client.update_model_version(name, str(version), description=noted(page, text))


def noted(page: str, text: str) -> str:
    """Return a page with one more decision; where there is no room the oldest decisions go, and the page says so.

    The tags of each version keep what was decided on it last.

    Args:
        page: the Markdown of a version's page.
        text: what was decided, in a line.
    """
    before, _, told = page.partition(f"\n{HEADING}\n")
    lines = [line for line in told.splitlines() if line.startswith("- ") and line != OLDER]
    full = [*lines, f"- {legible(text)[:REASON]}"]
    for first in range(len(full)):
        kept = [*([OLDER] if first or OLDER in told else []), *full[first:]]
        found = "\n".join([before.rstrip(), "", HEADING, "", *kept, ""])
        if len(found) <= card.PAGE:
            break
    return found

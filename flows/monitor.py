"""Do new embeddings still look like those that the champion was judged on? A page, a table, and an event when not."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from prefect import State, flow
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.events import emit_event
from prefect.logging import get_run_logger
from prefect.states import Completed
from pydantic import Field

from flows import arguments, drift_page, elsewhere, remote, stages
from flows.embed import Text, placed, scheduled, told
from likewise.config import load_params, project_root

if TYPE_CHECKING:
    from likewise.delivery.model import Model
    from likewise.evaluation.drift import Finding

EVENT = "likewise.drift"
DAY = 86_400.0


@flow(name="monitor", persist_result=False)
def monitor(
    out: Text = "data/embed",
    model: Text = "models:/likewise@champion",
    days: Annotated[float, Field(gt=0, le=3650)] = 7.0,
    least_files: Annotated[int, Field(ge=2)] = 50,
    level: Annotated[float, Field(gt=0, lt=1)] = 0.01,
    permutations: Annotated[int, Field(ge=9, le=100_000)] = 499,
    most: Annotated[int, Field(ge=2, le=20_000)] = 1000,
    seed: Annotated[int, Field(ge=0)] = 0,
) -> State[None]:
    """Compare what was embedded lately with what the model was judged on, and tell of drift.

    Args:
        out: Folder of the embeddings, as the flow embed is given it.
        model: Address of the model, an alias or a version in the registry, or a folder.
        days: What was embedded in so many days is compared.
        least_files: With fewer different contents nothing is said.
        level: How often there may be a false alarm where nothing has drifted.
        permutations: Of the test of the embeddings as a whole; 5 / level or more.
        most: So many samples a side of that test, drawn at random.
        seed: Of the draws.

    Raises:
        StageError: when the model or the reference is missing, or they do not fit each other.
    """
    from likewise.delivery import loading, reference
    from likewise.delivery.parts import model_folder
    from likewise.evaluation import drift

    stages.say_own_lines()
    root = project_root()
    if scheduled() and not Path(placed(out)).is_dir():
        return Completed(message=f"{placed(out)}: nothing was embedded yet")
    with told():
        loaded = loading.load(model if model.startswith("models:/") else placed(model))
        folder = model_folder(Path(placed(out)), loaded.weights)
        with tempfile.TemporaryDirectory(prefix="likewise-reference-") as temporary:
            gallery, before = reference.read(made(root, model, loaded, Path(temporary)), loaded)
        new = reference.arrived(folder, gallery, loaded, since=time.time() - days * DAY)
        if len(new.scores) < least_files:
            elsewhere.rename(f"monitor: {len(new.scores):,} new files are too few")
            said = f"{len(new.scores):,} new contents in {days:g} days, {least_files:,} are needed: {folder}"
            return Completed(message=said)
        findings = drift.compare(before, new, level=level, permutations=permutations, most=most, seed=seed)
        page = folder / "drift.html"
        drift_page.write(page, before, new, findings, days=days, level=level, threshold=loaded.judgement.known_from())
    return tell(findings, page, name=str(load_params(root)["register"].model_dump()["name"]))


def made(root: Path, address: str, model: Model, place: Path) -> Path:
    """Return the root of the project that made a model, or of as much of it as the comparison needs, in `place`."""
    from likewise.delivery import reference

    if address.startswith("models:/"):
        found = reference.bring(root, address, model, place)
        if found != root:
            get_run_logger().info("monitor: the reference of %s comes from DVC, not from this checkout", address)
        return found
    missing = [path for path in reference.NEEDED if not (root / path).is_file()]
    if missing and remote.is_set(root):
        stages.run(["dvc", "--wait-for-lock", "pull", *missing], root)
    return root


def tell(findings: Sequence[Finding], page: Path, *, name: str) -> State[None]:
    """Show the findings in the UI, emit the event where something drifted, and return the state of the run."""
    drifted = [finding.question for finding in findings if finding.drifted]
    said = f"drift: {'; '.join(drifted)}" if drifted else "no drift"
    elsewhere.rename(f"monitor {name}: {said}")
    rows = drift_page.rows(findings)
    create_table_artifact(key="drift", table=rows, description=f"{name}: {said}")
    create_markdown_artifact(key="drift-summary", markdown=summarise(name, said, rows, page), description=said)
    get_run_logger().info("%s; see %s", said, page)
    if drifted:
        resource = {"prefect.resource.id": f"likewise.model.{name}", "prefect.resource.name": name}
        figures = [asdict(finding) for finding in findings]
        emit_event(EVENT, resource=resource, payload={"drifted": drifted, "findings": figures, "page": str(page)})
    return Completed(message=said)


def summarise(name: str, said: str, rows: Sequence[Mapping[str, str]], page: Path) -> str:
    """Return what was found in Markdown."""
    lines = [f"| {' | '.join(row.values())} |" for row in rows]
    head = [f"| {' | '.join(rows[0])} |", "|---" * len(rows[0]) + "|"]
    return "\n".join([f"# {name}: {said}", "", *head, *lines, "", f"The page with the distributions: `{page}`", ""])


if __name__ == "__main__":
    arguments.call(monitor)

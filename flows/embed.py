"""New files through the champion: embeddings in parts, a quarantine and an index; each content once, crash or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from filelock import FileLock, Timeout
from prefect import State, flow, runtime
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.orchestration import get_client
from prefect.logging import get_run_logger
from prefect.states import Completed
from pydantic import Field

from flows import arguments, elsewhere, shards, stages
from flows.shards import Order
from likewise.config import load_params, project_root

if TYPE_CHECKING:
    from likewise.data.raw import Source
    from likewise.delivery.arrivals import Outcome
    from likewise.delivery.model import Model

SHARD = "embed-shard/embed-shard"
SCHEDULED = "auto-scheduled"
SHOWN = 100
"""So many rows of the quarantine are shown in the UI; the file has all."""

Text = Annotated[str, Field(min_length=1)]
Many = Annotated[int, Field(ge=1, le=1000)]
Threads = Annotated[int, Field(ge=1, le=1024)]
Files = Annotated[int, Field(ge=1, le=1_000_000)]
Device = Literal["auto", "cpu", "cuda"]


@flow(name="embed", persist_result=False)
def embed(
    path: Text = "data/new",
    out: Text = "data/embed",
    table: str = "",
    model: Text = "models:/likewise@champion",
    shards: Many = 1,
    workers: Literal["auto", "pool", "here"] = "auto",
    threads: Threads = 1,
    device: Device = "auto",
    files_per_part: Files = 2048,
) -> State[None]:
    """Embed the files that have no embedding yet, and bring the index up to date.

    Args:
        path: Folder of the files (with or without a folder a class), an archive, or a URL such as s3://bucket/new.
        out: Folder of the embeddings; every worker that embeds must reach it.
        table: CSV or Parquet table in the folder that names the files; empty is every file there.
        model: Address of the model, an alias or a version in the registry, or a folder.
        shards: How many parts of the work may run at once, each in a process or on a worker.
        workers: Where shards run, pool (workers of the pool cpu), here, or auto (pool where a deployment runs this).
        threads: CPU threads of each shard.
        device: Where the model computes, cpu, cuda, or auto (a GPU where there is one).
        files_per_part: Contents that are read, embedded and written together.

    Raises:
        StageError: when there is nothing at the path, no such model, or a shard fails.
    """
    stages.say_own_lines()
    order = Order(placed(path), placed(out), model, table, 0, shards, files_per_part, threads, device)
    if scheduled() and not there(order):
        return Completed(message=f"{order.path}: there is no such folder yet")
    with told(), alone(Path(order.out)):
        outcome = run(order, on_pool=workers == "pool" or (workers == "auto" and runtime.deployment.id is not None))
    elsewhere.rename(f"embed: {outcome.embedded:,} new of {outcome.found:,} files")
    get_run_logger().info("embed: %s", outcome)
    return Completed(message=str(outcome))


@flow(name="embed-shard", flow_run_name="embed shard {number} of {shards}", persist_result=False)
def embed_shard(
    path: Text,
    out: Text,
    model: Text,
    table: str = "",
    number: Annotated[int, Field(ge=0, lt=1000)] = 0,
    shards: Many = 1,
    files_per_part: Files = 2048,
    threads: Threads = 1,
    device: Device = "auto",
) -> None:
    """Embed one shard of the new files, after embed has listed them; embed takes over what this writes.

    Args:
        path: Folder of the files, an archive, or a URL.
        out: Folder of the embeddings, the same for all shards.
        model: Address of the model.
        table: Table in the folder that names the files; empty is every file there.
        number: Which shard, from 0.
        shards: How many there are.
        files_per_part: Contents that are read, embedded and written together.
        threads: CPU threads.
        device: Where the model computes.
    """
    stages.say_own_lines()
    with told():
        done = work(Order(path, out, model, table, number, shards, files_per_part, threads, device))
    get_run_logger().info("embed: shard %d of %d: %d contents", number, shards, done)


def work(order: Order) -> int:
    """Do one shard in this process."""
    return shards.work(order)


def run(order: Order, *, on_pool: bool) -> Outcome:
    """Take over what a crash left, embed what is new, take that over, and publish; return what became of the files.

    Raises:
        StageError: when a shard fails; what the others made is kept.
    """
    from likewise.delivery import arrivals, collection, loading
    from likewise.delivery.model import Model
    from likewise.delivery.parts import EMBEDDED, REFUSED, Pile, model_folder

    source = loading.folder_of(order.model if order.model.startswith("models:/") else placed(order.model))
    model, out = Model.from_folder(source), Path(order.out)
    folder = model_folder(out, model.weights)
    # All shards have this very model, though an alias may move meanwhile.
    order = replace(order, model=str(collection.deliver(source, folder)))
    piles = [Pile(folder, table) for table in (EMBEDDED, REFUSED)]
    for pile in piles:
        pile.commit()
    before = piles[0].hashes()
    found = arrivals.scan(opened(order), arrivals.seen_before(out))
    arrivals.remember(found, out)
    wanted = len(arrivals.Shard(folder).wanted(found))
    failed = distribute(order, wanted, on_pool=on_pool, watch=progress(folder, wanted)) if wanted else []
    for pile in piles:
        pile.commit()
    outcome = arrivals.settle(found, before, folder)
    publish(order, model, folder, outcome)
    if failed:
        raise stages.StageError("\n".join([str(outcome), *failed]))
    return outcome


def distribute(order: Order, wanted: int, *, on_pool: bool, watch: Callable[[], None]) -> list[str]:
    """Have the shards done, in this process if there is one, and return what those that failed said."""
    count = min(order.shards, wanted)
    orders = [replace(order, number=number, shards=count) for number in range(count)]
    if count == 1 and not on_pool:
        shards.work(orders[0])
        return []
    return on_workers(orders) if on_pool else shards.side_by_side(orders, project_root(), watch=watch)


def on_workers(orders: Sequence[Order]) -> list[str]:
    """Have each shard done by a worker of the pool, wait for all, and return what those that failed said."""
    started = [elsewhere.run(SHARD, asdict(order)) for order in orders]
    failed = []
    try:
        for each in list(started):
            try:
                elsewhere.wait(each)
            except stages.StageError as error:
                failed.append(str(error))
            started.remove(each)
    finally:
        with get_client(sync_client=True) as client:
            for each in started:
                elsewhere.cancel(client, each)
    return failed


def publish(order: Order, model: Model, folder: Path, outcome: Outcome) -> None:
    """Bring the index up to date, and show a summary and the quarantine in the UI."""
    from likewise.delivery import arrivals, collection

    params: Any = load_params(project_root())["export"]
    rule = collection.IndexRule(**params.index.model_dump())
    about = collection.publish(collection.collect(Path(order.out), folder), model, folder, rule)
    create_markdown_artifact(
        key="embed-summary", markdown=summarise(folder, outcome, about), description="What became of the files"
    )
    bad = arrivals.QUARANTINE.read(folder).head(SHOWN)
    if len(bad):
        table = {name: list[Any](bad[name]) for name in ("id", "reason")}
        create_table_artifact(key="embed-quarantine", table=table, description="Files without an embedding, and why")


def summarise(folder: Path, outcome: Outcome, about: Mapping[str, Any]) -> str:
    """Return what a run did in Markdown."""
    rows = {
        "files": outcome.found,
        "embedded now": outcome.embedded,
        "known already": outcome.known,
        **{f"quarantine: {reason}": count for reason, count in outcome.quarantined.items()},
        "left for the next run": outcome.left,
    }
    lines = "\n".join(f"| {name.replace('|', '/')} | {count:,} |" for name, count in rows.items())
    index = f"{about['count']:,} embeddings, {about['kind']}" if about else "none yet"
    head = f"# Embeddings: {outcome.embedded:,} new of {outcome.found:,} files\n\n| what | files |\n|---|---|"
    return f"{head}\n{lines}\n\nIndex: {index}, in `{folder}`, which is named by the model's weights.\n"


def progress(folder: Path, wanted: int) -> Callable[[], None]:
    """Return what logs, when it has changed, how many of the wanted contents are staged."""
    import pyarrow.parquet as pq

    logger, last = get_run_logger(), [0]

    def look() -> None:
        done = sum(pq.read_metadata(file).num_rows for file in folder.glob("staged/*/*.parquet"))
        if done != last[0]:
            last[0] = done
            logger.info("embed: %d of %d contents", done, wanted)

    return look


def scheduled() -> bool:
    """Tell whether the schedule started this run: what it looks for may not be there yet, and nobody is at hand."""
    return runtime.flow_run.id is not None and SCHEDULED in runtime.flow_run.tags


def placed(path: str) -> str:
    """Return a path from the project's root or the home folder in full; a URL as it is."""
    from likewise.data.remote import is_remote

    return path if is_remote(path) else str(project_root() / Path(path).expanduser())


def there(order: Order) -> bool:
    """Tell whether there is anything at the path; what a URL names is asked for later."""
    from likewise.data.remote import is_remote

    return is_remote(order.path) or Path(order.path).exists()


def opened(order: Order) -> Source:
    """Return the files that an order is about, fetched if they are elsewhere."""
    from likewise.data import remote
    from likewise.delivery.arrivals import open_arrivals

    return open_arrivals(remote.local(order.path, project_root(), checksums={}), order.table)


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Keep other runs out of a folder of embeddings.

    Raises:
        StageError: when one is in it.
    """
    out.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(out / ".lock", timeout=0):
            yield
    except Timeout:
        raise stages.StageError(f"{out}: another run embeds into it; wait for its end", lasting=True) from None


@contextmanager
def told() -> Iterator[None]:
    """Say bad input on one line, without a stack of ours."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise stages.StageError(str(error), lasting=True) from None


if __name__ == "__main__":
    arguments.call(embed)

"""A shard of the embed flow: some of the new files through the model, in this process or in several side by side.

Run as a program it does what its one argument says, in JSON. It needs no Prefect, so that it starts quickly.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from flows import process

POLL_SECONDS = 0.2
LAST_LINES = 12


@dataclass(frozen=True)
class Order:
    """What a shard does, and with what.

    Attributes:
        path: the folder or archive of the files, or a URL.
        out: the folder of all embeddings.
        model: the address of the model: a folder, or a version in the registry.
        table: which table in the folder names the files; empty: every file there.
        number: of the shard, from 0.
        shards: how many there are.
        files_per_part: contents read, embedded and written together.
        threads: CPU threads of the model.
        device: where the model computes.
    """

    path: str
    out: str
    model: str
    table: str = ""
    number: int = 0
    shards: int = 1
    files_per_part: int = 2048
    threads: int = 1
    device: str = "auto"


def work(order: Order) -> int:
    """Do one shard, and return how many contents got an embedding or a reason.

    Raises:
        ValueError: when the files or the model are not there.
    """
    from likewise import runtime
    from likewise.data import remote
    from likewise.delivery import arrivals, parts
    from likewise.delivery.loading import load

    runtime.set_up(threads=order.threads)
    model = load(order.model, device=order.device)
    source = arrivals.open_arrivals(remote.local(order.path, Path(), checksums={}), order.table)
    seen = arrivals.seen_before(Path(order.out))
    here = seen[seen["id"].isin([raw.id for raw in source])]
    folder = parts.model_folder(Path(order.out), model.weights)
    return arrivals.Shard(folder, order.number, order.shards, order.files_per_part).run(model, source, here)


def side_by_side(orders: Sequence[Order], root: Path, *, watch: Callable[[], None]) -> list[str]:
    """Do shards in a process each, and return the last lines of those that failed.

    Args:
        orders: what each does.
        root: the project's root.
        watch: is called while they run.
    """
    with ExitStack() as stack:
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        running = []
        for order in orders:
            output = stack.enter_context((logs / str(order.number)).open("w+b"))
            command = [sys.executable, "-m", "flows.shards", json.dumps(asdict(order))]
            group = process.Group(command, folder=root, environment=process.environment(), output=output)
            stack.callback(group.end)
            running.append(group)
        while any(group.child.poll() is None for group in running):
            time.sleep(POLL_SECONDS)
            watch()
        failed = [n for n, group in enumerate(running) if group.child.returncode != 0]
        return [_last(logs / str(orders[n].number)) or f"shard {n}: code {running[n].child.returncode}" for n in failed]


def _last(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:])


def main() -> None:
    """Do the shard that the command line describes; bad input is one line, and the code 2."""
    from likewise.config import wait_passively

    wait_passively()
    try:
        work(Order(**json.loads(sys.argv[1])))
    except (ValueError, OSError) as error:
        print(f"embed: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()

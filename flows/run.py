"""A run of a deployed flow, started from a terminal: its log as it comes, and how it ended.

`python -m flows.run retrain why=try`, on the server that PREFECT_API_URL names; `make run` calls it.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any
from uuid import UUID

import httpx
import typer
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun, Log
from prefect.client.schemas.sorting import LogSort
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

from flows import worker
from likewise.choices import one_of

POLL_SECONDS = 1.0
LAST_WORDS_SECONDS = 3.0
"""How long after a run's end its last lines may be on their way."""

PAGE = 200
CHATTER = re.compile(
    r"Worker '.*' submitting .*|Flow run '.*' submitted .*|Running \d+ deployment .*|Executing deployment step: .*"
    r"|Deployment step .*|All deployment steps .*|Beginning (sub)?flow run .*"
    r"|Finished in state .*|Aborted submission of .*|Check the flow run logs .*|Process (for|exited) .*"
)
"""What Prefect says of every run; the last is said at the end."""

WAITS = {
    "Late": "waits for a worker of its pool",
    "AwaitingConcurrencySlot": "waits for the end of the run before it",
    "AwaitingRetry": "is started again in a moment",
}
"""What a person is told of a run that does not run yet."""


class RunError(RuntimeError):
    """A run that cannot be started; says why in one line."""


def main(
    flow: Annotated[str, typer.Argument(help="The flow, as prefect.yaml names it.")],
    words: Annotated[
        list[str] | None, typer.Argument(help="name=value for each parameter that is not its own.")
    ] = None,
    param: Annotated[list[str] | None, typer.Option(help="The same, as `prefect deployment run` takes it.")] = None,
) -> None:
    """Start a run and tell of it until it has ended; the exit code is 1 unless it completed."""
    try:
        if not os.environ.get("PREFECT_API_URL"):
            raise RunError(worker.NO_SERVER)
        with get_client(sync_client=True) as client:
            run = start(client, flow, [*(words or ()), *(param or ())])
            completed = follow(client, run)
    except (RunError, ValueError) as error:
        sys.exit(f"run: {error}")
    except httpx.TransportError as error:
        sys.exit(
            f"run: no Prefect server answers at {os.environ['PREFECT_API_URL']} ({error}); start one with `make up`"
        )
    sys.exit(0 if completed else 1)


def start(client: SyncPrefectClient, flow: str, words: Sequence[str]) -> FlowRun:
    """Start a run of a flow's deployment and say where its page is.

    Raises:
        RunError: when the server refuses it.
        ValueError: when there is no such deployment or parameter; lists those that there are.
    """
    try:
        deployment = client.read_deployment_by_name(f"{flow}/{flow}")
    except ObjectNotFound:
        known = [each.name for each in client.read_deployments()]
        one_of("deployment", flow, known)
        raise RunError(f"{flow}: nothing is deployed; `make deploy` puts the flows on the server") from None
    parameters = given(words, (deployment.parameter_openapi_schema or {}).get("properties", {}))
    try:
        run = client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
    except PrefectHTTPStatusError as error:
        raise RunError(f"{flow}: {error.response.json().get('detail', error)}") from None
    print(f"{page(client, run)}\nCtrl-C leaves it running", flush=True)
    return run


def given(words: Sequence[str], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters by the words that give them; a text stays one, anything else is read as JSON.

    Example:
        >>> given(["commit=1234567", "trials=3"], {"commit": {"type": "string"}, "trials": {"type": "integer"}})
        {'commit': '1234567', 'trials': 3}
    """
    parameters: dict[str, Any] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign:
            raise ValueError(f"given {word!r}; each parameter is name=value: {', '.join(known)}")
        described = known[one_of("parameter", name, known)]
        parameters[name] = value if described.get("type") == "string" else _read(value)
    return parameters


def _read(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


def follow(client: SyncPrefectClient, run: FlowRun) -> bool:
    """Print what a run and the runs below it log until it has ended, and tell whether it completed."""
    told: dict[UUID, int] = {}
    last = ""
    try:
        while True:
            now = client.read_flow_run(run.id)
            tell(client, now, told)
            assert now.state is not None
            if now.state.is_final():
                break
            if now.state.name != last and now.state.name in WAITS:
                print(f"{now.name} {WAITS[now.state.name]}", flush=True)
            last = str(now.state.name)
            time.sleep(POLL_SECONDS)
        time.sleep(LAST_WORDS_SECONDS)
        tell(client, now, told)
    except KeyboardInterrupt:
        print(f"\nit goes on; `prefect flow-run cancel {run.id}` ends it", flush=True)
        sys.exit(130)
    more = "" if str(now.state.message or "") in now.name else f"\n  {now.state.message}"
    print(f"{now.state.name}: {now.name}{more}\n{page(client, now)}", flush=True)
    return bool(now.state.is_completed())


def tell(client: SyncPrefectClient, run: FlowRun, told: dict[UUID, int]) -> None:
    """Print what is new in the logs of a run and of those below it.

    Args:
        client: of the server.
        run: the run.
        told: how many lines of each run have been printed; kept up to date.
    """
    below = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run.id]))
    for each in (run, *client.read_flow_runs(flow_run_filter=below)):
        before = "" if each.id == run.id else f"{each.name} | "
        for log in lines(client, each.id, told):
            if not CHATTER.fullmatch(log.message):
                print(f"{log.timestamp.astimezone():%H:%M:%S}  {before}{log.message}", flush=True)


def lines(client: SyncPrefectClient, run: UUID, told: dict[UUID, int]) -> Iterator[Log]:
    """Yield the lines of a run's log that were not told yet."""
    wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run]))
    while found := client.read_logs(wanted, limit=PAGE, offset=told.get(run, 0), sort=LogSort.TIMESTAMP_ASC):
        told[run] = told.get(run, 0) + len(found)
        yield from found


def page(client: SyncPrefectClient, run: FlowRun) -> str:
    """Return the address of a run's page."""
    return f"{str(client.api_url).rstrip('/').removesuffix('/api')}/runs/flow-run/{run.id}"


if __name__ == "__main__":
    typer.run(main)

"""What `make deploy` puts on the Prefect server: pools, the deployments of prefect.yaml, automations, a webhook.

It may be called again at any time: what is there already is brought up to date.
"""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from prefect.automations import Automation
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from flows import process, worker
from likewise.config import ConfigError, project_root

POOLS = {"cpu": "data stages, reports, everything that needs no GPU", "gpu": "training: one run a GPU"}

SILENCE_SECONDS = 90
"""How long a run may be silent before it counts as crashed: three of its heartbeats."""

PAUSE_SECONDS = 15
"""How long after a crash a run is started again."""

TRIES = 3
"""How often a crashed run is started in all."""

RUN = {"prefect.resource.id": "prefect.flow-run.*"}
RUNS = ResourceSpecification(RUN)
OURS = ResourceSpecification({"prefect.resource.id": "prefect.tag.likewise", "prefect.resource.role": "tag"})
"""Which runs the automations are about: those of our deployments, which carry the tag."""

WEBHOOK = "likewise"
NOWHERE = "http://127.0.0.1:9/set-LIKEWISE_WEBHOOK-and-deploy-again"


class DeployError(RuntimeError):
    """Something that keeps the deployments from the server, in one line."""


def main() -> None:
    """Put everything on the server that PREFECT_API_URL names."""
    try:
        if not os.environ.get("PREFECT_API_URL"):
            raise DeployError(worker.NO_SERVER)
        deploy(project_root())
    except (DeployError, ConfigError) as error:
        sys.exit(f"deploy: {error}")


def deploy(root: Path, *, silence: float = SILENCE_SECONDS, pause: float = PAUSE_SECONDS) -> None:
    """Make or update pools, deployments, automations and the webhook, and say where runs get their code from.

    Args:
        root: the project's root.
        silence: seconds without a heartbeat after which a run counts as crashed.
        pause: seconds after which a crashed run is started again.

    Raises:
        DeployError: when the server does not answer, or a deployment is wrong.
    """
    with get_client(sync_client=True) as client:
        problem = client.api_healthcheck()
        if problem is not None:
            raise DeployError(f"no Prefect server answers at {client.api_url} ({problem}); start one with `make up`")
        for name, description in POOLS.items():
            make_pool(client, name, description)
        code = code_of(root)
        put_deployments(root, code)
        webhook = make_webhook(client)
        for automation in automations(silence=silence, pause=pause, webhook=webhook):
            make_automation(client, automation)
    print(f"deployed; runs use branch {code['LIKEWISE_GIT_BRANCH']} of {code['LIKEWISE_GIT_URL']}")
    unsaved = _git(root, "status", "--porcelain", "--untracked-files=no").splitlines()
    if unsaved:
        print(f"  {len(unsaved)} changed file(s) are not committed, and no run sees them")
    unpushed = _git(root, "rev-list", "--count", "@{upstream}..HEAD")
    if int(unpushed or 0) and "LIKEWISE_GIT_URL" not in os.environ:
        print(f"  {unpushed} commit(s) are not pushed, and no run sees them")


def make_pool(client: SyncPrefectClient, name: str, description: str) -> None:
    """Make a pool of process workers; the GPU pool runs as much at once as LIKEWISE_GPUS says there are."""
    limit = int(os.environ.get("LIKEWISE_GPUS", "1")) if name == "gpu" else None
    pool = WorkPoolCreate(name=name, type="process", description=description, concurrency_limit=limit)
    client.create_work_pool(pool, overwrite=True)


def code_of(root: Path) -> dict[str, str]:
    """Return where workers get the code: the variables, or this clone's origin and branch, or this clone itself."""
    origin = os.environ.get("LIKEWISE_GIT_URL") or _git(root, "remote", "get-url", "origin") or str(root)
    branch = os.environ.get("LIKEWISE_GIT_BRANCH") or _git(root, "branch", "--show-current") or "HEAD"
    return {"LIKEWISE_GIT_URL": origin, "LIKEWISE_GIT_BRANCH": branch}


def put_deployments(root: Path, code: dict[str, str]) -> None:
    """Deploy everything that prefect.yaml describes.

    Raises:
        DeployError: with what Prefect said, when it refuses one.
    """
    paths = os.pathsep.join([str(root), str(root / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        cwd=root,
        env=process.environment() | code | {"PYTHONPATH": paths},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise DeployError(f"prefect.yaml was not deployed:\n{done.stdout.strip()}")


def automations(*, silence: float, pause: float, webhook: UUID, tries: int = TRIES) -> list[Automation]:
    """Return what the server does by itself, besides the triggers in prefect.yaml.

    A run whose heartbeats stop has crashed: its worker was killed, or its machine lost. A crashed run is started again
    with the same parameters, until it was started three times; its training goes on from the checkpoint.
    """
    final = {f"prefect.flow-run.{name}" for name in ("Completed", "Failed", "Cancelled", "Crashed")}
    told = {"prefect.flow-run.Failed", "prefect.flow-run.Crashed"}
    return [
        Automation(
            name="likewise: crashed without heartbeat",
            description="Its worker was stopped, or its machine lost.",
            trigger=_missing(
                after="prefect.flow-run.heartbeat", expect={"prefect.flow-run.heartbeat"} | final, seconds=silence
            ),
            actions=[ChangeFlowRunState(state=StateType.CRASHED, message=f"No heartbeat for {silence:g} seconds.")],
        ),
        Automation(
            name="likewise: start crashed runs again",
            description=f"With the same parameters, until it was started {tries} times; training goes on where it was.",
            # Not at once: a worker reports a killed run twice, seconds apart; the second report would hit the new try.
            trigger=_missing(
                after="prefect.flow-run.Crashed",
                expect={"prefect.flow-run.AwaitingRetry", "prefect.flow-run.Running"},
                seconds=pause,
                counts=[str(number) for number in range(1, tries)],
            ),
            actions=[ChangeFlowRunState(state=StateType.SCHEDULED, name="AwaitingRetry", message="It crashed.")],
        ),
        Automation(
            name="likewise: tell the webhook",
            description="Of runs that failed or crashed; on where LIKEWISE_WEBHOOK was set at `make deploy`.",
            enabled=bool(os.environ.get("LIKEWISE_WEBHOOK")),
            trigger=EventTrigger(expect=told, match=RUNS, match_related=OURS, posture=Posture.Reactive, threshold=1),
            actions=[
                SendNotification(
                    block_document_id=webhook,
                    subject="{{ flow_run.name }}: {{ flow_run.state.name }}",
                    body="{{ flow_run.state.message }} {{ flow_run|ui_url }}",
                )
            ],
        ),
    ]


def _missing(*, after: str, expect: set[str], seconds: float, counts: list[str] | None = None) -> EventTrigger:
    """Return what is triggered where a run of ours shows nothing expected in so many seconds after an event.

    Args:
        after: the event.
        expect: the events of which one is expected.
        seconds: how long.
        counts: the runs' counts of tries that it holds for; none: any.
    """
    runs = RUNS if counts is None else ResourceSpecification(RUN | {"prefect.run-count": counts})
    return EventTrigger(
        after={after},
        expect=expect,
        match=runs,
        match_related=OURS,
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=timedelta(seconds=seconds),
    )


def make_webhook(client: SyncPrefectClient) -> UUID:
    """Make the block that tells LIKEWISE_WEBHOOK of failures, and return its id; it has no use without the variable."""
    url = os.environ.get("LIKEWISE_WEBHOOK") or NOWHERE
    block = CustomWebhookNotificationBlock(name=WEBHOOK, url=url, json_data={"text": "{{subject}}\n{{body}}"})
    block.save(WEBHOOK, overwrite=True)
    document = client.read_block_document_by_name(WEBHOOK, "custom-webhook")
    return document.id


def make_automation(client: SyncPrefectClient, automation: Automation) -> None:
    """Make an automation, in the place of one of the same name."""
    for old in client.read_automations_by_name(automation.name):
        client.delete_automation(old.id)
    automation.create()


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False)
    return done.stdout.strip()


if __name__ == "__main__":
    main()

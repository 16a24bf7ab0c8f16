"""What Prefect's server does by itself about runs of llmlabel: a run whose worker is gone does not stay Running for ever."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

from prefect.automations import Automation
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture

LOST = "llmlabel: a run whose worker is gone has crashed"
BEAT = 30  # seconds between two signs of life; Prefect knows no shorter
SILENCE = 10 * BEAT
WHAT_NOW = (
    "No sign of life from this run: its process, worker or machine is gone. What was answered is kept: run it again with the "
    "same settings and the same `out`, and it goes on from there."
)


def mark_lost_runs(silence: float = SILENCE) -> None:
    """Make, or bring up to date, the automation that says Crashed of a run without a sign of life.

    Args:
        silence: seconds after the last sign of life, at least 10.
    """
    wanted = Automation(
        name=LOST,
        description="Made by `llmlabel serve` and `llmlabel deploy`.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.*"},  # the next sign of life, or any state, also those with names of their own
            match={"prefect.resource.id": ["prefect.flow-run.*"]},
            match_related={"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.llmlabel"},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive, threshold=1, within=timedelta(seconds=silence),
        ),
        actions=[ChangeFlowRunState.model_validate({"state": StateType.CRASHED, "message": WHAT_NOW})],
    )  # fmt: skip
    try:
        wanted.id = cast(Automation, Automation.read(name=LOST)).id
    except ValueError:
        wanted.create()
    else:
        wanted.update()

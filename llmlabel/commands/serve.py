"""`llmlabel serve` and `llmlabel deploy`: flows on a Prefect server, to be started by schedules and from its UI."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmlabel.commands.prefect_server import PORT, QUIET, connected, own_server, ui
from llmlabel.errors import ConfigError

if TYPE_CHECKING:
    from llmlabel.flows.deployed.deployments import Deployment

File = Annotated[
    Path | None,
    typer.Option("--config", help="deployments.yaml: which flows, their settings and schedules. [default: all flows]"),
]


def serve(
    config: File = None,
    server: Annotated[bool, typer.Option("--server", help="Start a Prefect server too; it ends with this command.")] = False,
    port: Annotated[int, typer.Option(help="Port of that server.")] = PORT,
    limit: Annotated[int, typer.Option(min=1, help="Most runs at once in this process.")] = 5,
) -> None:
    """Serve flows from this machine: run what schedules and people start, until Ctrl-C.

    Without --config every flow is served and waits to be started: in the UI under Deployments, by its form, or with `prefect
    deployment run annotate/annotate`. A file says more:

    \b
    - flow: taxonomy
      name: tickets
      cron: "0 6 * * 1"
      timezone: Europe/Berlin
      config: {data: tickets.parquet, use_case: why customers contact us, out: runs/tickets}

    Also: interval (seconds), limit (runs at once, default 1), when_busy (cancel or wait). Paths are relative to the folder this
    is started in. While it is stopped, its schedules are paused. Keys stay in the environment of this command, or in a Secret
    block that a run names (api_key_block).

    Examples:

    llmlabel serve --server

    PREFECT_API_URL=http://127.0.0.1:4200/api llmlabel serve --config deployments.yaml

    Exit codes: 0 stopped, 2 no server, or a file that does not fit.
    """
    with own_server(port) if server else nullcontext():
        where = connected()
        from prefect.runner import Runner

        from llmlabel.flows.deployed.automations import BEAT, mark_lost_runs
        from llmlabel.flows.deployed.deployments import read_deployments

        chosen = read_deployments(config)
        runner = Runner(limit=limit, heartbeat_seconds=BEAT, pause_on_shutdown=False)
        made = [runner.add_deployment(one.made()) for one in chosen]
        try:
            mark_lost_runs()
            _tell(chosen, where)
            typer.echo("Ctrl-C stops.")
            sys.stdout.flush()
            with suppress(KeyboardInterrupt):
                asyncio.run(_until_stopped(runner))
        finally:
            _pause(made)


async def _until_stopped(runner: Any) -> None:
    """Run until SIGINT or SIGTERM; runs that go on then are cancelled, or they would stay Running in the UI."""
    stopped, loop = asyncio.Event(), asyncio.get_running_loop()
    serving, told = asyncio.create_task(runner.start()), asyncio.create_task(stopped.wait())
    await asyncio.sleep(0)  # the runner has put up its own handler by then
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    await asyncio.wait({serving, told}, return_when=asyncio.FIRST_COMPLETED)
    if stopped.is_set():
        await runner.cancel_all()
        serving.cancel()
    with suppress(asyncio.CancelledError):
        await serving


def _pause(deployments: list[Any]) -> None:
    """Schedules rest while nobody serves them, or all that is missed would start at once. A Ctrl-C may come at any time."""
    from prefect.client.orchestration import get_client

    try:
        with get_client(sync_client=True) as client:
            for one in deployments:
                client.pause_deployment(one)
    except Exception as e:
        typer.echo(f"stopped, but schedules go on, since the server does not answer ({e}): pause them in its UI", err=True)
    else:
        typer.echo("stopped; schedules are paused until the next `llmlabel serve`", err=True)


def deploy(
    pool: Annotated[str, typer.Option(help="Work pool whose workers run the flows.")],
    config: File = None,
    create: Annotated[bool, typer.Option("--create", help="Make the pool, of type process, if it is not there.")] = False,
    folder: Annotated[
        Path | None, typer.Option(help="Folder on the worker's machine that paths are relative to. [default: the current one]")
    ] = None,
) -> None:
    """Put flows on a Prefect server for the workers of a work pool, and end.

    The file is that of `llmlabel serve`. Workers need llmlabel installed, and the keys in their environment. What was deployed
    stays when this machine is gone; deploying again changes it.

    Examples:

    llmlabel deploy --pool labelling --create

    prefect worker start --pool labelling

    Exit codes: 0 done, 2 no server, no such pool, or a file that does not fit.
    """
    where = connected()
    from llmlabel.flows.deployed.automations import BEAT, mark_lost_runs
    from llmlabel.flows.deployed.deployments import read_deployments

    chosen = read_deployments(config)
    _find(pool, create)
    env = QUIET | {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(BEAT)}
    for one in chosen:
        one.made(pool, (folder or Path.cwd()).resolve(), env=env).apply()
    mark_lost_runs()
    _tell(chosen, where)
    typer.echo(f"start a worker where they are to run: prefect worker start --pool {pool}")


def _find(pool: str, create: bool) -> None:
    """See that there is such a work pool. Raises: ConfigError when there is none."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectNotFound

    with get_client(sync_client=True) as client:
        try:
            client.read_work_pool(pool)
        except ObjectNotFound:
            if not create:
                there = ", ".join(sorted(p.name for p in client.read_work_pools())) or "none yet"
                raise ConfigError(f"--pool {pool}: there is no such work pool; add --create, or name one ({there})") from None
            client.create_work_pool(WorkPoolCreate(name=pool, type="process"))


def _tell(chosen: list[Deployment], where: str) -> None:
    from llmlabel.terminal import show_rows

    show_rows([{"deployment": f"{one.flow}/{one.name}", "runs": one.when} for one in chosen])
    typer.echo(f"UI: {ui(where)}/deployments")

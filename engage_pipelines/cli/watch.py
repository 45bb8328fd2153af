"""`engage watch`: what is computed live, evaluated by this process as soon as facts arrive."""

import signal
import threading
import time
from types import FrameType

import click

from engage_pipelines.cli.opening import open_registry
from engage_pipelines.cli.output import note
from engage_pipelines.settings import read_settings


@click.command()
@click.option("--every", default=2.0, show_default=True, type=click.FloatRange(0.1, 3600), metavar="SECONDS", help="How often to look.")
def watch(every: float) -> None:
    """Compute audiences and traits of the cadence `live` here, as soon as facts arrive, until Ctrl-C or SIGTERM.

    One process that stays warm, in place of a run of Dagster for each evaluation. The versions are the same, and syncs are started by the
    daemon as ever. While it runs the daemon leaves what is live to it; when it ends, the daemon goes on.
    """
    from engage_pipelines.computing.watch import compute_arrivals, watching  # noqa: PLC0415 - brings DuckDB, which --help needs not

    settings, registry = read_settings(), open_registry()
    stop = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        # what is being computed is finished: it takes seconds
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    facts: dict[str, str] = {}
    with watching(settings.home):
        click.echo(f"Watching {settings.home} every {every:g} s.")
        while not stop.is_set():
            started = time.monotonic()
            looked = compute_arrivals(settings, registry, facts, log=note)
            facts = dict(looked.facts)
            if looked.computed:
                changed = sum(each.state == "published" for each in looked.computed)
                click.echo(f"{len(looked.computed)} computed, {changed} changed, in {time.monotonic() - started:.1f} s.")
            stop.wait(max(0.0, every - (time.monotonic() - started)))

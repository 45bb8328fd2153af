"""`engage demo`: the main job on sample data."""

import sys
from pathlib import Path

import click

from engage_pipelines.settings import read_settings


@click.command()
@click.option("--root", type=click.Path(path_type=Path), default=Path(), help="The folder of dagster.yaml and workspace.yaml.")
@click.option("--destination", metavar="TYPE", help="A destination type, whose fake vendor takes the place of the receiver.")
def demo(root: Path, destination: str | None) -> None:
    """Sample data, three audiences, a local receiver, the Dagster daemon: backfill, then a second day's changes.

    With --destination one audience goes to a fake vendor of that type, which behaves as the vendor's documents say.

    Exit code 1 when a destination does not hold what was computed.
    """
    from rich.console import Console  # noqa: PLC0415

    from engage_pipelines.demo.run import run_demo  # noqa: PLC0415 - brings all that sends

    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    if not run_demo(read_settings(), root.resolve(), console, destination=destination):
        sys.exit(1)

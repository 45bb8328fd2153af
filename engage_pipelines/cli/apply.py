"""`engage apply`: configuration files, or a plan of them, into the registry."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click

from engage_pipelines.cli.opening import open_registry
from engage_pipelines.cli.output import output_option, show_json
from engage_pipelines.domain.errors import UsageError
from engage_pipelines.registry.apply import Applied, apply_configuration
from engage_pipelines.registry.owners import default_folder
from engage_pipelines.registry.reading import read_configuration
from engage_pipelines.settings import read_settings


@click.command()
@click.argument("folder", metavar="[FOLDER|PLAN]", type=click.Path(path_type=Path), required=False)
@click.option("--prune", is_flag=True, help="Remove what the folder owned and no file of it holds any more. A plan says so itself.")
@click.option(
    "--new-facts", is_flag=True, help="Apply a PLAN though calls were taken in, or versions made, since; others will enter and leave."
)
@output_option
def apply(folder: Path | None, *, prune: bool, new_facts: bool, output: str) -> None:
    """Apply every *.yaml and *.yml file in FOLDER, all or nothing. See docs/configuration.md.

    FOLDER is ./engage where there is one, else the current folder. A PLAN that `engage plan --out` wrote is applied when nothing has moved
    since: files, what it touches in the registry, facts, program.
    """
    place = folder or default_folder()
    if place.is_file() and place.suffix not in {".yaml", ".yml"}:
        if prune:
            raise UsageError("A plan says itself whether to prune.", "Plan with --prune.")
        from engage_pipelines.planning.plan_file import apply_plan  # noqa: PLC0415 - brings DuckDB, applying a folder needs none of it

        done = apply_plan(open_registry(), read_settings(), place, facts_may_move=new_facts)
    else:
        if new_facts:
            raise UsageError("--new-facts is about a plan.", "Name the file of a plan.")
        done = apply_configuration(open_registry(), read_configuration(place), prune=prune)
    _say(done, output)


def _say(done: Sequence[Applied], output: str) -> None:
    if output == "json":
        show_json([{"kind": one.kind, "space": one.space, "name": one.name, "verb": one.verb, "note": one.note or None} for one in done])
        return
    for one in done:
        if one.verb != "unchanged":
            click.echo(f"{one.verb:<9} {one.kind} {one.name}{f'  ({one.note})' if one.note else ''}")
    counts = Counter(one.verb for one in done)
    if set(counts) <= {"unchanged"}:
        click.echo(f"Nothing changed: {counts['unchanged']} unchanged.")
    else:
        click.echo(f"{', '.join(f'{count} {verb}' for verb, count in counts.items())}.")

"""`engage apply`: configuration files into the registry."""

from collections import Counter
from pathlib import Path

import click

from engage_pipelines.cli.opening import open_registry
from engage_pipelines.cli.output import output_option, show_json
from engage_pipelines.registry.apply import apply_configuration
from engage_pipelines.registry.owners import default_folder
from engage_pipelines.registry.reading import read_configuration


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@click.option("--prune", is_flag=True, help="Remove what the folder owned and no file of it holds any more.")
@output_option
def apply(folder: Path | None, *, prune: bool, output: str) -> None:
    """Apply every *.yaml and *.yml file in FOLDER, all or nothing. See docs/configuration.md."""
    configuration = read_configuration(folder or default_folder())
    done = apply_configuration(open_registry(), configuration, prune=prune)
    if output == "json":
        show_json([{"kind": one.kind, "name": one.name, "verb": one.verb} for one in done])
        return
    for one in done:
        if one.verb != "unchanged":
            click.echo(f"{one.verb:<9} {one.kind} {one.name}")
    counts = Counter(one.verb for one in done)
    if set(counts) <= {"unchanged"}:
        click.echo(f"Nothing changed: {counts['unchanged']} unchanged.")
    else:
        click.echo(f"{', '.join(f'{count} {verb}' for verb, count in counts.items())}.")

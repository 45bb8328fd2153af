"""`engage import`: what another product has, taken in."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import click

from engage_pipelines.cli.opening import open_registry
from engage_pipelines.cli.output import output_option, show_json
from engage_pipelines.registry.importing_segment import Imported, import_segment, read_export
from engage_pipelines.registry.spaces import ensure_space


class _LookedAt(Exception):  # noqa: N818 - ends the transaction of a dry run
    pass


@click.group("import")
def import_() -> None:
    """Take in what another product has."""


@import_.command()
@click.argument("file", metavar="EXPORT.json", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--dry-run", is_flag=True, help="Say what would come over, and write nothing.")
@output_option
def segment(file: Path, *, dry_run: bool, output: str) -> None:
    """Take in destinations and subscriptions as Segment's Public API gives them (GET /destinations, .../subscriptions).

    Settings come over, secrets as references to environment variables that are named below; subscriptions become mappings, switched off.
    """
    export = read_export(file)
    found: list[Imported] = []
    try:
        with open_registry().change() as change:
            found = import_segment(change, ensure_space(change), export)
            if dry_run:
                raise _LookedAt
    except _LookedAt:
        pass
    if output == "json":
        show_json([{**asdict(one), "supported": one.taken_as is not None} for one in found])
    else:
        for line in _lines(found, dry_run=dry_run):
            click.echo(line)


def _lines(found: Sequence[Imported], *, dry_run: bool) -> Iterator[str]:
    for one in found:
        if one.taken_as is None:
            yield f"not taken  {one.kind} {one.name}: {one.reason}"
            continue
        yield f"taken      {one.kind} {one.name}{f' as {one.taken_as}' if one.kind == 'destination' else ''}"
        yield from (f"           differs: {text}" for text in one.differs)
    variables = {name: setting for one in found if one.taken_as for name, setting in one.variables.items()}
    if variables:
        yield "Set these variables where syncs run; secrets are not taken over:"
        yield from (f"  {name}  ({setting})" for name, setting in variables.items())
    taken = sum(one.taken_as is not None for one in found)
    did = "would come over, nothing was written" if dry_run else "came over"
    yield f"{taken} of {len(found)} {did}."

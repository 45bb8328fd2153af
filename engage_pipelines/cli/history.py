"""`engage audience history`: the versions of an audience."""

from typing import Any

import click

from engage_pipelines.cli.opening import open_database
from engage_pipelines.cli.output import instant_text, output_option, show
from engage_pipelines.computing.history import History, Version, load_history
from engage_pipelines.domain.computation import Level
from engage_pipelines.registry.lookup import find_audience, find_space
from engage_pipelines.settings import read_settings


@click.command()
@click.argument("key")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="How many at most, the newest ones.")
@output_option
def history(key: str, *, limit: int, output: str) -> None:
    """The versions of the audience KEY, newest first: size, who entered and exited, as of when, published or held."""
    settings = read_settings()
    with open_database(settings).read() as c:
        space = find_space(c, settings.space)
        found = load_history(c, find_audience(c, space.id, key), settings.snapshots_dir / space.key / key)
    show_history(found, limit=limit, output=output)


def show_history(found: History, *, limit: int, output: str) -> None:
    """Print the newest versions of an audience or a trait."""
    rows = [_row(found, each, output) for each in reversed(found.versions[-limit:])]
    show(rows, output=output, empty=f"There is no version yet. Compute one with: engage {found.kind} compute {found.key} --wait")


def _row(found: History, each: Version, output: str) -> dict[str, Any]:
    users = {} if found.level is Level.USER else {"users": each.users}
    row = {
        "version": each.n,
        "evaluated_at": instant_text(each.evaluated_at_us),
        "state": each.state,
        "current": each.n == found.current,
        "size": each.size,
        **users,
        "entered": each.entered,
        **({"updated": each.updated} if found.kind == "trait" else {}),
        "exited": each.exited,
        "reason": each.reason or None,
    }
    return row if output == "table" else {**row, "definition": each.definition}

"""The SELECT that an audience or a trait is in a warehouse, for `engage audience sql` and `engage trait sql`."""

from collections.abc import Callable, Sequence
from typing import Any

import click

from engage_pipelines.cli.output import instant_text, show_json
from engage_pipelines.computing.facts_home import mapped_facts, open_home
from engage_pipelines.computing.questions import Desk
from engage_pipelines.domain.computation import Audience, Computation
from engage_pipelines.domain.errors import UsageError
from engage_pipelines.facts.warehouse.dialects import DIALECTS
from engage_pipelines.facts.warehouse.printing import print_select

_Command = Callable[..., Any]


def sql_options(command: _Command) -> _Command:
    """The key and the options of both commands."""
    for option in (
        click.option(
            "--output", type=click.Choice(["table", "json"]), default="table", show_default=True, help="For people or for programs."
        ),
        click.option("--at", metavar="INSTANT", help="As of this instant; the space's, or now, unless said."),
        click.option("--dialect", type=click.Choice(list(DIALECTS)), default="postgres", show_default=True, help="Whose SQL."),
        click.argument("key"),
    ):
        command = option(command)
    return command


def print_sql(desk: Desk, asked: Computation, context: Sequence[Computation], *, dialect: str, at_us: int, output: str) -> None:
    """Raises UsageError where the facts were ingested, and what printing and connecting raise."""
    facts = mapped_facts(desk.database, desk.space)
    if facts is None:
        raise UsageError(f"Space {desk.space!r} maps no tables of a warehouse.", "See docs/warehouse.md.")
    found = None
    if dialect == "postgres":
        reader = open_home(desk.settings, facts).open_reader()
        try:
            found = reader.tables()
        finally:
            reader.close()
    text = print_select(facts, asked, context, dialect=dialect, at_us=at_us, found=found)
    if output == "json":
        kind = "audience" if isinstance(asked, Audience) else "trait"
        show_json({kind: asked.key, "dialect": dialect, "at": instant_text(at_us), "sql": text})
        return
    click.echo(text)

"""`engage audience sql`: the SELECT that an audience is in a warehouse."""

import click

from engage_pipelines.cli.desk import open_desk
from engage_pipelines.cli.output import instant_text, show_json
from engage_pipelines.computing.facts_home import mapped_facts, open_home
from engage_pipelines.domain.computation import Audience
from engage_pipelines.domain.errors import UsageError
from engage_pipelines.domain.query.instants import read_instant
from engage_pipelines.facts.evaluate import refuse_traits
from engage_pipelines.facts.warehouse.dialects import DIALECTS
from engage_pipelines.facts.warehouse.printing import print_select


@click.command("sql")
@click.argument("key")
@click.option("--dialect", type=click.Choice(list(DIALECTS)), default="postgres", show_default=True, help="Whose SQL.")
@click.option("--at", metavar="INSTANT", help="As of this instant; the space's, or now, unless said.")
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True, help="For people or for programs.")
def sql(key: str, *, dialect: str, at: str | None, output: str) -> None:
    """Print the audience KEY as one SELECT over the tables that its space maps: kind and id of every member.

    PostgreSQL is asked what the columns hold; for the others the mapping has to say it.
    """
    desk = open_desk()
    question = desk.question(key=key, at_us=None if at is None else read_instant(at))
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
    refuse_traits(question.audience, question.context)
    others = [each for each in question.context if isinstance(each, Audience)]
    text = print_select(facts, question.audience, others, dialect=dialect, at_us=question.at_us, found=found)
    if output == "json":
        show_json({"audience": key, "dialect": dialect, "at": instant_text(question.at_us), "sql": text})
        return
    click.echo(text)

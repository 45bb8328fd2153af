"""`engage audience sql`: the SELECT that an audience is in a warehouse."""

import click

from engage_pipelines.cli.desk import open_desk
from engage_pipelines.cli.sql_printing import print_sql, sql_options
from engage_pipelines.domain.query.instants import read_instant


@click.command("sql")
@sql_options
def sql(key: str, *, dialect: str, at: str | None, output: str) -> None:
    """Print the audience KEY as one SELECT over the tables that its space maps: kind and id of every member.

    PostgreSQL is asked what the columns hold; for the others the mapping has to say it.
    """
    desk = open_desk()
    question = desk.question(key=key, at_us=None if at is None else read_instant(at))
    print_sql(desk, question.audience, question.context, dialect=dialect, at_us=question.at_us, output=output)

"""`engage audience overlap`: how many members two audiences have in common."""

import click

from engage_pipelines.cli.desk import open_desk
from engage_pipelines.cli.output import instant_text, note, output_option, show_one
from engage_pipelines.cli.preview import overlap_fields
from engage_pipelines.computing.preview import preview as ask
from engage_pipelines.domain.query.instants import read_instant


@click.command()
@click.argument("key")
@click.argument("other")
@click.option("--at", metavar="INSTANT", help="As of this instant; the space's, or now, unless said.")
@output_option
def overlap(key: str, other: str, *, at: str | None, output: str) -> None:
    """How many members the audiences KEY and OTHER have in common, both evaluated as of one instant.

    Of an audience of users and one of accounts, the users are compared.
    """
    desk = open_desk()
    question = desk.question(key=key, at_us=None if at is None else read_instant(at))
    with desk.session(question.at_us) as session:
        found = ask(session, question)
        common = found.overlap(other)
    for warning in found.warnings:
        note(f"Warning: {warning}")
    show_one({"audience": key, "other": other, "at": instant_text(question.at_us), **overlap_fields(common)}, output=output)

"""`engage audience preview`: who would be in, as of one instant, without keeping anything."""

import json
from dataclasses import dataclass

import click

from engage_pipelines.cli.opening import meant_space, open_database
from engage_pipelines.cli.output import note
from engage_pipelines.domain.computation import Audience, Level
from engage_pipelines.domain.errors import EngageError, UsageError
from engage_pipelines.domain.query import parse
from engage_pipelines.facts.evaluate import Evaluated, Members, evaluate
from engage_pipelines.facts.session import FactsSession, open_session
from engage_pipelines.registry.computations import as_audience, audiences_of, find_audience
from engage_pipelines.registry.configuration import read_instant, read_level
from engage_pipelines.registry.database import Database
from engage_pipelines.registry.lookup import list_spaces
from engage_pipelines.settings import read_settings

_PREVIEWED = "_preview"
"""No legal key, so that no definition can refer to it."""

# a person without a user id is shown by e-mail; the canonical id is that of the subject which is the member's number
_USER_IDS = """
    SELECT coalesce(any_value(s.id), min(e.id)) FROM previewed p
    LEFT JOIN subjects_known s ON s.subject = p.member AND s.kind = 'user'
    LEFT JOIN identifiers e ON e.member = p.member AND e.kind = 'email' AND e.current
    GROUP BY p.member"""
_GROUP_IDS = "SELECT any_value(s.id) FROM previewed p JOIN identifiers s ON s.member = p.member AND s.kind = 'group_id' GROUP BY p.member"


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked: an audience, the others it may refer to, and the instant."""

    audience: Audience
    context: tuple[Audience, ...]
    space: str
    at_us: int


@click.command()
@click.argument("key", required=False)
@click.option("--query", help="A definition in the query language, instead of the audience KEY.")
@click.option("--type", "level", default="USERS", show_default=True, help="USERS or ACCOUNTS; what the query is about.")
@click.option("--at", metavar="INSTANT", help="As of this instant; the space's, or now, unless said.")
@click.option("--members", is_flag=True, help="List them: user ids, or group ids for ACCOUNTS.")
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True, help="For people or for programs.")
def preview(key: str | None, *, query: str | None, level: str, at: str | None, members: bool, output: str) -> None:
    """How many, and who, would be in an audience."""
    if (key is None) == (query is None):
        raise UsageError("Preview takes the KEY of an audience or a --query.", "Give one of the two.")
    settings = read_settings()
    at_us = None if at is None else read_instant(at)
    asked = None if query is None else Audience(_PREVIEWED, _PREVIEWED, read_level(level), query)
    if asked is not None:
        parse(asked.definition, level=asked.level)
    database = open_database(settings)
    question = _question(database, meant_space(database, settings), (asked, key or ""), at_us)
    with open_session(settings.facts_dir, question.space, at_us=question.at_us) as session:
        found = evaluate(session, [question.audience], context=question.context)[question.audience.key]
        who = _members(found)
        ids = _ids(session, who, question.audience.level) if members else None
    for warning in found.warnings:
        note(f"Warning: {warning}")
    _show(len(who.users if question.audience.level is Level.USER else who.accounts), ids, output)


def _question(database: Database, space: str, asked: tuple[Audience | None, str], at_us: int | None) -> _Question:
    audience, key = asked
    with database.read() as c:
        row = next((one for one in list_spaces(c) if one.key == space), None)
        context = () if row is None else audiences_of(c, row.id)
        if audience is None:
            audience = as_audience(find_audience(c, row.id if row is not None else "", key))
        pinned = None if row is None else row.evaluate_at
        now = database.now_us(c)
    others = tuple(one for one in context if one.key != audience.key)
    instant = at_us if at_us is not None else pinned if pinned is not None else now
    return _Question(audience, others, space, instant)


def _members(found: Evaluated) -> Members:
    if found.error is not None:
        raise found.error
    if found.members is None:
        raise EngageError("The evaluation gave neither members nor an error.", "Report this.")
    return found.members


def _ids(session: FactsSession, who: Members, level: Level) -> list[str]:
    query, members = (_USER_IDS, who.users) if level is Level.USER else (_GROUP_IDS, who.accounts)
    session.connection.register("previewed", {"member": members})
    return sorted(row[0] for row in session.connection.execute(query).fetchall() if row[0] is not None)


def _show(count: int, ids: list[str] | None, output: str) -> None:
    if output == "json":
        click.echo(json.dumps({"count": count} if ids is None else {"count": count, "members": ids}, ensure_ascii=False))
        return
    for one in ids or ():
        click.echo(one)
    click.echo(f"{count:,} {'member' if count == 1 else 'members'}")

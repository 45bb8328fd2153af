"""`engage trait values | changes | history | preview | explain | release | discard`: the values of a trait, kept or as of any instant."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import click
import duckdb

from engage_pipelines.cli.desk import open_desk
from engage_pipelines.cli.history import show_history
from engage_pipelines.cli.output import instant_text, note, output_option, show, show_json, show_one
from engage_pipelines.cli.trait import read_definition
from engage_pipelines.cli.versions import discard_held, release_held
from engage_pipelines.computing.history import History
from engage_pipelines.computing.kept_members import reading
from engage_pipelines.computing.kept_values import value_changes_sql, values_sql
from engage_pipelines.computing.member_names import IDENTIFIERS, find_member, names_of
from engage_pipelines.computing.trait_questions import ask_trait, draft_trait, explain_value, preview_trait, sample_of
from engage_pipelines.domain.computation import Level, read_level
from engage_pipelines.domain.query.instants import read_instant
from engage_pipelines.domain.query.values import Json, text_form
from engage_pipelines.registry.lookup import find_trait


@click.command()
@click.argument("key")
@click.option("--version", "n", type=click.IntRange(1), help="This version instead of the current one.")
@click.option("--limit", type=click.IntRange(1), default=1_000, show_default=True, help="How many at most.")
@output_option
def values(key: str, *, n: int | None, limit: int, output: str) -> None:
    """The values that a version of the trait KEY holds."""
    history = _history(key)
    version = history.version(n)
    with reading(history) as db:
        rows = list(_rows(db, f"{values_sql(history, version.n)} limit {limit}", history.level))
    show(rows, output=output, empty="Nobody has a value.")
    if version.size > len(rows):
        note(f"{len(rows):,} of {version.size:,} values; --limit shows more.")


@click.command()
@click.argument("key")
@click.argument("older", type=click.IntRange(0))
@click.argument("newer", type=click.IntRange(0))
@output_option
def changes(key: str, older: int, newer: int, *, output: str) -> None:
    """Whose value differs between the versions OLDER and NEWER of the trait KEY; version 0 has none."""
    history = _history(key)
    for n in (older, newer):
        if n:
            history.version(n)
    with reading(history) as db:
        rows = list(_rows(db, value_changes_sql(history, older, newer), history.level))
    show(rows, output=output, empty="No value differs.")


@click.command()
@click.argument("key")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="How many at most, the newest ones.")
@output_option
def history(key: str, *, limit: int, output: str) -> None:
    """The versions of the trait KEY, newest first: how many have a value, who came, changed and left, as of when, published or held."""
    show_history(_history(key), limit=limit, output=output)


@click.command()
@click.argument("key", required=False)
@click.option("--query", help="A definition in the query language: alone, or what the trait KEY would become.")
@click.option("--sql", metavar="SELECT", help="A SELECT instead; @FILE reads it from a file.")
@click.option("--type", "level", default="USERS", show_default=True, help="USERS or ACCOUNTS; what a definition without KEY is about.")
@click.option("--at", metavar="INSTANT", help="As of this instant; the space's, or now, unless said.")
@click.option("--sample", type=click.IntRange(0, 1_000), default=10, show_default=True, help="How many values are shown.")
@output_option
def preview(key: str | None, *, query: str | None, sql: str | None, level: str, at: str | None, sample: int, output: str) -> None:
    """How many would have a value, and some of them; nothing is kept."""
    draft = None
    if query is not None or sql is not None or key is None:
        definition, how = read_definition(query, sql)
        draft = draft_trait(definition, read_level(level), how)
    desk = open_desk()
    question = ask_trait(desk, key=key, draft=draft, at_us=None if at is None else read_instant(at))
    with desk.session(question.at_us) as session:
        found = preview_trait(session, question)
        some = sample_of(session, found, sample)
    for warning in found.warnings:
        note(f"Warning: {warning}")
    if output == "json":
        show_json(
            {"count": found.size, "at": instant_text(question.at_us), "sample": [{"member": name, "value": value} for name, value in some]}
        )
        return
    click.echo(f"{found.size:,} {'value' if found.size == 1 else 'values'}")
    for name, value in some:
        click.echo(f"  {name}  {text_form(value)}")


@click.command()
@click.argument("key")
@click.argument("member")
@click.option("--at", metavar="INSTANT", help="As of this instant; the space's, or now, unless said.")
@output_option
def explain(key: str, member: str, *, at: str | None, output: str) -> None:
    """Why MEMBER has the value that it has of the trait KEY: the rows of the event, and what each filter left of them.

    MEMBER is a user id or an e-mail address, or of a trait of accounts a group id.
    """
    desk = open_desk()
    question = ask_trait(desk, key=key, at_us=None if at is None else read_instant(at))
    with desk.session(question.at_us) as session:
        named = find_member(session, member, question.trait)
        found = explain_value(session, question, named)
        name = names_of(session, [named.member]).get(named.member, member)
    told: dict[str, Any] = {
        "trait": key,
        "member": name,
        "at": instant_text(question.at_us),
        "value": found.value,
        "definition": found.definition,
        "event": found.event,
        "rows": found.rows,
        "filters": [{"filter": text, "rows": left} for text, left in found.filters],
        "first_at": found.first_at,
        "last_at": found.last_at,
    }
    if question.trait.level is Level.ACCOUNT:
        told["users"] = found.users
    if output == "json":
        show_json(told)
        return
    show_one({**told, "value": _shown(found.value), "filters": [f"{text}: {left} left" for text, left in found.filters]}, output=output)


@click.command()
@click.argument("key")
def release(key: str) -> None:
    """Publish the version that is held."""
    click.echo(f"Version {release_held(key, find_trait)} of {key} is published.")


@click.command()
@click.argument("key")
def discard(key: str) -> None:
    """Drop the version that is held."""
    discard_held(key, find_trait)


def _history(key: str) -> History:
    return open_desk().history(key, find=find_trait)


def _rows(db: duckdb.DuckDBPyConnection, query: str, level: Level) -> Iterator[dict[str, Any]]:
    """Rows with one name per member, values read."""
    cursor = db.execute(query)
    names = [column[0] for column in cursor.description or ()]
    for row in cursor.fetchall():
        cells = dict(zip(names, row, strict=True))
        yield {
            **({"change": cells["change"]} if "change" in cells else {}),
            "member": _name(cells, IDENTIFIERS[level]),
            **({"before": _read(cells["before"])} if "before" in cells else {}),
            "value": _read(cells["value"]),
        }


def _name(cells: dict[str, Any], kinds: Sequence[str]) -> str:
    return next((cells[kind] for kind in kinds if cells[kind] is not None), str(cells["member"]))


def _read(text: str | None) -> Json:
    return None if text is None else json.loads(text)


def _shown(value: Json) -> str:
    return "missing" if value is None else text_form(value) or "''"

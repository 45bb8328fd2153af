"""`engage trait`: values computed for people and accounts, by the query language or by a SELECT."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from engage_pipelines.cli.computations import Kind, compute_now, delete_for_good, sizes_of, summary, switch
from engage_pipelines.cli.late import LateGroup, Lazy
from engage_pipelines.cli.opening import open_database, open_registry
from engage_pipelines.cli.output import output_option, show, show_one
from engage_pipelines.domain.computation import TraitType, read_level
from engage_pipelines.domain.errors import InputError, UsageError
from engage_pipelines.registry.definitions import type_of_trait, users_of
from engage_pipelines.registry.lookup import find_space, find_trait, list_traits
from engage_pipelines.registry.spaces import ensure_space
from engage_pipelines.registry.traits import NewTrait, TraitFields, create_trait, delete_trait, update_trait
from engage_pipelines.settings import read_settings

_LATE = {
    "changes": Lazy(
        "trait_values", "changes", "Whose value differs between the versions OLDER and NEWER of the trait KEY; version 0 has none."
    ),
    "discard": Lazy("trait_values", "discard", "Drop the version that is held."),
    "explain": Lazy(
        "trait_values",
        "explain",
        "Why MEMBER has the value that it has of the trait KEY: the rows of the event, and what each filter left of them.",
    ),
    "history": Lazy(
        "trait_values",
        "history",
        "The versions of the trait KEY, newest first: how many have a value, who came, changed and left, as of when, published or held.",
    ),
    "preview": Lazy("trait_values", "preview", "How many would have a value, and some of them; nothing is kept."),
    "release": Lazy("trait_values", "release", "Publish the version that is held."),
    "sql": Lazy(
        "trait_sql",
        "sql",
        "Print the computed trait KEY as one SELECT over the tables that its space maps: kind, id and value of everyone who has one.",
    ),
    "values": Lazy("trait_values", "values", "The values that a version of the trait KEY holds."),
}
"""Those that read facts or versions bring DuckDB with them."""

_CONFLICTS = click.Choice(["latest", "list", "skip"])
_CONFLICT_HELP = "What a user of several accounts has: the value of the latest Group call's account, a list of all values, or none."

_KIND = Kind("trait", find_trait, list_traits, update_trait, delete_trait)


@click.group(cls=LateGroup, late=_LATE)
def trait() -> None:
    """Traits: values computed for people and accounts."""


@trait.command("list")
@output_option
def list_(*, output: str) -> None:
    """Every trait of the space that is computed."""
    settings = read_settings()
    with open_database(settings).read() as c:
        found = list_traits(c, find_space(c, settings.space).id)
        sizes = sizes_of(c, found)
    rows = [{**summary(row, sizes.get(row.id)), "type": str(type_of_trait(row))} for row in found]
    show(rows, output=output, empty="There is no trait. Make one with: engage trait create KEY --query QUERY")


@trait.command("show")
@click.argument("key")
@output_option
def show_(key: str, *, output: str) -> None:
    """One trait with its definition and what it is used by."""
    settings = read_settings()
    with open_database(settings).read() as c:
        space = find_space(c, settings.space)
        row = find_trait(c, space.id, key)
        values = {
            **summary(row, sizes_of(c, [row]).get(row.id)),
            "type": str(type_of_trait(row)),
            "description": row.description,
            "definition": row.definition,
            "cadence": row.cadence,
            "used_by": users_of(c, space.id, key),
            "last_error": row.last_error,
            "managed_by": row.managed_by,
            "id": row.id,
        }
    show_one(values, output=output)


@trait.command()
@click.argument("key")
@click.option("--query", help="The definition, in the query language, such as event('Order').count().")
@click.option("--sql", metavar="SELECT", help="A SELECT over the space's facts instead; @FILE reads it from a file.")
@click.option("--type", "level", default="USERS", show_default=True, help="USERS or ACCOUNTS.")
@click.option("--name", default="", help="What people read; the key unless said.")
@click.option("--description", default="", help="What it is for.")
@click.option(
    "--cadence", default="", help="A cron line in UTC, hourly, daily, manual or live; hourly, of a SELECT twice a day, unless said."
)
@click.option("--account-trait-conflict", type=_CONFLICTS, default="latest", show_default=True, help=_CONFLICT_HELP)
def create(key: str, *, query: str | None, sql: str | None, level: str, **words: Any) -> None:
    """Make the trait KEY; it is computed at once."""
    definition, how = read_definition(query, sql)
    with open_registry().change() as change:
        create_trait(change, ensure_space(change), NewTrait(key=key, level=read_level(level), definition=definition, type=how, **words))
    click.echo(f"Trait {key} is there; its first evaluation is asked for.")


@trait.command()
@click.argument("key")
@click.option("--query", help="The definition, in the query language.")
@click.option("--sql", metavar="SELECT", help="The SELECT of a trait that is one; @FILE reads it from a file.")
@click.option("--name", help="What people read.")
@click.option("--description", help="What it is for.")
@click.option("--cadence", help="A cron line in UTC, or hourly, daily, manual or live.")
@click.option("--account-trait-conflict", type=_CONFLICTS, help=_CONFLICT_HELP)
def update(key: str, *, query: str | None, sql: str | None, **given: Any) -> None:
    """Change the trait KEY; what is not named stays. Its key, type and level never change."""
    fields: TraitFields = {name: value for name, value in given.items() if value is not None}  # pyright: ignore[reportAssignmentType]
    registry = open_registry()
    with registry.change() as change:
        space = find_space(change.c, registry.space)
        before = find_trait(change.c, space.id, key)
        if query is not None or sql is not None:
            fields["definition"], how = read_definition(query, sql)
            if how is not type_of_trait(before):
                raise UsageError(f"Trait {key!r} is of type {type_of_trait(before)}; its type never changes.", "Make another trait.")
        after = update_trait(change, space, key, **fields)
    click.echo(f"Trait {key} {'is unchanged' if after == before else 'is changed'}.")


@trait.command()
@click.argument("key")
@click.option("--yes", is_flag=True, help="Do not ask; its connections are removed too.")
def delete(key: str, *, yes: bool) -> None:
    """Delete the trait KEY, with its connections. Its key is never used again, and what destinations hold stays there."""
    delete_for_good(_KIND, key, unasked=yes)


@trait.command()
@click.argument("key")
def enable(key: str) -> None:
    """Have the trait KEY computed again."""
    switch(_KIND, key, enabled=True)


@trait.command()
@click.argument("key")
def disable(key: str) -> None:
    """Do not compute the trait KEY from now on; what refers to it still reads its value."""
    switch(_KIND, key, enabled=False)


@trait.command()
@click.argument("keys", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every enabled trait.")
@click.option("--wait", is_flag=True, help="End when they are computed; exit code 1 when that failed.")
def compute(keys: Sequence[str], *, everything: bool, wait: bool) -> None:
    """Ask for the traits KEYS to be evaluated now."""
    compute_now(_KIND, keys, everything=everything, wait=wait)


def read_definition(query: str | None, sql: str | None) -> tuple[str, TraitType]:
    """A definition as commands take one. Raises UsageError unless it is one of the two, InputError for a file that cannot be read."""
    if (query is None) == (sql is None):
        raise UsageError("A trait is a --query or a --sql.", "Give one of the two.")
    if query is not None:
        return query, TraitType.COMPUTED
    text = sql or ""
    if text.startswith("@"):
        try:
            text = Path(text[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{text[1:]} cannot be read: {error}.", "Name a file with one SELECT.") from error
    return text, TraitType.SQL

"""`engage audience`: audiences and their definitions."""

from collections.abc import Sequence
from typing import Any

import click

from engage_pipelines.cli.audience_flags import all_options, changeable_options, take_options
from engage_pipelines.cli.computations import Kind, compute_now, delete_for_good, sizes_of, summary, switch
from engage_pipelines.cli.late import LateGroup, Lazy
from engage_pipelines.cli.opening import open_database, open_registry
from engage_pipelines.cli.output import output_option, show, show_one
from engage_pipelines.domain.computation import read_level
from engage_pipelines.registry.audiences import (
    AudienceFields,
    NewAudience,
    clone_audience,
    create_audience,
    delete_audience,
    update_audience,
)
from engage_pipelines.registry.cadence import DEFAULT_CADENCE
from engage_pipelines.registry.computations import is_computing
from engage_pipelines.registry.definitions import users_of
from engage_pipelines.registry.lookup import find_audience, find_space, list_audiences
from engage_pipelines.registry.spaces import ensure_space
from engage_pipelines.settings import read_settings

_LATE = {
    "preview": Lazy("preview", "preview", "How many, and who, would be in an audience."),
    "overlap": Lazy("overlap", "overlap", "How many members the audiences KEY and OTHER have in common, both evaluated as of one instant."),
    "explain": Lazy("explain", "explain", "Why MEMBER is in the audience KEY or not: every clause with what it saw, and since when."),
    "history": Lazy(
        "history", "history", "The versions of the audience KEY, newest first: size, who entered and exited, as of when, published or held."
    ),
    "export": Lazy("export", "export", "Write the members of the audience KEY to FILE, or as CSV to standard output."),
    "sql": Lazy(
        "audience_sql", "sql", "Print the audience KEY as one SELECT over the tables that its space maps: kind and id of every member."
    ),
    "members": Lazy("versions", "members", "Who is in the current version: user ids, or group ids; a user without one is shown by e-mail."),
    "release": Lazy("versions", "release", "Publish the version that is held: its changes are sent."),
    "discard": Lazy("versions", "discard", "Drop the version that is held: nothing of it is ever sent."),
}
"""Those that read facts or versions bring DuckDB with them."""

_KIND = Kind("audience", find_audience, list_audiences, update_audience, delete_audience)


@click.group(cls=LateGroup, late=_LATE)
def audience() -> None:
    """Audiences and their definitions."""


@audience.command("list")
@output_option
def list_(*, output: str) -> None:
    """Every audience of the space."""
    settings = read_settings()
    with open_database(settings).read() as c:
        found = list_audiences(c, find_space(c, settings.space).id)
        sizes = sizes_of(c, found)
    rows = [summary(row, sizes.get(row.id)) for row in found]
    show(rows, output=output, empty="There is no audience. Make one with: engage audience create KEY --query QUERY")


@audience.command("show")
@click.argument("key")
@output_option
def show_(key: str, *, output: str) -> None:
    """One audience with its definition and what it is used by."""
    settings = read_settings()
    with open_database(settings).read() as c:
        space = find_space(c, settings.space)
        row = find_audience(c, space.id, key)
        values = {
            **summary(row, sizes_of(c, [row]).get(row.id)),
            "description": row.description,
            "definition": row.definition,
            "cadence": row.cadence,
            "options": row.options,
            "computing": is_computing(c, row),
            "used_by": users_of(c, space.id, key),
            "last_error": row.last_error,
            "managed_by": row.managed_by,
            "id": row.id,
        }
    show_one(values, output=output)


@audience.command()
@click.argument("key")
@click.option("--query", required=True, help="The definition, in the query language.")
@click.option("--type", "level", default="USERS", show_default=True, help="USERS or ACCOUNTS.")
@click.option("--name", default="", help="What people read; the key unless said.")
@click.option("--description", default="", help="What it is for.")
@click.option("--cadence", default=DEFAULT_CADENCE, show_default=True, help="A cron line in UTC, or hourly, daily, manual or live.")
@all_options
def create(key: str, *, query: str, level: str, **words: Any) -> None:
    """Make the audience KEY; it is computed at once, connected or not, unless it says otherwise."""
    new = NewAudience(key=key, level=read_level(level), definition=query, options=take_options(words), **words)
    with open_registry().change() as change:
        row = create_audience(change, ensure_space(change), new)
        computing = is_computing(change.c, row)
    click.echo(f"Audience {key} is there; {'its first evaluation is asked for' if computing else 'it is computed once it is connected'}.")


@audience.command()
@click.argument("key")
@click.option("--query", "definition", help="The definition, in the query language.")
@click.option("--name", help="What people read.")
@click.option("--description", help="What it is for.")
@click.option("--cadence", help="A cron line in UTC, or hourly, daily, manual or live.")
@click.option("--enable/--disable", "enabled", default=None, help="Disabled: it is neither computed nor sent.")
@changeable_options
def update(key: str, **given: Any) -> None:
    """Change the audience KEY; what is not named stays. Its key and type never change, nor who can be a member at all."""
    options = take_options(given)
    fields: AudienceFields = {name: value for name, value in given.items() if value is not None}  # pyright: ignore[reportAssignmentType]
    registry = open_registry()
    with registry.change() as change:
        space = find_space(change.c, registry.space)
        before = find_audience(change.c, space.id, key)
        if options:
            fields["options"] = {**before.options, **options}
        after = update_audience(change, space, key, **fields)
    click.echo(f"Audience {key} {'is unchanged' if after == before else 'is changed'}.")


@audience.command()
@click.argument("key")
@click.argument("new_key", metavar="NEWKEY")
@click.option("--name", default="", help="What people read; the other's name and (copy) unless said.")
@all_options
def clone(key: str, new_key: str, *, name: str, **words: Any) -> None:
    """Make the audience NEWKEY with the definition and the options of KEY, and those given; destinations are connected anew."""
    registry = open_registry()
    with registry.change() as change:
        clone_audience(change, find_space(change.c, registry.space), key, new_key, name=name, options=take_options(words))
    click.echo(f"Audience {new_key} is there, like {key}; connect it to the destinations it is for.")


@audience.command()
@click.argument("key")
@click.option("--yes", is_flag=True, help="Do not ask; its connections are removed too.")
def delete(key: str, *, yes: bool) -> None:
    """Delete the audience KEY, with its connections. Its key is never used again, and what destinations hold stays there."""
    delete_for_good(_KIND, key, unasked=yes)


@audience.command()
@click.argument("key")
def enable(key: str) -> None:
    """Have the audience KEY computed and sent again; what changed meanwhile is owed."""
    switch(_KIND, key, enabled=True)


@audience.command()
@click.argument("key")
def disable(key: str) -> None:
    """Neither compute nor send the audience KEY from now on; nothing is sent about it."""
    switch(_KIND, key, enabled=False)


@audience.command()
@click.argument("keys", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every enabled audience.")
@click.option("--wait", is_flag=True, help="End when they are computed; exit code 1 when that failed.")
def compute(keys: Sequence[str], *, everything: bool, wait: bool) -> None:
    """Ask for the audiences KEYS to be evaluated now."""
    compute_now(_KIND, keys, everything=everything, wait=wait)

"""`engage audience members | release | discard`: the versions of an audience, as people look at them and decide about them."""

from collections.abc import Callable, Iterator

import click
import duckdb
import sqlalchemy as sa

from engage_pipelines.cli.opening import open_database, open_registry
from engage_pipelines.cli.output import note, show_json
from engage_pipelines.computing import held
from engage_pipelines.domain.errors import NotFoundError
from engage_pipelines.registry.lookup import Row, find_audience, find_space
from engage_pipelines.registry.versions import published_versions
from engage_pipelines.settings import read_settings
from engage_pipelines.snapshots.rows import Chain

Find = Callable[[sa.Connection, str, str], Row]
"""Finds an audience or a trait of a space by its key."""

_CHUNK = 10_000


@click.command()
@click.argument("key")
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True, help="For people or for programs.")
def members(key: str, *, output: str) -> None:
    """Who is in the current version: user ids, or group ids; a user without one is shown by e-mail."""
    settings = read_settings()
    with open_database(settings).read() as c:
        space = find_space(c, settings.space)
        audience = find_audience(c, space.id, key)
        versions = published_versions(c, audience.id)
    if audience.current_version is None:
        raise NotFoundError(f"Audience {key!r} has no published version yet.", f"Compute it: engage audience compute {key}")
    chain = Chain.of(settings.snapshots_dir / space.key / key, versions)
    names = _names(chain, audience.current_version, audience.level)
    if output == "json":
        show_json({"version": audience.current_version, "members": list(names)})
        return
    for name in names:
        click.echo(name)


@click.command()
@click.argument("key")
def release(key: str) -> None:
    """Publish the version that is held: its changes are sent."""
    click.echo(f"Version {release_held(key, find_audience)} of {key} is published; the syncs follow.")


@click.command()
@click.argument("key")
def discard(key: str) -> None:
    """Drop the version that is held: nothing of it is ever sent."""
    discard_held(key, find_audience)


def release_held(key: str, find: Find) -> int:
    """The number of the version of an audience or a trait that was held and is published now."""
    registry = open_registry()
    with registry.change() as change:
        return held.release(change, find(change.c, find_space(change.c, registry.space).id, key))


def discard_held(key: str, find: Find) -> None:
    """Drop the version of an audience or a trait that is held."""
    registry = open_registry()
    with registry.change() as change:
        n = held.discard(change, find(change.c, find_space(change.c, registry.space).id, key), read_settings())
    note(f"Version {n} of {key} is discarded; the next evaluation makes a new one.")


def _names(chain: Chain, n: int, level: str) -> Iterator[str]:
    """One name per member, in text order."""
    kinds = ("group_id", "group_id") if level == "account" else ("user_id", "email")
    query = f"""select coalesce(arg_min(substr(address, length($1) + 2), first_order) filter (starts_with(address, $1 || ':')),
                                arg_min(substr(address, length($2) + 2), first_order) filter (starts_with(address, $2 || ':'))) as name
        from ({chain.rows(n)}) where level = $3 and current group by member order by name"""
    with duckdb.connect() as db:
        cursor = db.execute(query, [*kinds, level])
        while rows := cursor.fetchmany(_CHUNK):
            yield from (row[0] for row in rows if row[0] is not None)

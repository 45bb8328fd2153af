"""`engage profile`: people who are to be left out of every audience, or forgotten."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from engage_pipelines.cli.opening import open_database, open_registry
from engage_pipelines.cli.output import instant_text, output_option, show
from engage_pipelines.registry import suppression
from engage_pipelines.registry.lookup import find_space
from engage_pipelines.registry.spaces import ensure_space
from engage_pipelines.registry.suppression import KINDS, Profile, list_suppressed
from engage_pipelines.settings import read_settings

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _profile_argument(command: _Command) -> _Command:
    """USER_ID and `--by`, given to the command as `id_` and `kind`."""
    option = click.option("--by", "kind", type=click.Choice(KINDS), default="user_id", show_default=True, help="What the identifier is.")
    return option(click.argument("id_", metavar="USER_ID")(command))


@click.group()
def profile() -> None:
    """People who are to be left out of every audience, or forgotten."""


@profile.command("list")
@output_option
def list_(*, output: str) -> None:
    """The profiles that are suppressed."""
    settings = read_settings()
    with open_database(settings).read() as c:
        rows = list_suppressed(c, find_space(c, settings.space).id)
    show(
        [{"identifier": row.kind, "id": row.id, "since": instant_text(row.at), "by": row.actor} for row in rows],
        output=output,
        empty="Nobody is suppressed.",
    )


@profile.command()
@_profile_argument
def suppress(id_: str, kind: str) -> None:
    """Take the profile of USER_ID out of every audience, and keep it out: its exits are sent, it never enters until unsuppressed."""
    registry = open_registry()
    with registry.change() as change:
        new = suppression.suppress(change, ensure_space(change), Profile(kind, id_))
    click.echo("Suppressed; the audiences are computed, and the exits follow." if new else "It is suppressed already.")


@profile.command()
@_profile_argument
def unsuppress(id_: str, kind: str) -> None:
    """Let the profile of USER_ID in again, where definitions say so."""
    registry = open_registry()
    with registry.change() as change:
        suppression.unsuppress(change, find_space(change.c, registry.space), Profile(kind, id_))
    click.echo("It may be a member again; the audiences are computed.")

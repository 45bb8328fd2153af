"""`engage profile`: people who are to be left out of every audience, or forgotten."""

import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

import click

from engage_pipelines.cli.opening import open_database, open_registry
from engage_pipelines.cli.output import instant_text, note, output_option, show
from engage_pipelines.domain.errors import StateError, UsageError
from engage_pipelines.registry import suppression
from engage_pipelines.registry.lookup import find_space
from engage_pipelines.registry.spaces import ensure_space
from engage_pipelines.registry.suppression import KINDS, Profile, list_suppressed
from engage_pipelines.settings import read_settings

_LOOK_EVERY_S = 1.0
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
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--wait", is_flag=True, help="Wait until the exits are sent, then erase.")
@click.option("--without-exits", is_flag=True, help="Erase at once: exits that are yet to be sent never will be.")
def erase(id_: str, kind: str, *, yes: bool, wait: bool, without_exits: bool) -> None:
    """Forget the profile of USER_ID: it is suppressed, its exits are sent, then nothing of it stays. Run it until it is done."""
    from engage_pipelines.computing.erase import eraser  # noqa: PLC0415 - brings DuckDB, and looking needs it not

    if not yes and not sys.stdin.isatty():
        raise UsageError("There is no terminal to ask on.", "Add --yes to erase without being asked.")
    if not yes:
        click.confirm("All facts about the profile go, and cannot be brought back. Erase it?", abort=True)
    registry, person = open_registry(), Profile(kind, id_)
    with registry.change() as change:
        suppression.suppress(change, ensure_space(change), person)
    one = eraser(read_settings(), registry, person)
    if not without_exits:
        _wait_for_exits(one.outstanding, wait=wait)
    done = one.erase()
    click.echo(f"Erased: {done.facts:,} rows of facts, {done.versions:,} of versions, {done.records:,} frozen records.")
    if done.is_in_warehouse:
        note("The warehouse still has rows about it: they are yours to delete. It stays suppressed; delete them, then run this again.")
    if done.refused:
        note(f"{done.refused:,} of its records had been refused by destinations: what they hold of it is theirs to take away.")


def _wait_for_exits(outstanding: Callable[[], list[str]], *, wait: bool) -> None:
    told: list[str] = []
    while found := outstanding():
        if not wait:
            raise StateError(
                f"Not erased yet, it is suppressed and the exits come first: {'; '.join(found)}.",
                "Run it again then, or with --wait; --without-exits erases at once.",
            )
        if found != told:
            note(f"Waiting: {'; '.join(found)}.")
        told = found
        time.sleep(_LOOK_EVERY_S)


@profile.command()
@_profile_argument
def unsuppress(id_: str, kind: str) -> None:
    """Let the profile of USER_ID in again, where definitions say so."""
    registry = open_registry()
    with registry.change() as change:
        suppression.unsuppress(change, find_space(change.c, registry.space), Profile(kind, id_))
    click.echo("It may be a member again; the audiences are computed.")

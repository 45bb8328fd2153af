"""`engage connect` and `engage disconnect`: joining audiences to destinations."""

import sys
from collections.abc import Sequence

import click

from engage_pipelines.cli.opening import open_registry
from engage_pipelines.cli.output import note
from engage_pipelines.cli.waiting import wait_for_sync
from engage_pipelines.destinations.catalog import destination_type
from engage_pipelines.domain.connection import CALLS
from engage_pipelines.domain.enrichment import OPTION as ENRICHMENT
from engage_pipelines.domain.errors import UsageError
from engage_pipelines.registry.change import Change, Registry
from engage_pipelines.registry.connections import Connected, NewConnection, find_connection, leave, pause, remove
from engage_pipelines.registry.connections import connect as connect_in
from engage_pipelines.registry.destinations import find_destination
from engage_pipelines.registry.leaving import EXIT_ALL, OPTION, leaves_first
from engage_pipelines.registry.list_settings import parse_list_settings
from engage_pipelines.registry.lookup import find_computation, find_space


@click.command()
@click.argument("audience")
@click.argument("destination")
@click.option("--group", is_flag=True, help="Send a Group call for each account (account audiences).")
@click.option("--identify", is_flag=True, help="Send an Identify call for each user.")
@click.option("--track", is_flag=True, help="Send Audience Entered and Audience Exited for each user.")
@click.option("--backfill/--no-backfill", default=None, help="Send the present members, or only those who come and go from now on.")
@click.option(
    "--id",
    "ids",
    multiple=True,
    metavar="KIND[:first|last|all[:NAME]]",
    help="Enter people by this identifier; NAME is a trait or property that holds it too. A connection that is there changes.",
)
@click.option(
    "--trait",
    "traits",
    multiple=True,
    metavar="TRAIT[:NAME]",
    help="A trait that rides along in the records, under this name. A connection that is there changes.",
)
@click.option(
    "--list-setting",
    "list_settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="What the type wants to know of the connection's list. A connection that is there changes.",
)
@click.option(
    "--on-disconnect", type=click.Choice(["keep", "exit_all"]), help="exit_all: everyone's exit is sent before the connection ends."
)
@click.option("--wait", is_flag=True, help="End when the backfill is settled; exit code 1 when it failed.")
@click.option("--dry-run", is_flag=True, help="Say what would be made and sent, and write nothing.")
def connect(
    audience: str,
    destination: str,
    *,
    backfill: bool | None,
    ids: Sequence[str],
    traits: Sequence[str],
    list_settings: tuple[str, ...],
    on_disconnect: str | None,
    wait: bool,
    **given: bool,
) -> None:
    """Connect AUDIENCE (or a trait) to DESTINATION, or resume the connection that is paused."""
    registry = open_registry()
    chosen = [call for call in CALLS if given[call]]
    listed = parse_list_settings(list_settings) or None
    new = NewConnection(audience, destination, chosen, backfill, ids or None, listed, on_disconnect, traits or None)
    if given["dry_run"]:
        from engage_pipelines.cli.rehearse import say_rehearsal  # noqa: PLC0415 - brings DuckDB, connecting needs none of it

        say_rehearsal(registry, new)
        return
    with registry.change() as change:
        space = find_space(change.c, registry.space)
        made = connect_in(change, space, new)
        type_key = find_destination(change.c, space.id, destination).type
    _say(audience, destination, type_key, made)
    if wait and made.request_id is not None:
        wait_for_sync(registry.database, made.request_id)


def _say(audience: str, destination: str, type_key: str, made: Connected) -> None:
    if made.resumed:
        click.echo(f"Resumed {audience} -> {destination}; what changed meanwhile is owed.")
    elif made.ids_changed:
        click.echo(f"{audience} -> {destination} enters {', '.join(made.connection.options['id_sync'])} from now on.")
        click.echo(f"  who is in already stays as told; to send everyone again: engage resync {audience} {destination}")
    elif made.traits_changed:
        told = ", ".join(made.connection.options[ENRICHMENT])
        click.echo(f"In the records of {audience} -> {destination} ride from now on: {told}. Nothing is sent for it.")
    elif made.list_changed:
        said = ", ".join(f"{name}={value}" for name, value in made.connection.options["list_settings"].items())
        click.echo(f"The list of {audience} -> {destination} has these settings from now on: {said}.")
    elif made.request_id is None and not made.mappings and made.connection.options.get(OPTION):
        ends = "everyone's exit is sent before it ends" if made.connection.options[OPTION] == EXIT_ALL else "nothing is sent when it ends"
        click.echo(f"{audience} -> {destination}: {ends}.")
    else:
        calls = " and ".join(call.title() for call in made.connection.calls)
        owed = "every member is owed" if made.request_id else "only later changes are sent"
        click.echo(f"Connected {audience} -> {destination} with {calls} calls; {owed}.")
        for row in made.mappings:
            click.echo(f"  mapping on: {row.name}  when {row.trigger}")
        info = destination_type(type_key)
        click.echo(f"  the same record twice: {_EFFECTS[str(info.effect)]}")
        if info.creates_lists:
            click.echo("  its list is found by name, or made, before the first record")
        if info.minimum_list_size:
            click.echo(f"  the list is of use at {info.name} from {info.minimum_list_size:,} people on")
        if info.min_interval_s:
            click.echo(f"  {info.name} is told the net change once in {info.min_interval_s:,} s at most")
    if made.connection.state == "awaiting_mapping":
        note(f"No enabled mapping matches: nothing is delivered. Enable one with: engage mapping enable {destination} NAME")


_EFFECTS = {
    "idempotent": "does no more than once",
    "dedupes": "is dropped by the destination, within its window",
    "at_least_once": "counts twice at the destination",
}


@click.command()
@click.argument("audience")
@click.argument("destination")
@click.option("--pause", "how", flag_value="pause", help="Stop sending and keep the set-up; connecting again resumes.")
@click.option("--remove", "how", flag_value="remove", help="End the connection and its presets; exits are sent first where that was said.")
@click.option("--exit-all", "how", flag_value="exit_all", help="Send everyone's exit, of a trait null, then end the connection.")
@click.option("--yes", is_flag=True, help="Do not ask before exits are sent.")
@click.option("--dry-run", is_flag=True, help="Say how many exits --exit-all would send, and write nothing.")
def disconnect(audience: str, destination: str, *, how: str | None, yes: bool, dry_run: bool) -> None:
    """Pause or end the connection of AUDIENCE to DESTINATION. What was sent stays where it is, but with --exit-all."""
    if how is None:
        raise UsageError(
            "Disconnecting is one of three things.",
            "Say --pause (keeps the set-up), --remove (ends the connection) or --exit-all (sends everyone's exit, then ends it).",
        )
    registry = open_registry()
    if how == "exit_all" or (how == "remove" and _leaves_first(registry, audience, destination)):
        _leave(registry, audience, destination, yes=yes, dry_run=dry_run)
        return
    with registry.change() as change:
        space = find_space(change.c, registry.space)
        of, to = find_computation(change.c, space.id, audience), find_destination(change.c, space.id, destination)
        if how == "pause":
            pause(change, space, of, to)
        else:
            remove(change, space, of, to)
    click.echo(f"{'Paused' if how == 'pause' else 'Removed'} {audience} -> {destination}.")


def _leaves_first(registry: Registry, audience: str, destination: str) -> bool:
    with registry.database.read() as c:
        space = find_space(c, registry.space)
        row = find_connection(c, find_computation(c, space.id, audience), find_destination(c, space.id, destination))
    return leaves_first(row)


def _leave(registry: Registry, audience: str, destination: str, *, yes: bool, dry_run: bool) -> None:
    from engage_pipelines.cli.rehearse import exits_of  # noqa: PLC0415 - brings DuckDB, pausing and removing need none of it

    def act(change: Change) -> Connected:
        space = find_space(change.c, registry.space)
        return leave(change, space, find_computation(change.c, space.id, audience), find_destination(change.c, space.id, destination))

    exits = exits_of(registry, act)
    if dry_run:
        click.echo(f"Would send {exits}, then end {audience} -> {destination}; nothing is written.")
        return
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"This sends {exits}, and there is no terminal to ask on.", "Add --yes to send them without being asked.")
        click.confirm(f"Send {exits} and end {audience} -> {destination}?", abort=True)
    with registry.change() as change:
        gone = act(change).connection.removed_at is not None
    end = "nobody was told of, so it is gone" if gone else f"{exits} are owed, then it is gone"
    click.echo(f"{audience} -> {destination} leaves: {end}.")

"""`engage events`: the events that the facts of a space hold."""

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

import click

from engage_pipelines.cli.opening import meant_space, open_database
from engage_pipelines.domain.computation import check_key
from engage_pipelines.facts.calls import parse_instant
from engage_pipelines.settings import read_settings


def _space(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str:
    settings = read_settings()
    return check_key(value or meant_space(open_database(settings), settings), "space key")


def _instant(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    instant = parse_instant(value)
    if instant is None:
        raise click.BadParameter(f"{value!r} is no ISO 8601 instant. Write it like 2026-03-01T00:00:00Z.")
    return instant


def space_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option that names the space; ENGAGE_SPACE, the only space there is, or `default` stands in for it."""
    return click.option("--space", metavar="KEY", callback=_space, help="The space, when there are several.")(command)


@click.group()
def events() -> None:
    """The events that the facts of a space hold."""


@events.command()
@space_option
@click.option("--before", "before_us", metavar="TIME", callback=_instant, help="Events before this instant.")
@click.option("--after", "from_us", metavar="TIME", callback=_instant, help="Events from this instant on.")
@click.option("--event", metavar="NAME", help="Events of this name.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def delete(space: str, before_us: int | None, from_us: int | None, event: str | None, *, yes: bool, output: str) -> None:
    """Take events away: track, page and screen calls that meet all the conditions given.

    Shows what will go and asks first. Users, accounts, traits and links stay. The message ids are forgotten, so that taking the same calls
    in again brings the events back.
    """
    if before_us is None and from_us is None and event is None:
        raise click.UsageError("Nothing says which events: give at least one of --before, --after and --event.")
    from engage_pipelines.facts.delete import Doomed, count_events, delete_events  # noqa: PLC0415 - brings DuckDB

    facts_dir = read_settings().facts_dir
    doomed = Doomed(before_us, from_us, event)
    counts = count_events(facts_dir, space, doomed)
    if output == "text":
        click.echo(_announcement(counts))
    if counts and not yes:
        _ask(sum(counts.values()))
    taken = delete_events(facts_dir, space, doomed) if counts else 0
    click.echo(json.dumps({"deleted": taken, "events": counts}) if output == "json" else f"Deleted {taken:,} events.")


def _announcement(counts: Mapping[str, int]) -> str:
    if not counts:
        return "No event meets the conditions."
    width = max(len(name) for name in counts)
    return "\n".join(["These events will go:", *(f"  {name:<{width}}  {number:>12,}" for name, number in counts.items())])


def _ask(number: int) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("There is no terminal to ask on: add --yes to delete without being asked.")
    click.confirm(f"Delete {number:,} events?", abort=True)

"""Flags for the options of audiences, as `create`, `clone` and `update` take them."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from engage_pipelines.registry.audience_options import KNOWN_IDS

_Command = TypeVar("_Command", bound=Callable[..., Any])

_CHANGEABLE = (
    click.option(
        "--empty-accounts", type=click.Choice(["default", "true", "false"]), help="What conditions say of an account without users."
    ),
    click.option(
        "--historical-data/--no-historical-data",
        "include_historical_data",
        default=None,
        help="No: only events from the audience's creation on count, and connecting sends no backfill.",
    ),
    click.option(
        "--backfill-days", "backfill_event_data_days", type=int, metavar="N", help="Events count from N days before the creation on."
    ),
    click.option(
        "--compute-without-destinations/--compute-when-connected",
        "compute_without_destinations",
        default=None,
        help="When connected: not computed while no destination is.",
    ),
)
_AT_CREATION = (
    click.option(
        "--include-anonymous",
        is_flag=True,
        default=None,
        help="Profiles that nobody has identified can be members too; fixed from then on.",
    ),
    click.option(
        "--filter-by",
        "filter_by_external_ids",
        multiple=True,
        type=click.Choice(KNOWN_IDS),
        help="Only holders of such an identifier can be members; may be given several times, fixed from then on.",
    ),
)
NAMES = (
    "empty_accounts",
    "include_historical_data",
    "backfill_event_data_days",
    "compute_without_destinations",
    "include_anonymous",
    "filter_by_external_ids",
)


def changeable_options(command: _Command) -> _Command:
    """The flags of the options that may change in an audience's life."""
    for option in reversed(_CHANGEABLE):
        command = option(command)
    return command


def all_options(command: _Command) -> _Command:
    """Those, and the ones that are decided when an audience is made."""
    for option in reversed(_AT_CREATION):
        command = option(command)
    return changeable_options(command)


def take_options(words: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, taken out of the words of a command."""
    given = {name: words.pop(name) for name in NAMES if name in words}
    if given.get("filter_by_external_ids"):
        given["filter_by_external_ids"] = list(given["filter_by_external_ids"])
    return {name: value for name, value in given.items() if value not in (None, ())}

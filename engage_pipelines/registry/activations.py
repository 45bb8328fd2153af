"""Activations: mappings that belong to one connection and go with it, made by hand beside the presets."""

from collections.abc import Sequence

import sqlalchemy as sa

from engage_pipelines.domain.connection import CALLS, RequestKind
from engage_pipelines.domain.errors import ConflictError
from engage_pipelines.registry.change import Change
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.mappings import NewMapping, enable_mapping, list_mappings, write_mapping
from engage_pipelines.registry.matching import Match
from engage_pipelines.registry.tables import destination, mapping, sync_request

ENTERED, EXITED, CHANGED = "Audience Entered", "Audience Exited", "Audience Membership Changed"
KINDS = (ENTERED, EXITED, CHANGED)
MOST_PER_CONNECTION = 50


def trigger_for(kind: str, key: str, calls: Sequence[str]) -> str:
    """When an activation of that kind sends something about the audience `key`, on a connection that sends these calls.

    Entries and exits are told by Track events where the connection sends some, by the value of the trait otherwise.
    """
    of_this = f'context.personas.computation_key = "{key}"'
    if kind == CHANGED:
        named = [call for call in CALLS if call in calls and call != "track"] or list(calls)
        types = " or ".join(f'type = "{call}"' for call in named)
        return f"({types}) and {of_this}"
    if "track" in calls:
        return f'event = "{kind}" and {of_this}'
    return f"traits.{key} = {'true' if kind == ENTERED else 'false'} and {of_this}"


def kind_of(match: Match | None) -> str:
    """Which kind of activation a mapping is, by what its trigger lets through; one that lets nothing through may send both."""
    if match is None or match.sends(entered=True) == match.sends(entered=False):
        return CHANGED
    return ENTERED if match.sends(entered=True) else EXITED


def add_activation(change: Change, to: Row, connected: Row, new: NewMapping, *, resync: bool) -> Row:
    """Make a mapping of the connection; enabled with `resync`, every member is sent through it.

    Raises what `write_mapping` does, and ConflictError for a taken name or too many.
    """
    change.lock(destination, to.id)
    rows = list_mappings(change.c, to.id)
    if any(row.name == new.name for row in rows):
        raise ConflictError(f"Destination {to.key!r} has a mapping {new.name!r} already.", "Choose another name.")
    if sum(row.connection_id == connected.id for row in rows) >= MOST_PER_CONNECTION:
        raise ConflictError(f"The connection has {MOST_PER_CONNECTION} mappings.", "Remove one first.")
    made = write_mapping(change, to, new, preset_of=connected)
    after = {"trigger": made.trigger, "action": made.action, "fields": made.fields, "enabled": new.enabled}
    change.record("create", f"mapping {to.key}/{new.name}", after=after)
    row = change.update(mapping, made.id, {"enabled": False})
    return enable_mapping(change, to, row, backfill=resync) if new.enabled else row


def resyncing(c: sa.Connection, connection_ids: Sequence[str]) -> set[str]:
    """The connections that owe every member: a backfill or resync of theirs waits or runs."""
    r = sync_request.c
    kinds = [str(RequestKind.BACKFILL), str(RequestKind.RESYNC)]
    owed = sa.select(r.connection_id).where(r.connection_id.in_(connection_ids), r.state == "owed", r.kind.in_(kinds))
    return set(c.execute(owed).scalars())

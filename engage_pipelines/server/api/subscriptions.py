"""Subscriptions: the mappings of a destination, a trigger in FQL, an action, and fields in the mapping kit's language."""

from typing import Annotated, Any

import sqlalchemy as sa
from pydantic import Field

from engage_pipelines.domain.errors import ConfigurationError, ConflictError, DefinitionError, NotFoundError, UsageError
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.mappings import (
    MappingFields,
    NewMapping,
    add_mapping,
    disable_mapping,
    enable_mapping,
    remove_mapping,
    update_mapping,
)
from engage_pipelines.registry.tables import mapping
from engage_pipelines.registry.tokens import Role
from engage_pipelines.server.api.calls import PAGINATION, Answer, AtFieldError, Body, Call, Operation, at_field, instant
from engage_pipelines.server.api.pages import page_of, read_page
from engage_pipelines.server.api.things import destination_of, mapping_of

MOST_TRIGGER = 5_000
_NAME = Annotated[str, Field(min_length=1, max_length=300)]
_TRIGGER = Annotated[str, Field(min_length=1, max_length=MOST_TRIGGER)]
FIELDS = Annotated[dict[str, Any], Field(max_length=500)]


class CreateSubscription(Body):
    """CreateDestinationSubscriptionAlphaInput; `settings` are the fields, the action's own unless given."""

    name: _NAME
    actionId: Annotated[str, Field(min_length=1, max_length=200)]
    trigger: _TRIGGER
    enabled: bool
    settings: FIELDS | None = None
    modelId: Annotated[str, Field(max_length=0)] | None = None


class SubscriptionInput(Body):
    """What may be changed of a subscription; its action stays."""

    name: _NAME | None = None
    trigger: _TRIGGER | None = None
    enabled: bool | None = None
    settings: FIELDS | None = None
    reverseETLModelId: Annotated[str, Field(max_length=0)] | None = None
    reverseETLSchedule: None = None
    updatedAt: Annotated[str, Field(max_length=40)] | None = None


class UpdateSubscription(Body):
    """UpdateSubscriptionForDestinationAlphaInput."""

    input: SubscriptionInput


def subscription_data(row: Row) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "actionId": row.action,
        "actionSlug": row.action,
        "destinationId": row.destination_id,
        "enabled": row.enabled,
        "trigger": row.trigger,
        "settings": row.fields,
        "modelId": "",
        "revision": row.revision,
        "connectionId": row.connection_id,
        "updatedAt": instant(row.updated_at),
    }


def _list(call: Call) -> Answer:
    page = read_page(call.query)
    with call.registry.database.read() as c:
        _space, to = destination_of(c, call, call.part("destinationId"))
        query = sa.select(mapping).where(mapping.c.destination_id == to.id, mapping.c.removed_at.is_(None))
        found = page_of(c, query, mapping.c.id, page)
    return Answer({"subscriptions": [subscription_data(row) for row in found.rows], "pagination": found.pagination})


def _get(call: Call) -> Answer:
    with call.registry.database.read() as c:
        _space, to = destination_of(c, call, call.part("destinationId"))
        row = mapping_of(c, to, call.part("id"))
    return Answer({"subscription": subscription_data(row)}, row.updated_at)


def _create(call: Call) -> Answer:
    said = call.said(CreateSubscription)
    new = NewMapping(said.name, said.trigger, said.actionId, said.settings, said.enabled)
    with call.registry.change() as change:
        _space, to = destination_of(change.c, call, call.part("destinationId"))
        with (
            at_field("actionId", NotFoundError),
            at_field("trigger", DefinitionError),
            at_field("name", ConflictError),
            at_field("settings", ConfigurationError),
        ):
            row = add_mapping(change, to, new)
    return Answer({"destinationSubscription": subscription_data(row)}, row.updated_at)


def _update(call: Call) -> Answer:
    said = call.said(UpdateSubscription).input
    with call.registry.change() as change:
        _space, to = destination_of(change.c, call, call.part("destinationId"))
        row = mapping_of(change.c, to, call.part("id"))
        call.check_fresh(row, given=said.updatedAt, render=lambda: subscription_data(row))
        fields: MappingFields = {}
        if said.name is not None:
            if not said.name.strip():
                raise AtFieldError(UsageError("The name is empty.", "Give one."), "input.name")
            fields["name"] = said.name
        if said.trigger is not None:
            fields["trigger"] = said.trigger
        if said.settings is not None:
            fields["fields"] = said.settings
        with (
            at_field("input.trigger", DefinitionError),
            at_field("input.name", ConflictError),
            at_field("input.settings", ConfigurationError),
        ):
            row = update_mapping(change, to, row, **fields)
        if said.enabled is not None:
            row = enable_mapping(change, to, row) if said.enabled else disable_mapping(change, to, row)
    return Answer({"subscription": subscription_data(row)}, row.updated_at)


def _remove(call: Call) -> Answer:
    with call.registry.change() as change:
        _space, to = destination_of(change.c, call, call.part("destinationId"))
        remove_mapping(change, to, mapping_of(change.c, to, call.part("id")))
    return Answer({"status": "SUCCESS"})


_PATH = "/destinations/{destinationId}/subscriptions"
_ONE = f"{_PATH}/{{id}}"
OPERATIONS = (
    Operation("listSubscriptionsFromDestination", "GET", _PATH, _list, "The mappings of a destination", ("subscriptions", "pagination"),
              query=(PAGINATION,), version="v1alpha"),
    Operation("createDestinationSubscription", "POST", _PATH, _create, "Make a mapping", ("destinationSubscription",),
              role=Role.OPERATOR, body=CreateSubscription, version="v1alpha"),
    Operation("getSubscriptionFromDestination", "GET", _ONE, _get, "One mapping", ("subscription",), version="v1alpha"),
    Operation("updateSubscriptionForDestination", "PATCH", _ONE, _update, "Change a mapping", ("subscription",),
              role=Role.OPERATOR, body=UpdateSubscription, version="v1alpha"),
    Operation("removeSubscriptionFromDestination", "DELETE", _ONE, _remove, "Remove a mapping", ("status",),
              role=Role.OPERATOR, version="v1alpha"),
)  # fmt: skip

"""Every operation that changes something leaves a row in the audit log, in the name of the token, and with no secret in it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa

from engage_pipelines.registry import tables as t
from engage_pipelines.server.api import operations
from engage_pipelines.server.api.calls import Operation
from tests.server.world import ACTIVE, SECRET, SPEND, WEBHOOK, World

PERSON = {"kind": "email", "id": "someone@example.com"}


@dataclass(frozen=True)
class Scene:
    """What is there before an operation: a connected audience and one that is not, a mapping, a refused record, a version that is held."""

    world: World
    audience: dict[str, Any]
    alone: dict[str, Any]
    to: dict[str, Any]
    spare: dict[str, Any]
    on_source: dict[str, Any]
    trait: dict[str, Any]
    connection: str
    activation: str
    made_by_hand: str

    @property
    def ids(self) -> dict[str, str]:
        """The parts of paths; `{id}` means another thing from one to the next."""
        return {
            "spaceId": self.world.space.id,
            "audienceId": self.audience["id"],
            "traitId": self.trait["id"],
            "destinationId": self.to["id"],
            "connectionId": self.connection,
            "scheduleId": f"sch_{self.audience['id'].partition('_')[2]}",
        }


_BODIES: Mapping[str, Callable[[Scene], Any]] = {
    "createAudience": lambda scene: {"name": "New", "audienceType": "USERS", "definition": {"query": ACTIVE}},
    "updateAudienceForSpace": lambda scene: {"name": "Renamed"},
    "addAudienceScheduleToAudience": lambda scene: {"strategy": "PERIODIC", "config": {"interval": "6h"}},
    "updateAudienceScheduleForAudience": lambda scene: {"enabled": False},
    "addDestinationToAudience": lambda scene: {"destination": {"id": scene.spare["id"], "type": "destination"}},
    "updateDestinationForAudience": lambda scene: {"enabled": False},
    "addActivationToAudience": lambda scene: {"performResync": True, "activationType": "Audience Entered", "activationName": "In"},
    "updateActivationForAudience": lambda scene: {"enabled": False},
    "createDestination": lambda scene: {"sourceId": scene.world.source.id, "metadataId": "webhook", "name": "B", "settings": WEBHOOK},
    "updateDestination": lambda scene: {"settings": {"signing_secret": f"{SECRET}-2"}},
    "createDestinationSubscription": lambda scene: {"name": "N", "actionId": "send", "trigger": 'type = "track"', "enabled": False},
    "updateSubscriptionForDestination": lambda scene: {"input": {"trigger": 'type = "group"'}},
    "replaceMessagingSubscriptionsInSpaces": lambda scene: {
        "subscriptions": [{"key": PERSON["id"], "type": "EMAIL", "status": "SUBSCRIBED"}]
    },
    "createComputedTrait": lambda scene: {"name": "New", "definition": {"query": SPEND, "type": "USERS"}},
    "updateComputedTraitForSpace": lambda scene: {"name": "Renamed"},
    "importDestination": lambda scene: {"sourceId": scene.world.source.id, "destinationId": scene.on_source["id"], "key": "copy"},
    "replayDeadLetters": lambda scene: {"all": True},
    "discardDeadLetters": lambda scene: {"all": True},
    "suppressProfile": lambda scene: PERSON,
    "unsuppressProfile": lambda scene: PERSON,
}
_OWN_ID: Mapping[str, Callable[[Scene], str]] = {
    "removeAudienceFromSpace": lambda scene: scene.alone["id"],
    "updateComputedTraitForSpace": lambda scene: scene.trait["id"],
    "removeComputedTraitFromSpace": lambda scene: scene.trait["id"],
    "updateActivationForAudience": lambda scene: scene.activation,
    "removeActivationFromAudience": lambda scene: scene.activation,
    "updateSubscriptionForDestination": lambda scene: scene.made_by_hand,
    "removeSubscriptionFromDestination": lambda scene: scene.made_by_hand,
}
_OWN_DESTINATION: Mapping[str, Callable[[Scene], str]] = {"deleteDestination": lambda scene: scene.spare["id"]}
_OF_TRAIT = "/x/spaces/{spaceId}/computed-traits/{traitId}/destination-connections"
"""The same functions as those of audiences."""
_QUERY = {"removeDestinationFromAudience": "?removeActivations=true"}
_ASKING = ("createAudiencePreview", "batchQueryMessagingSubscriptionsForSpace")
CHANGING = [one for one in operations() if one.method != "GET" and one.name not in _ASKING and not one.path.startswith(_OF_TRAIT)]
"""A preview changes nothing: it is an evaluation that is forgotten."""


@pytest.fixture
def scene(world: World) -> Scene:
    audience, to, made = world.connected()
    with world.registry.change() as change:
        space = t.space.c.id == world.space.id
        change.c.execute(sa.update(t.space).where(space).values(one_configuration_per_type="audience"))
    spare = world.destination("Spare", "csv_file", key="spare")
    on_source = world.destination("Web", sourceId=world.source.id, key="web")
    path = f"/destinations/{to['id']}/subscriptions"
    activation = world.data("GET", path)["subscriptions"][0]
    body = {"name": "By hand", "actionId": activation["actionId"], "trigger": 'type = "track"', "enabled": False}
    by_hand = world.data("POST", path, body)["destinationSubscription"]
    alone = world.audience("Alone", key="alone")
    connection, trait = made["connection"]["id"], world.trait()
    _leave_behind(world, audience["id"], connection)
    _hold(world, trait["id"])
    return Scene(world, audience, alone, to, spare, on_source, trait, connection, activation["id"], by_hand["id"])


def _leave_behind(world: World, audience_id: str, connection_id: str) -> None:
    """What an evaluation and a sync leave: a version that is held, and a record that was refused."""
    _hold(world, audience_id)
    refused = {"kind": "rejected", "value": True, "message_id": "m", "generation": 1, "seq": 0, "reason": "no", "attempts": 1}
    with world.registry.database.write() as c:
        c.execute(
            t.exception.insert().values(
                connection_id=connection_id, replica="users", address="email:a@example.com", part="i0", created_at=1, **refused
            )
        )


def _hold(world: World, computation_id: str) -> None:
    held = {
        "n": 1,
        "state": "held",
        "evaluated_at": 1,
        "definition": ACTIVE,
        "size": 3,
        "users": 3,
        "entered": 3,
        "exited": 0,
        "is_full": True,
    }
    with world.registry.database.write() as c:
        c.execute(t.version.insert().values(computation_id=computation_id, created_at=1, **held))


@pytest.mark.parametrize("operation", [pytest.param(one, id=one.name) for one in CHANGING])
def test_a_change_leaves_a_row_in_the_audit_log(scene: Scene, operation: Operation) -> None:
    world = scene.world
    if operation.name == "unsuppressProfile":
        world.data("POST", f"/x/spaces/{world.space.id}/profiles/suppress", PERSON)
    before = len(world.audited())
    own = _OWN_ID.get(operation.name, lambda scene: scene.audience["id"])(scene)
    to = _OWN_DESTINATION.get(operation.name, lambda scene: scene.to["id"])(scene)
    path = operation.path.format(**{**scene.ids, "id": own, "destinationId": to}) + _QUERY.get(operation.name, "")
    body = _BODIES[operation.name](scene) if operation.name in _BODIES else None

    answer = world.ask(operation.method, path, body)

    assert answer.status_code == 200, answer.text
    with world.registry.database.read() as c:
        rows = c.execute(sa.select(t.audit).order_by(t.audit.c.id)).all()[before:]
    assert rows
    assert all(row.actor.startswith("admin") for row in rows)
    assert SECRET not in str(rows)
    assert PERSON["id"] not in str(rows)

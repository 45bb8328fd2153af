"""ID sync of a connection: which identifiers it enters, kept with the connection and changed without sending anything."""

from dataclasses import dataclass
from typing import Any

import pytest

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.errors import ConfigurationError, UsageError
from engage_pipelines.domain.id_sync import parse_rule, rules_in
from engage_pipelines.registry.change import Registry
from engage_pipelines.registry.connections import NewConnection, connect
from tests.registry.conftest import CRM, World


@dataclass(frozen=True)
class _Matching(type(CRM)):
    user_address_kinds: tuple[str, ...] = ("user_id", "email")


@pytest.fixture
def world(world: Any) -> Any:
    old = world.registry
    crm = _Matching("crm", CRM.name, CRM.settings_model, CRM.actions, CRM.presets)
    made = World(Registry(old.database, {"crm": crm}, old.desk, old.actor, new_id=old.new_id))
    made.audience("vips")
    made.destination("crm")
    return made


def joined(world: World, *ids: str, **more: Any) -> Any:
    return world.do(connect, world.space, NewConnection("vips", "crm", ids=ids or None, **more))


def test_rules_are_kept_with_the_connection(world: World) -> None:
    made = joined(world, "email:last:contact", "user_id")
    assert made.connection.options == {"id_sync": ["email:last:contact", "user_id:all"], "id_kinds": ["email", "user_id"]}
    assert rules_in(made.connection.options)[0] == parse_rule("email:last:contact")


def test_rules_of_a_connection_that_is_there_are_changed_and_what_it_told_is_remembered(world: World) -> None:
    joined(world)
    changed = joined(world, "email:first")
    assert (changed.ids_changed, changed.request_id) == (True, None)
    assert changed.connection.options == {"id_sync": ["email:first"], "id_kinds": ["email", "user_id"]}
    assert [row.verb for row in world.rows("audit")][-1] == "update"
    assert joined(world, "email:first").connection == changed.connection


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        pytest.param(("phone",), "cannot match people by 'phone'", id="an identifier that it does not match by"),
        pytest.param(("email:newest",), "is no strategy", id="a strategy that is none"),
        pytest.param(("email:last", "email:first"), "named twice", id="one identifier twice"),
        pytest.param(("email:last:vips",), "is taken", id="the name of the audience"),
    ],
)
def test_rules_that_do_not_fit_are_refused(world: World, ids: tuple[str, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        joined(world, *ids)


def test_a_field_must_be_a_legal_trait_name() -> None:
    with pytest.raises(ConfigurationError, match="not a legal key"):
        parse_rule("email:last:no good")


def test_accounts_alone_have_no_identifiers_of_people(world: World) -> None:
    world.audience("accounts", level=Level.ACCOUNT)
    with pytest.raises(UsageError, match="accounts alone"):
        world.do(connect, world.space, NewConnection("accounts", "crm", ["group"], ids=["email"]))

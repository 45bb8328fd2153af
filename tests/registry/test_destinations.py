"""Destinations: one of a type, imported configurations, removal."""

from typing import Any

import pytest

from engage_pipelines.domain.errors import ConfigurationError, ConflictError, NotFoundError, UsageError
from engage_pipelines.registry.connections import NewConnection, connect, remove
from engage_pipelines.registry.destinations import (
    NewDestination,
    create_destination,
    import_configuration,
    list_destinations,
    remove_destination,
)
from engage_pipelines.registry.mappings import NewMapping, add_mapping, list_mappings
from engage_pipelines.registry.sources import create_source


@pytest.fixture
def on_source(world: Any) -> Any:
    """A configuration `website/crm` with a secret reference and a mapping that is on."""
    source = world.do(create_source, world.space, "website")
    settings = {"url": "https://crm.test", "api_key": "env:CRM_KEY"}
    row = world.do(create_destination, world.space, NewDestination("crm", "crm", settings, "The CRM"), on=source)
    world.do(add_mapping, row, NewMapping("Mine", "type = 'identify'", "send", enabled=True))
    return row


def test_import_copies_settings_and_references_and_switches_mappings_off(world: Any, on_source: Any) -> None:
    row = world.do(import_configuration, world.space, "website/crm")
    assert (row.key, row.name, row.settings, row.imported_from) == ("crm", "The CRM", on_source.settings, on_source.id)
    assert [(one.name, one.enabled) for one in world.look(list_mappings, row.id)] == [("Mine", False)]


def test_second_of_a_type_is_refused_naming_the_first_and_where_it_came_from(world: Any, on_source: Any) -> None:
    world.do(import_configuration, world.space, "website/crm")
    for attempt in (
        lambda: world.destination("another"),
        lambda: world.do(import_configuration, world.space, "website/crm", key="again"),
    ):
        with pytest.raises(ConflictError, match=r"'crm' already: 'crm' \(imported from website/crm\)"):
            attempt()
    assert len(world.look(list_destinations, world.space.id)) == 1


def test_configurations_on_sources_do_not_count(world: Any, on_source: Any) -> None:
    world.destination("mine")
    assert [row.key for row in world.look(list_destinations, world.space.id)] == ["mine"]


@pytest.mark.parametrize(
    ("path", "error", "words"),
    [
        pytest.param("crm", UsageError, "source/destination", id="no source named"),
        pytest.param("websit/crm", NotFoundError, "Did you mean 'website'", id="misspelt source"),
        pytest.param("website/crn", NotFoundError, "Did you mean 'crm'", id="misspelt destination"),
    ],
)
def test_import_says_what_was_not_found(world: Any, on_source: Any, path: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        world.do(import_configuration, world.space, path)


def test_unknown_type_and_settings_that_do_not_fit_are_refused(world: Any) -> None:
    with pytest.raises(NotFoundError, match="Did you mean 'crm'"):
        world.destination("x", "crn", url="u")
    with pytest.raises(ConfigurationError, match="url"):
        world.do(create_destination, world.space, NewDestination("x", "crm", {}))
    with pytest.raises(ConfigurationError, match="not a legal key"):
        world.destination("not a key")


def test_removed_destination_frees_its_key_and_type_but_not_while_connected(world: Any) -> None:
    world.audience("vips")
    row = world.destination("crm")
    world.do(connect, world.space, NewConnection("vips", "crm"))
    with pytest.raises(ConflictError, match="engage disconnect vips crm --remove"):
        world.do(remove_destination, world.space, row)
    world.do(remove, world.space, world.rows("computation")[0], row)
    world.do(remove_destination, world.space, row)
    assert world.destination("crm").id != row.id

"""The catalogue says of each action which fields its payload has, as the action itself declares them."""

import pytest

from engage_pipelines.destinations.catalog import destination_types
from engage_pipelines.server.api.catalogue import metadata_of

TYPES = sorted(destination_types().items())
KINDS = {"BOOLEAN", "DATETIME", "HIDDEN", "INTEGER", "NUMBER", "OBJECT", "PASSWORD", "STRING", "TEXT"}
"""What Segment's Public API has for the type of an action's field."""


@pytest.mark.parametrize("key", [pytest.param(key, id=key) for key, _info in TYPES])
def test_the_fields_of_an_action_are_those_that_it_declares(key: str) -> None:
    told = metadata_of(destination_types()[key])
    for action, shown in zip(destination_types()[key].actions, told["actions"], strict=True):
        assert {field["type"] for field in shown["fields"]} <= KINDS
        if action.inputs:
            assert [field["fieldKey"] for field in shown["fields"]] == [one.name for one in action.inputs]
            assert [field["required"] for field in shown["fields"]] == [one.required for one in action.inputs]
            assert [field["description"] for field in shown["fields"]] == [one.description for one in action.inputs]
            assert set(shown["schema"]["properties"]) == {one.name for one in action.inputs}


@pytest.mark.parametrize("key", [pytest.param(key, id=key) for key, _info in TYPES])
def test_the_settings_are_told_as_a_schema_whose_secrets_are_never_read(key: str) -> None:
    info = destination_types()[key]
    told = metadata_of(info)
    properties = told["settingsSchema"]["properties"]

    assert set(properties) == {option["name"] for option in told["options"]}
    for name in info.settings_model.secret_fields():
        assert "writeOnly" in str(properties[name])

"""Values of traits at the types that take them: the preset lets them through, and that there is none any more reaches the vendor too."""

from typing import Any

import orjson
import pytest

from engage_pipelines.destinations.api import ApiDestination
from engage_pipelines.destinations.base import Record, Target
from engage_pipelines.destinations.catalog import destination_types
from engage_pipelines.domain.computation import ComputationRef
from engage_pipelines.domain.mapping import compile_mapping
from engage_pipelines.domain.records import RENDER, Envelope, Subject
from engage_pipelines.domain.trigger import parse_trigger

AT = "2026-01-01T00:00:00.000Z"
ENVELOPE = Envelope(ComputationRef("trt_1", "spend", "spa_1", "trait"), AT, AT, {"All": True})
CLEARED = {"hubspot": '"spend":""'}
"""HubSpot clears a property by an empty text. Source: https://developers.hubspot.com/docs/guides/api/crm/properties"""


@pytest.mark.parametrize("key", ["amplitude", "braze", "customerio", "hubspot", "intercom", "iterable", "sendgrid"])
@pytest.mark.parametrize("entered", [pytest.param(True, id="a value"), pytest.param(False, id="none any more")])
def test_a_value_and_its_end_reach_the_vendor(key: str, entered: bool) -> None:
    type_ = destination_types()[key]
    assert isinstance(type_, ApiDestination)
    for preset in type_.presets:
        subject = Subject(group_id="acme") if preset.call == "group" else Subject(user_id="u-1", email="ana@example.com")
        record = RENDER[preset.call](subject, ENVELOPE, message_id="m", entered=entered, value=12.5)
        assert parse_trigger(preset.trigger.replace("{key}", "spend")).matches(record)
        payload = compile_mapping(dict(preset.fields or type_.action(preset.action).fields))(record)
        one = Record("m", "user_id:u-1", entered, orjson.dumps(payload))
        settings: Any = None
        batch, refused = type_.batch([one], action=preset.action, settings=settings, target=Target("s", "spend", "user"))
        assert not refused
        assert ('"spend":12.5' if entered else CLEARED.get(key, '"spend":null')) in orjson.dumps(list(batch.payloads)).decode()

"""Presets of the types that take traits: the value of a computed trait, of a person or an account, is in what they send."""

import gzip
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from engage_pipelines.destinations.authentication import MemoryTokens, OAuth2, Token
from engage_pipelines.destinations.base import Accepted, MembershipAs, Preset, Record, Target
from engage_pipelines.destinations.catalog import destination_types
from engage_pipelines.domain.computation import ComputationRef
from engage_pipelines.domain.mapping import compile_mapping
from engage_pipelines.domain.records import RENDER, TRAIT, Envelope, Subject
from engage_pipelines.domain.trigger import parse_trigger
from engage_pipelines.testing import vendors
from engage_pipelines.testing.vendor import KEY, FakeApi, Switchboard, fake_vendor

TYPES = destination_types()
AT = "2026-03-01T10:00:00.000Z"
ENVELOPE = Envelope(ComputationRef("tra_1", KEY, "spa_1", TRAIT), AT, AT, {"All": False})
VALUE = 7_421.5


def takes_values(key: str) -> bool:
    """Whether the type, as the fake vendor has it configured, takes traits."""
    kind = TYPES[key]
    return kind.takes_values(kind.configure(fake_vendor(key).settings("http://127.0.0.1:9"), files_dir=Path()))


CASES = [
    pytest.param(key, preset, id=f"{key}: {preset.name}")
    for key in sorted(module.name for module in pkgutil.iter_modules(vendors.__path__))
    if takes_values(key)
    for preset in TYPES[key].presets
    if preset.call in {"identify", "group"}
]


def call(preset: Preset, value: float | None) -> dict[str, Any]:
    subject = Subject(group_id="acct-1", user_id="u-1") if preset.call == "group" else Subject(user_id="u-1", email="u-1@example.test")
    return RENDER[preset.call](subject, ENVELOPE, message_id="personas_1:1:i0", entered=value is not None, value=value)


def test_lists_take_no_values_and_every_other_type_has_a_preset_for_those_of_people():
    faked = {module.name for module in pkgutil.iter_modules(vendors.__path__)}
    assert {key for key in faked if takes_values(key)} == {
        key for key in faked if TYPES[key].membership_as is MembershipAs.USER_PROPERTY
    } - {"slack"}
    assert {case.id.split(":")[0] for case in CASES if case.id} == {key for key in faked if takes_values(key)}


def send(key: str, preset: Preset, record: Mapping[str, Any], fake: FakeApi, url: str) -> object:
    """Send what the preset makes of the record, as the engine would."""
    kind = TYPES[key]
    settings = kind.configure(fake.settings(url), files_dir=Path())
    if isinstance(kind.authentication, OAuth2):
        settings.keep_tokens_in(MemoryTokens(Token(fake.access)))
    assert parse_trigger(preset.trigger.replace("{key}", KEY)).matches(record)
    payload = compile_mapping(preset.fields or kind.action(preset.action).fields)(record)
    one = Record("personas_1:1:i0", "user_id:u-1", entered=record["traits"][KEY] is not None, body=orjson.dumps(payload))
    target = Target("main", KEY, "account" if preset.call == "group" else "user", 1, "Spend")
    return kind.send([one], action=preset.action, settings=settings, target=target, deadline_s=5)


@pytest.mark.parametrize(("key", "preset"), CASES)
def test_the_value_of_a_trait_is_sent_and_that_there_is_none_any_more_is_taken(key: str, preset: Preset):
    fake = fake_vendor(key)
    board = Switchboard(fake)
    with board.server as server:
        assert send(key, preset, call(preset, VALUE), fake, server.url) == Accepted()
        assert any(str(VALUE).encode() in plain(one.body) for one in board.requests)
        assert send(key, preset, call(preset, None), fake, server.url) == Accepted()


def plain(body: bytes) -> bytes:
    """The body as it was before it was compressed."""
    return gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body

"""Records in the shape that Segment Engage documents, and as unchanging as the promise wants them."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engage_pipelines.domain.computation import ComputationRef
from engage_pipelines.domain.records import RENDER, Envelope, Subject, group, identify, track

ENVELOPE = Envelope(
    computation=ComputationRef("aud_1", "trialists", "spa_1"),
    timestamp="2026-03-01T10:00:00.000Z",
    sent_at="2026-03-01T10:00:04.120Z",
    integrations={"All": False, "Acme CRM": True},
)
ANA = Subject(user_id="u-1001", email="ana@lumen.test")
PERSONAS = {
    "computation_class": "audience",
    "computation_id": "aud_1",
    "computation_key": "trialists",
    "namespace": "spa_1",
    "space_id": "spa_1",
}
COMMON = {
    "messageId": "personas_1:0:i0",
    "timestamp": "2026-03-01T10:00:00.000Z",
    "originalTimestamp": "2026-03-01T10:00:00.000Z",
    "sentAt": "2026-03-01T10:00:04.120Z",
    "receivedAt": "2026-03-01T10:00:04.120Z",
    "version": 2,
    "integrations": {"All": False, "Acme CRM": True},
}


@pytest.mark.parametrize("entered", [pytest.param(True, id="enters"), pytest.param(False, id="leaves")])
def test_an_identify_sets_the_membership_beside_the_email(entered: bool):
    assert identify(ANA, ENVELOPE, message_id="personas_1:0:i0", entered=entered) == {
        **COMMON,
        "type": "identify",
        "userId": "u-1001",
        "context": {"personas": PERSONAS},
        "traits": {"email": "ana@lumen.test", "trialists": entered},
    }


@pytest.mark.parametrize(
    ("entered", "event"), [pytest.param(True, "Audience Entered", id="enters"), pytest.param(False, "Audience Exited", id="leaves")]
)
def test_a_track_names_the_event_and_carries_the_email_in_its_context(entered: bool, event: str):
    assert track(ANA, ENVELOPE, message_id="personas_1:0:i0", entered=entered) == {
        **COMMON,
        "type": "track",
        "userId": "u-1001",
        "event": event,
        "context": {"personas": PERSONAS, "traits": {"email": "ana@lumen.test"}},
        "properties": {"audience_key": "trialists", "trialists": entered},
    }


def test_a_group_has_no_user_unless_the_destination_wants_one():
    record = group(Subject(group_id="acct-77"), ENVELOPE, message_id="personas_1:0:i0", entered=True)
    assert record == {**COMMON, "type": "group", "groupId": "acct-77", "context": {"personas": PERSONAS}, "traits": {"trialists": True}}
    assert group(Subject(group_id="acct-77", anonymous_id="x"), ENVELOPE, message_id="m", entered=True)["anonymousId"] == "x"


def test_a_member_without_a_user_id_is_named_by_the_anonymous_id():
    record = identify(Subject(anonymous_id="an-55"), ENVELOPE, message_id="m", entered=True)
    assert "userId" not in record
    assert record["anonymousId"] == "an-55"
    assert record["traits"] == {"trialists": True}


texts = st.text(min_size=1, max_size=20)
subjects = st.builds(Subject, user_id=texts, email=st.none() | texts, group_id=texts, anonymous_id=st.none() | texts)


@given(subjects, st.sampled_from(sorted(RENDER)), st.booleans(), texts)
def test_the_same_change_renders_to_the_same_bytes(subject: Subject, call: str, entered: bool, message_id: str):
    first, second = (RENDER[call](subject, ENVELOPE, message_id=message_id, entered=entered) for _ in range(2))
    assert repr(first) == repr(second)
    assert isinstance(orjson.loads(orjson.dumps(first, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATETIME)), dict)

"""Who may do what: each role against each operation, tokens, sessions, forms, and whose pages may ask at all."""

import base64
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal

from engage_pipelines.registry.tokens import (
    SESSION_US,
    NewToken,
    Role,
    create_token,
    find_by_secret,
    find_session,
    open_session,
    revoke_token,
)
from engage_pipelines.server.access import is_loopback
from engage_pipelines.server.api import operations
from engage_pipelines.server.api.calls import Operation
from engage_pipelines.server.login import next_path
from tests.server.world import World, open_world

OPERATOR, ADMIN = "operator", "admin"
ROLES = {
    "addAudienceScheduleToAudience": OPERATOR,
    "updateAudienceScheduleForAudience": OPERATOR,
    "removeAudienceScheduleFromAudience": OPERATOR,
    "createAudience": OPERATOR,
    "updateAudienceForSpace": OPERATOR,
    "removeAudienceFromSpace": ADMIN,
    "forceExecuteAudienceRun": OPERATOR,
    "createAudiencePreview": OPERATOR,
    "addDestinationToAudience": OPERATOR,
    "updateDestinationForAudience": OPERATOR,
    "removeDestinationFromAudience": OPERATOR,
    "addActivationToAudience": OPERATOR,
    "updateActivationForAudience": OPERATOR,
    "removeActivationFromAudience": OPERATOR,
    "createDestination": ADMIN,
    "updateDestination": ADMIN,
    "deleteDestination": ADMIN,
    "createDestinationSubscription": OPERATOR,
    "updateSubscriptionForDestination": OPERATOR,
    "removeSubscriptionFromDestination": OPERATOR,
    "replaceMessagingSubscriptionsInSpaces": OPERATOR,
    "batchQueryMessagingSubscriptionsForSpace": "reader",
    "createComputedTrait": OPERATOR,
    "updateComputedTraitForSpace": OPERATOR,
    "removeComputedTraitFromSpace": ADMIN,
    "runComputedTrait": OPERATOR,
    "addDestinationToTrait": OPERATOR,
    "updateDestinationForTrait": OPERATOR,
    "removeDestinationFromTrait": OPERATOR,
    "listAuditEvents": ADMIN,
    "importDestination": ADMIN,
    "syncConnection": OPERATOR,
    "backfillConnection": OPERATOR,
    "resyncConnection": OPERATOR,
    "syncTraitConnection": OPERATOR,
    "backfillTraitConnection": OPERATOR,
    "resyncTraitConnection": OPERATOR,
    "releaseVersion": OPERATOR,
    "discardVersion": OPERATOR,
    "releaseTraitVersion": OPERATOR,
    "discardTraitVersion": OPERATOR,
    "replayDeadLetters": OPERATOR,
    "discardDeadLetters": OPERATOR,
    "suppressProfile": ADMIN,
    "unsuppressProfile": ADMIN,
}
"""Which role each operation takes; those that are not named take a reader's."""
MESSAGING = {"replaceMessagingSubscriptionsInSpaces", "batchQueryMessagingSubscriptionsForSpace"}
MEMBERS = {"explainMember", "getDeadLetter", "suppressProfile", "unsuppressProfile", *MESSAGING}


def every_operation() -> list[Operation]:
    return list(operations())


def test_every_operation_has_the_role_that_the_table_says() -> None:
    assert {one.name: str(one.role) for one in every_operation() if one.role is not Role.READER}.items() <= ROLES.items()
    assert {one.name for one in every_operation() if one.members} == MEMBERS
    writing = {one.name for one in every_operation() if one.method != "GET"}
    assert writing <= ROLES.keys(), "whatever changes something is beyond a reader"


@pytest.mark.parametrize("role", [pytest.param(role, id=str(role)) for role in Role])
def test_a_role_reaches_its_operations_and_no_others(world: World, role: Role) -> None:
    for one in every_operation():
        path = re.sub(r"{\w+}", "nothing", one.path)
        answer = world.raw(one.method, f"/api{path}", headers={"Authorization": f"Bearer {world.token(role)}"}, json={})
        needed = Role(ROLES.get(one.name, "reader"))
        assert (answer.status_code == 403) is not role.reaches(needed), f"{one.name}: {answer.text}"
        assert answer.status_code < 500


def test_people_and_payloads_take_a_permission_of_their_own(world: World) -> None:
    headers = {"Authorization": f"Bearer {world.token(Role.ADMIN, members=False)}"}
    for one in every_operation():
        if one.name in MEMBERS:
            path = re.sub(r"{\w+}", "main", one.path)
            answer = world.raw(one.method, f"/api{path}", headers=headers, json={})
            assert answer.status_code == 403, one.name
            assert "members" in answer.json()["errors"][0]["message"]


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(None, id="no header"),
        pytest.param("Bearer", id="no token"),
        pytest.param("Bearer eng_AAAA", id="an unknown one"),
        pytest.param("Basic dXNlcjpwYXNz", id="another scheme"),
        pytest.param("Bearer eng_" + "x" * 5_000, id="a very long one"),
    ],
)
def test_without_a_valid_token_nothing_is_told(world: World, header: str | None) -> None:
    for one in every_operation():
        answer = world.raw(one.method, f"/api{one.path}", headers={} if header is None else {"Authorization": header})
        assert answer.status_code == 401
        assert answer.json()["errors"][0]["type"] == "unauthorized"
        assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_token_of_one_space_does_not_see_another(world: World) -> None:
    world.audience()
    headers = {"Authorization": f"Bearer {world.token(Role.ADMIN, space=world.other)}"}
    assert [one["slug"] for one in world.data("GET", "/spaces", headers=headers)["spaces"]] == ["other"]
    assert world.ask("GET", f"/spaces/{world.space.id}/audiences", headers=headers).status_code == 404
    to = world.destination()
    assert world.ask("GET", f"/destinations/{to['id']}", headers=headers).status_code == 404
    assert world.data("GET", "/destinations", headers=headers)["destinations"] == []
    assert world.data("GET", "/sources", headers=headers)["sources"] == []
    events = world.data("GET", "/audit-events", headers=headers)["events"]
    assert not [event for event in events if "main" in event["resourceName"]]
    body = {"sourceId": world.space.id, "metadataId": "webhook", "settings": {}}
    assert world.ask("POST", "/destinations", body, headers=headers).status_code == 404


def test_a_token_is_kept_as_a_digest_alone(world: World) -> None:
    secret = world.token()
    world.ask("GET", "/spaces")
    lines = "\n".join(sqlite3.connect(world.settings.home / "engage.db").iterdump())
    assert secret not in lines
    assert secret.removeprefix("eng_") not in lines
    assert "tok_" in lines


def test_a_token_ends_by_time_and_by_being_revoked(world: World) -> None:
    with world.registry.change() as change:
        ends = change.now + 1_000_000
        issued = create_token(change, NewToken("short", Role.READER, expires_at=ends))
    with world.registry.database.read() as c:
        assert find_by_secret(c, issued.secret, ends - 1) is not None
        assert find_by_secret(c, issued.secret, ends) is None
    with world.registry.change() as change:
        revoke_token(change, issued.row.id)
        revoke_token(change, issued.row.id)
    with world.registry.database.read() as c:
        assert find_by_secret(c, issued.secret, ends - 1) is None
    told = [one for one in world.audited() if one[1] == f"token {issued.row.id}"]
    assert told == [("create", f"token {issued.row.id}"), ("revoke", f"token {issued.row.id}")]


def test_a_token_is_prefix_and_32_bytes(world: World) -> None:
    with world.registry.change() as change:
        issued = create_token(change, NewToken("exact", Role.READER), secret_source=lambda: bytes(range(32)))
    assert issued.secret.startswith("eng_")
    assert base64.urlsafe_b64decode(issued.secret.removeprefix("eng_") + "=") == bytes(range(32))
    assert issued.secret not in repr(issued)


def test_use_is_remembered_to_the_hour(world: World) -> None:
    world.ask("GET", "/spaces")
    with world.registry.database.read() as c:
        (used,) = c.exec_driver_sql("SELECT last_used_at FROM api_token").scalars()
    assert used % 3_600_000_000 == 0


# ---- the console


@pytest.fixture
def guarded(tmp_path: Path, portal: BlockingPortal, made: Path) -> Iterator[World]:
    """A server whose console asks for a token."""
    yield from open_world(tmp_path, portal, made, ENGAGE_CONSOLE_LOGIN="required")


def _form_token(world: World, **options: object) -> str:
    page = world.raw("GET", "/login", **options).text
    found = re.search(r'name="csrf"[^>]*value="([^"]+)"|value="([^"]+)"[^>]*name="csrf"', page)
    assert found, page
    return found[1] or found[2]


def test_strangers_are_led_to_the_login_and_back(guarded: World) -> None:
    away = guarded.raw("GET", "/audiences?search=a%20b")
    assert (away.status_code, away.headers["location"]) == (303, "/login?next=/audiences%3Fsearch%3Da%2520b")
    refused = guarded.raw("POST", "/login", data={"csrf": _form_token(guarded), "token": "eng_wrong"})
    assert refused.status_code == 401
    fields = {"csrf": _form_token(guarded), "token": guarded.token(), "next": "/audiences?search=a"}
    inside = guarded.raw("POST", "/login", data=fields)
    assert (inside.status_code, inside.headers["location"]) == (303, "/audiences?search=a")
    cookie = inside.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert "secure" not in cookie.lower(), "this one came over plain HTTP"
    session = {"Cookie": cookie.partition(";")[0]}
    assert guarded.raw("GET", "/audiences", headers=session).headers.get("location", "").startswith("/login") is False


def test_over_https_the_cookie_stays_there(guarded: World) -> None:
    fields = {"csrf": _form_token(guarded), "token": guarded.token()}
    inside = guarded.raw("POST", "https://console.example.com/login", data=fields)
    assert "secure" in inside.headers["set-cookie"].lower()


def test_a_session_ends_with_its_token_and_with_its_time(guarded: World) -> None:
    guarded.token()
    database = guarded.registry.database
    with database.write() as c:
        now = database.now_us(c)
        token = find_by_secret(c, guarded.token(), now)
        cookie, ends = open_session(c, token, now)
    assert ends == now + SESSION_US
    with database.read() as c:
        assert find_session(c, cookie, ends - 1) is not None
        assert find_session(c, cookie, ends) is None
    with guarded.registry.change() as change:
        revoke_token(change, token.id)
    with database.read() as c:
        assert find_session(c, cookie, now) is None


@pytest.mark.parametrize(
    ("headers", "fields"),
    [
        pytest.param({}, {}, id="no token in the form"),
        pytest.param({}, {"csrf": "0" * 64}, id="another token"),
        pytest.param({"Origin": "https://evil.example"}, None, id="from another origin"),
        pytest.param({"Sec-Fetch-Site": "cross-site"}, None, id="from another site"),
        pytest.param({"Origin": "null"}, None, id="from a sandboxed page"),
    ],
)
def test_forms_of_others_are_refused(world: World, headers: dict[str, str], fields: dict[str, str] | None) -> None:
    given = {"csrf": _form_token(world)} if fields is None else fields
    assert world.raw("POST", "/logout", headers=headers, data=given).status_code == 403


def test_a_form_of_ours_is_taken(world: World) -> None:
    headers = {"Origin": "http://localhost:4000", "Sec-Fetch-Site": "same-origin"}
    assert world.raw("POST", "/logout", headers=headers, data={"csrf": _form_token(world)}).status_code == 303
    assert world.raw("POST", "/logout", headers={"X-CSRF-Token": _form_token(world)}).status_code == 303


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.7", ""])
def test_without_a_login_only_loopback_names_are_answered(world: World, host: str) -> None:
    for path in ("/", "/healthz", "/api/spaces"):
        assert world.raw("GET", path, headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:4000", "[::1]:4000", "LOCALHOST:1", "127.9.9.9"])
def test_loopback_names_are_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("wanted", ["//evil.example", "https://evil.example", "/\\evil.example", "evil", "", "/a\nb", "javascript:1"])
def test_logging_in_leads_nowhere_else(wanted: str) -> None:
    assert next_path(wanted) == "/"


def test_every_answer_has_the_headers_that_keep_browsers_safe(world: World) -> None:
    for path in ("/login", "/api/spaces", "/healthz", "/nowhere"):
        headers = world.raw("GET", path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"


def test_a_body_that_is_too_large_is_refused_before_it_is_read(world: World) -> None:
    assert world.raw("POST", "/api/destinations", content=b"x" * 1_000_001).status_code == 413
    assert world.raw("POST", "/login", headers={"Content-Length": "99999999999999999999999"}).status_code == 413

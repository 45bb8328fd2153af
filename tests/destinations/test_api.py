"""A made-up vendor with everything that a vendor's API may have: OAuth 2, lists, an action for each direction, several requests a batch."""

import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field as Setting
from pydantic import SecretStr

from engage_pipelines.destinations import presets
from engage_pipelines.destinations.api import (
    ApiDestination,
    ApiSettings,
    Batch,
    Conversation,
    Talk,
    failure,
    form_request,
    hold,
    json_request,
    object_of,
    placed,
)
from engage_pipelines.destinations.authentication import ApiKey, Basic, Bearer, MemoryTokens, OAuth2, QueryKey, Signed, Token
from engage_pipelines.destinations.base import (
    Accepted,
    Action,
    Backoff,
    Bisect,
    Effect,
    Limits,
    ListId,
    MembershipAs,
    Pause,
    Record,
    Settings,
    Stop,
    Target,
    Verdict,
)
from engage_pipelines.destinations.fields import Field, UnusableError, path
from engage_pipelines.destinations.http import Answer
from engage_pipelines.destinations.normalising import email_hash
from engage_pipelines.domain.errors import ConfigurationError
from engage_pipelines.testing.bench import Bench
from engage_pipelines.testing.local_server import Received, Reply
from engage_pipelines.testing.vendor import FakeApi, Switchboard, reply_json, route, sent_form, sent_json
from engage_pipelines.testing.vendor_conformance import VendorConformance

API = "https://api.club.example"
_EMAIL = Field("email", description="Address.", default=path("$.traits.email"), required=True)
_LIST = Field("list_id", description="The list.", default=path("$.context.personas.external_audience_id"))


class ClubSettings(ApiSettings):
    """The account."""

    client_id: str = Setting("the-client", description="Id of the client.")
    client_secret: SecretStr = Setting(description="Its secret.")
    refresh_token: SecretStr = Setting(description="What access tokens are bought with.")


class ClubListSettings(Settings):
    """A list of the club."""

    colour: str = Setting("red", description="Colour of the list.")


class Club(ApiDestination):
    """Lists of hashed addresses."""

    key = "club"
    name = "Club"
    description = "Keeps an audience as a list."
    docs_url = "https://club.example/docs"
    membership_as = MembershipAs.USER_LIST
    effect = Effect.IDEMPOTENT
    settings_model = ClubSettings
    list_settings_model = ClubListSettings
    authentication = OAuth2(f"{API}/oauth/token")
    user_address_kinds = ("email",)
    creates_lists = True
    minimum_list_size = 20
    min_interval_s = 60
    actions = (
        Action("add", "Add", frozenset({"identify"}), direction="entered", inputs=(_EMAIL, _LIST), batch_keys=("list_id",)),
        Action(
            "remove",
            "Remove",
            frozenset({"identify"}),
            direction="exited",
            inputs=(_EMAIL, _LIST),
            batch_keys=("list_id",),
            limits=Limits(max_batch_records=2, max_batch_bytes=10_000),
        ),
    )
    presets = presets.list_pairs("add", "remove")[:2]
    limits = Limits(max_batch_records=5, max_batch_bytes=100_000)

    def prepare(self, payload: dict[str, Any], record: Record, *, action: Action, settings: Any) -> dict[str, Any]:
        return {**payload, "hash": email_hash(payload["email"])}

    def talk(self, batch: Batch) -> Conversation:
        people = yield json_request("POST", batch.settings.at(f"{API}/people"), [one["hash"] for one in batch.payloads])
        failed = failure(people, len(batch.items))
        if failed:
            return failed
        ids = object_of(people).get("ids", [])
        known = [at for at, one in enumerate(ids) if one is not None]
        unknown = {at: "the club does not know this person" for at, one in enumerate(ids) if one is None}
        if not known:
            return Accepted(unknown)
        method = "PUT" if batch.action.key == "add" else "DELETE"
        url = batch.settings.at(f"{API}/lists/{batch.list_id()}")
        verdict = placed(failure((yield json_request(method, url, [ids[at] for at in known])), len(known)) or Accepted(), known)
        return Accepted({**unknown, **verdict.rejected}) if isinstance(verdict, Accepted) else verdict

    def try_out(self, settings: Any) -> Conversation:
        return failure((yield json_request("GET", settings.at(f"{API}/me"))), 0) or Accepted()

    def look_for_list(self, settings: Any, target: Target) -> Talk[ListId | Verdict | None]:
        answer = yield json_request("GET", settings.at(f"{API}/lists"))
        failed = failure(answer, 0)
        if failed:
            return failed
        lists: dict[str, str] = object_of(answer)
        found = (
            target.external_id if target.external_id in lists else next((key for key, name in lists.items() if name == target.name), None)
        )
        return None if found is None else ListId(found)

    def make_list(self, settings: Any, target: Target) -> Talk[ListId | Verdict]:
        answer = yield json_request("POST", settings.at(f"{API}/lists"), {"name": target.name, **target.list_settings})
        return failure(answer, 0) or ListId(object_of(answer)["id"])


class FakeClub(FakeApi):
    """The club."""

    token_path = "/oauth/token"
    secrets = ("the-client-secret", "the-refresh-token")
    list_id = "list-1"

    def __init__(self) -> None:
        super().__init__()
        self.lists = {"list-1": "Big spenders"}
        self.members: dict[str, set[str]] = {"list-1": set()}

    def settings(self, url: str) -> Mapping[str, object]:
        return {"endpoint": url, "client_secret": "the-client-secret", "refresh_token": "the-refresh-token"}

    @route("GET", "/me")
    def me(self, request: Received) -> Reply:
        return reply_json({})

    @route("POST", "/people")
    def people(self, request: Received) -> Reply:
        return reply_json({"ids": [None if one == self.unwanted else one for one in sent_json(request)]})

    @route("PUT", "/lists/([^/]+)")
    def add(self, request: Received, name: str) -> Reply:
        self.members[name] |= set(sent_json(request))
        return reply_json({})

    @route("DELETE", "/lists/([^/]+)")
    def remove(self, request: Received, name: str) -> Reply:
        if len(sent_json(request)) > 2:
            return Reply(413)
        self.members[name] -= set(sent_json(request))
        return reply_json({})

    @route("GET", "/lists")
    def all_lists(self, request: Received) -> Reply:
        return reply_json(self.lists)

    @route("POST", "/lists")
    def make(self, request: Received) -> Reply:
        made = f"list-{len(self.lists) + 1}"
        self.lists[made] = sent_json(request)["name"]
        self.members[made] = set()
        return reply_json({"id": made})

    def held(self) -> Mapping[str, bool]:
        return dict.fromkeys(self.members["list-1"], True)


class TestClub(VendorConformance):
    destination = Club()

    def fake(self) -> FakeApi:
        return FakeClub()

    def identity(self, user_id: str, email: str | None) -> str:
        try:
            return email_hash(email or "")
        except UnusableError:
            return user_id

    def test_a_token_is_bought_before_the_first_request_where_there_is_none(self, bench: Bench, board: Switchboard) -> None:
        bench.settings.keep_tokens_in(MemoryTokens())
        assert bench.deliver([bench.record("u-1")]) == {}
        assert [request.path for request in board.requests] == ["/oauth/token", "/people", "/lists/list-1"]
        assert sent_form(board.requests[0]) == {
            "grant_type": "refresh_token",
            "refresh_token": "the-refresh-token",
            "client_id": "the-client",
            "client_secret": "the-client-secret",
        }

    def test_many_workers_renew_a_token_once(self, bench: Bench, board: Switchboard) -> None:
        bench.fake.expire()
        workers = [threading.Thread(target=bench.send, args=([bench.record(f"u-{number}")],)) for number in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert sum(request.path == "/oauth/token" for request in board.requests) == 1
        assert len(bench.held()) == 4

    def test_an_access_token_shows_nowhere(self, bench: Bench, board: Switchboard) -> None:
        board.always_reply_with(Reply(400, b'{"message": "access-token-0 is no good"}'))
        verdict = bench.send([bench.record("u-1")])
        assert isinstance(verdict, Accepted)
        assert "access-token-0" not in repr((verdict, bench.settings, bench.settings.tokens.current()))
        assert "is no good" in verdict.rejected[0]

    @pytest.mark.parametrize(
        ("reply", "kind"),
        [
            pytest.param(Reply(429, b"{}", {"Retry-After": "9"}), Pause, id="too many"),
            pytest.param(Reply(503), Backoff, id="out of order"),
            pytest.param(Reply(200, b"{}"), Backoff, id="no token in it"),
        ],
    )
    def test_a_token_endpoint_that_is_ill_is_asked_again_later(
        self, bench: Bench, board: Switchboard, reply: Reply, kind: type[Verdict]
    ) -> None:
        bench.settings.keep_tokens_in(MemoryTokens())
        board.reply_with(reply)
        assert isinstance(bench.send([bench.record("u-1")]), kind)

    def test_an_action_has_limits_of_its_own(self, bench: Bench) -> None:
        people = [f"u-{number}" for number in range(5)]
        assert bench.send([bench.record(person) for person in people]) == Accepted()
        exits = [bench.record(person, entered=False) for person in people]
        assert isinstance(bench.send(exits[:3]), Bisect)
        assert bench.send(exits[:2]) == Accepted()

    def test_a_value_that_cannot_be_used_is_rejected_with_the_reason_and_the_others_go(self, bench: Bench) -> None:
        bad = replace(bench.record("u-2"), body=b'{"email": "not an address"}')
        none = replace(bench.record("u-3"), body=b"{}")
        text = replace(bench.record("u-4"), body=b'"text"')
        verdict = bench.send([bad, bench.record("u-1"), none, text])
        assert isinstance(verdict, Accepted)
        assert {index: reason.split(":")[0] for index, reason in verdict.rejected.items()} == {
            0: "the e-mail address cannot be used",
            2: "email is missing",
            3: "the mapping made no object of it",
        }
        assert bench.held() == {"u-1": True}

    def test_the_forms_of_a_list_are_there(self) -> None:
        schema = self.destination.list_settings_schema()
        assert schema is not None
        assert schema["properties"]["colour"]["description"] == "Colour of the list."

    def test_lists_of_other_accounts_are_other_targets(self) -> None:
        def owned(endpoint: str) -> str | None:
            values = {"endpoint": endpoint, "client_secret": "x", "refresh_token": "y"}
            return Club().external_target(Club().configure(values, files_dir=Path()), Target("main", "a", "user"))

        assert owned("https://one.example") != owned("https://two.example")


@pytest.mark.parametrize(
    ("way", "adds"),
    [
        pytest.param(ApiKey("token", "X-Key", "k "), Signed({"X-Key": "k s3cret"}), id="a key in a header"),
        pytest.param(QueryKey("key", "token"), Signed(query={"key": "s3cret"}), id="a key in the query"),
        pytest.param(Bearer("token"), Signed({"Authorization": "Bearer s3cret"}), id="a token"),
        pytest.param(Basic("user", "token"), Signed({"Authorization": "Basic YW5hOnMzY3JldA=="}), id="a login"),
        pytest.param(Basic("token"), Signed({"Authorization": "Basic czNjcmV0Og=="}), id="a login without a password"),
        pytest.param(Basic("", "token"), Signed({"Authorization": "Basic OnMzY3JldA=="}), id="a login without a name"),
    ],
)
def test_a_way_of_vouching_adds_to_the_request(way: Any, adds: Signed) -> None:
    class Login(Settings):
        user: str = "ana"
        token: SecretStr = SecretStr("s3cret")

    assert way.sign(Login(), None) == adds
    assert "s3cret" not in repr((way, adds))


@pytest.mark.parametrize(
    ("client_in", "form", "adds"),
    [
        pytest.param("body", {"client_id": "the client", "client_secret": "s/1"}, Signed(), id="in the body"),
        pytest.param("basic", {}, Signed({"Authorization": "Basic dGhlJTIwY2xpZW50OnMlMkYx"}), id="as a login"),
    ],
)
def test_client_credentials_are_where_the_vendor_wants_them(client_in: Any, form: dict[str, str], adds: Signed) -> None:
    settings = ClubSettings(client_id="the client", client_secret=SecretStr("s/1"), refresh_token=SecretStr("r"))
    way = OAuth2(f"{API}/token", grant="client_credentials", client_in=client_in, scope="lists")
    assert way.form(settings, None) == ({"grant_type": "client_credentials", "scope": "lists", **form}, adds)


def test_a_refresh_token_that_came_with_a_token_is_the_one_to_use() -> None:
    settings = ClubSettings(client_secret=SecretStr("s"), refresh_token=SecretStr("first"))
    form, _ = OAuth2(f"{API}/token").form(settings, Token("a", "second"))
    assert form["refresh_token"] == "second"


def test_an_endpoint_takes_the_place_of_every_host_of_the_vendor() -> None:
    settings = ApiSettings(endpoint="http://127.0.0.1:1/below/")
    assert settings.at("https://api.club.example/lists?x=1") == "http://127.0.0.1:1/below/lists?x=1"
    assert ApiSettings().at("https://api.club.example/lists") == "https://api.club.example/lists"


@pytest.mark.parametrize("url", ["ftp://x", "x", "https://ana:pw@x.test", "https://x.test/\nX: y"])
def test_an_endpoint_that_cannot_be_asked_is_refused_by_name(url: str) -> None:
    given = {"endpoint": url, "client_secret": "x", "refresh_token": "y"}
    with pytest.raises(ConfigurationError, match="endpoint") as refusal:
        Club().configure(given, files_dir=Path())
    assert "pw" not in str(refusal.value)


def test_a_conversation_ends_with_the_request_that_has_no_answer() -> None:
    told: list[str] = []

    def talk() -> Conversation:
        yield json_request("GET", f"{API}/one")
        yield json_request("GET", f"{API}/two")
        return Accepted()

    def ask(request: Any) -> Any:
        told.append(request.url)
        return Backoff("nobody there")

    assert hold(talk(), ask) == Backoff("nobody there")
    assert told == [f"{API}/one"]


def test_a_form_is_encoded() -> None:
    request = form_request("POST", API, {"a": "ä &"})
    assert request.body == b"a=%C3%A4+%26"
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("answer", "records", "verdict"),
    [
        pytest.param(Answer(204), 1, None, id="nothing said"),
        pytest.param(Answer(200, body=b"ok"), 1, None, id="a word"),
        pytest.param(Answer(200, body=b"{broken"), 1, Backoff, id="broken JSON"),
        pytest.param(Answer(200, body=b"{}", whole=False), 1, Backoff, id="broken off"),
        pytest.param(Answer(200, body=b" <html>"), 1, Backoff, id="a web page"),
        pytest.param(Answer(422), 2, Bisect, id="a batch refused"),
        pytest.param(Answer(422), 1, Accepted, id="a record refused"),
        pytest.param(Answer(401), 1, Stop, id="not let in"),
    ],
)
def test_what_is_no_success_is_a_verdict(answer: Answer, records: int, verdict: type[Verdict] | None) -> None:
    got = failure(answer, records)
    assert got is None if verdict is None else isinstance(got, verdict)


def test_an_action_that_is_gone_is_named_with_those_that_are_there() -> None:
    with pytest.raises(ConfigurationError, match=r"no action 'send'\. It has add, remove"):
        Club().action("send")


def test_schemas_can_be_written_down() -> None:
    kind = Club()
    settings = kind.settings_schema()
    assert settings["properties"]["client_secret"]["writeOnly"] is True
    assert json.loads(json.dumps([settings, *(action.schema() for action in kind.actions)]))

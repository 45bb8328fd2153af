"""Destination types for a vendor's API: payloads of typed fields in, a conversation of requests out, one fate for each record.

A type says four things, all pure:

- `prepare`: what one payload becomes for this vendor; raises UnusableError when it can become nothing, and the record is rejected alone
- `talk`: the conversation about a batch, a generator that yields requests, is sent their answers, and returns the verdict
- `try_out`: the conversation that tries the credentials
- `look_for_list`, `make_list`: the conversations about a connection's list, for types that create lists

    def talk(self, batch: Batch) -> Conversation:
        answer = yield json_request("POST", f"{batch.settings.at(API)}/contacts", {"contacts": batch.payloads})
        return failure(answer, len(batch.items)) or Accepted(refusals(answer))

Signing, renewing an OAuth 2 token once, the deadline over the whole conversation, and what may be shown of the vendor's words: that is
done here.
A conversation is held again as a whole after Backoff, so each of its requests must bear a repeat as well as the type's `effect` says.
"""

import time
from abc import abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, TypeAlias, TypeVar, cast
from urllib.parse import urlencode, urlsplit, urlunsplit

import orjson
from pydantic import AfterValidator, Field

from engage_pipelines.destinations.authentication import OAuth2, Token, read_token
from engage_pipelines.destinations.base import (
    Accepted,
    Action,
    Backoff,
    DestinationType,
    ListId,
    MembershipAs,
    Pause,
    Record,
    Settings,
    Stop,
    Target,
    Verdict,
    refuse_oversize,
)
from engage_pipelines.destinations.fields import UnusableError, checked
from engage_pipelines.destinations.http import (
    Answer,
    Reach,
    Request,
    check_url,
    compressed_request,
    default_verdict,
    json_object,
    presentable,
)
from engage_pipelines.destinations.sending.redaction import vendor_reason

T = TypeVar("T")
Talk: TypeAlias = Generator[Request, Answer, T]
Conversation: TypeAlias = Talk[Verdict]
Ask: TypeAlias = Callable[[Request], Answer | Verdict]

TEST_DEADLINE_S = 10.0


Endpoint = Annotated[str, AfterValidator(lambda url: check_url(url).rstrip("/"))]
"""A setting that holds the address of a vendor, without a slash at its end."""


class ApiSettings(Settings):
    """Base of the settings of types for a vendor's API."""

    endpoint: Endpoint | None = Field(None, description="Another address to send to in place of the vendor's own, such as a proxy.")

    def at(self, url: str) -> str:
        """The vendor's URL, or the same path at the endpoint that was set."""
        if self.endpoint is None:
            return url
        parts = urlsplit(url)
        return self.endpoint + urlunsplit(("", "", parts.path, parts.query, ""))


@dataclass(frozen=True, slots=True)
class Item:
    """One record of a batch: what `prepare` made of its payload, and where in the engine's batch it was."""

    payload: Any = field(repr=False)
    entered: bool
    message_id: str
    index: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """What a conversation is about: the items that could be prepared, at least one; verdicts count positions in `items`."""

    items: tuple[Item, ...] = field(repr=False)
    action: Action
    settings: Any
    target: Target
    payloads: list[Any] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "payloads", [item.payload for item in self.items])

    def positions(self, *, entered: bool) -> list[int]:
        """Where in `items` the entries, or the exits, are."""
        return [at for at, item in enumerate(self.items) if item.entered is entered]

    def list_id(self, name: str = "list_id") -> str | None:
        """The list that the batch is about: what the payloads name (a batch key, so all the same), or the connection's own."""
        named = self.items[0].payload.get(name) if isinstance(self.items[0].payload, dict) else None
        return str(named) if named not in {None, ""} else self.target.external_id


class ApiDestination(DestinationType):
    """A type for a vendor's API."""

    compressed: ClassVar[bool] = False
    """True when the vendor takes gzip."""

    def prepare(self, payload: dict[str, Any], record: Record, *, action: Action, settings: Any) -> Any:
        """What the vendor takes for one payload, whose fields were checked. Raises UnusableError. Pure, and the same on every try."""
        return payload

    @abstractmethod
    def talk(self, batch: Batch) -> Conversation:
        """The conversation about a batch."""

    @abstractmethod
    def try_out(self, settings: Any) -> Conversation:
        """The conversation that tries the credentials and sends nobody."""

    def look_for_list(self, settings: Any, target: Target) -> Talk[ListId | Verdict | None]:
        """The conversation of `find_list`."""
        raise NotImplementedError(f"{self.key} keeps no lists of its own")

    def make_list(self, settings: Any, target: Target) -> Talk[ListId | Verdict]:
        """The conversation of `create_list`."""
        raise NotImplementedError(f"{self.key} keeps no lists of its own")

    def token_refused(self, answer: Answer) -> bool:
        """True when the answer says that the access token is no good any more; for vendors that do not say 401."""
        return answer.status == 401

    def token_url(self, settings: Any) -> str:
        """Where tokens are bought, for vendors with an address of its own for each customer."""
        return settings.at(cast(OAuth2, self.authentication).url)

    def reach(self, settings: Settings) -> Reach:
        """Where requests may go."""
        return Reach.ANYWHERE

    def account(self, settings: Any) -> str:
        """Which account of the vendor the settings are about, by what is not secret."""
        secret = settings.secret_fields()
        told = {name: value for name, value in settings.model_dump(mode="json").items() if name not in secret and value is not None}
        return orjson.dumps(told, option=orjson.OPT_SORT_KEYS).decode()

    def external_target(self, settings: Settings, target: Target) -> str | None:
        if self.takes_membership_as(settings) is not MembershipAs.USER_LIST:
            return None
        chosen = orjson.dumps(dict(target.list_settings), option=orjson.OPT_SORT_KEYS).decode() if target.list_settings else ""
        return f"{self.key} list {target.space}/{target.computation}{chosen} of {self.account(settings)}"

    # ------------------------------------------------------------------ what the engine calls

    def send(self, records: Sequence[Record], *, action: str, settings: Settings, target: Target, deadline_s: float) -> Verdict:
        if not records:
            return Accepted()
        too_much = refuse_oversize(records, self.limits_of(action, settings))
        if too_much is not None:
            return too_much
        batch, refused = self.batch(records, action=action, settings=settings, target=target)
        verdict: Verdict = self.converse(self.talk(batch), settings, deadline_s) if batch.items else Accepted()
        if isinstance(verdict, Accepted):
            verdict = Accepted({**refused, **{batch.items[at].index: reason for at, reason in verdict.rejected.items()}})
        return presentable(verdict, records, self._secrets(settings))

    def test(self, settings: Settings) -> Verdict:
        return presentable(self.converse(self.try_out(settings), settings, TEST_DEADLINE_S), (), self._secrets(settings))

    def find_list(self, *, settings: Settings, target: Target, deadline_s: float) -> ListId | Verdict | None:
        found = self.converse(self.look_for_list(settings, target), settings, deadline_s)
        return found if found is None or isinstance(found, ListId) else presentable(found, (), self._secrets(settings))

    def create_list(self, *, settings: Settings, target: Target, deadline_s: float) -> ListId | Verdict:
        made = self.converse(self.make_list(settings, target), settings, deadline_s)
        return made if isinstance(made, ListId) else presentable(made, (), self._secrets(settings))

    # ------------------------------------------------------------------ how it is done

    def batch(self, records: Sequence[Record], *, action: str, settings: Any, target: Target) -> tuple[Batch, dict[int, str]]:
        """The records as items, and by index why the others cannot be used. Pure."""
        does = self.action(action)
        items: list[Item] = []
        refused: dict[int, str] = {}
        for index, record in enumerate(records):
            try:
                payload = _payload(record.body)
                fitting = checked(payload, does.inputs) if does.inputs else payload
                prepared = self.prepare(fitting, record, action=does, settings=settings)
            except UnusableError as problem:
                refused[index] = str(problem)
            else:
                items.append(Item(prepared, record.entered, record.message_id, index))
        return Batch(tuple(items), does, settings, target), refused

    def converse(self, talk: Talk[T], settings: Any, deadline_s: float) -> T | Verdict:
        """Hold a conversation over the network: never longer than the deadline."""
        until = time.monotonic() + deadline_s
        return hold(talk, lambda request: self._ask(request, settings, until))

    def signed(self, request: Request, settings: Any, token: Token | None = None) -> Request:
        """The request as it goes out, but for compression."""
        if self.authentication is None:
            return request
        adds = self.authentication.sign(settings, token)
        return replace(request, url=adds.url(request.url), headers={**request.headers, **adds.headers})

    def token_request(self, settings: Any, latest: Token | None) -> Request:
        """The request that buys an access token."""
        form, adds = cast(OAuth2, self.authentication).form(settings, latest)
        request = form_request("POST", self.token_url(settings), form)
        return replace(request, url=adds.url(request.url), headers={**request.headers, **adds.headers})

    def _ask(self, request: Request, settings: Any, until: float) -> Answer | Verdict:
        if request.after_s:
            time.sleep(max(min(request.after_s, until - time.monotonic()), 0.0))
        if not isinstance(self.authentication, OAuth2):
            return self._perform(self.signed(request, settings), settings, until)
        token = settings.tokens.current() or self._renewed(None, settings, until)
        if not isinstance(token, Token):
            return token
        answer = self._perform(self.signed(request, settings, token), settings, until)
        if not isinstance(answer, Answer) or not self.token_refused(answer):
            return answer
        token = self._renewed(token, settings, until)
        return self._perform(self.signed(request, settings, token), settings, until) if isinstance(token, Token) else token

    def _renewed(self, used: Token | None, settings: Any, until: float) -> Token | Verdict:
        def fetch(latest: Token | None) -> Token | Verdict:
            answer = self._perform(self.token_request(settings, latest), settings, until)
            return read_token_answer(answer, latest) if isinstance(answer, Answer) else answer

        return settings.tokens.renew(used, fetch)

    def _perform(self, request: Request, settings: Settings, until: float) -> Answer | Verdict:
        from engage_pipelines.destinations.sending.transport import perform  # noqa: PLC0415 (most commands send nothing)

        left_s = max(until - time.monotonic(), 0.001)
        packed = compressed_request(request) if self.compressed and request.body else request
        answer = perform(packed, deadline_s=left_s, reach=self.reach(settings))
        return replace(answer, place=request.place, at_s=time.time()) if isinstance(answer, Answer) else answer

    def _secrets(self, settings: Settings) -> tuple[str, ...]:
        token = settings.tokens.current()
        bought = (token.access, token.refresh or "") if token else ()
        return (*settings.secret_values(), *(secret for secret in bought if secret))


def hold(talk: Talk[T], ask: Ask) -> T | Verdict:
    """Hold a conversation to its end; a request without an answer ends it with the verdict on that."""
    try:
        request = next(talk)
        while True:
            answer = ask(request)
            if not isinstance(answer, Answer):
                talk.close()
                return answer
            request = talk.send(answer)
    except StopIteration as end:
        return cast(T, end.value)


# ---------------------------------------------------------------------- requests


def json_request(method: str, url: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Request:
    """A request whose body is JSON, None for no body."""
    more = dict(headers or {})
    if body is None:
        return Request(url, b"", more, method)
    return Request(url, orjson.dumps(body), {"Content-Type": "application/json", **more}, method)


def form_request(method: str, url: str, form: Mapping[str, str], headers: Mapping[str, str] | None = None) -> Request:
    """A request whose body is a form."""
    more = {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})}
    return Request(url, urlencode(form).encode(), more, method)


def query_url(url: str, parameters: Mapping[str, str]) -> str:
    """The URL with these parameters in its query."""
    return f"{url}?{urlencode(parameters)}"


# ---------------------------------------------------------------------- answers


def failure(answer: Answer, records: int) -> Verdict | None:
    """The verdict on an answer that is no success, None when it is one that can be read.

    A single record that is refused is `Accepted({0: reason})` with the vendor's words. `records` is 0 when nobody was sent.
    """
    if 200 <= answer.status < 300:
        return _unreadable(answer)
    verdict = default_verdict(answer.status, answer.headers, records, answer.at_s, place=answer.place)
    reason = vendor_reason(answer.body)
    if isinstance(verdict, Accepted) and verdict.rejected and reason:
        return Accepted({0: f"{verdict.rejected[0]}: {reason}"})
    if isinstance(verdict, Stop) and reason:
        return Stop(f"{verdict.reason} It says: {reason}", verdict.remedy)
    return verdict


def _unreadable(answer: Answer) -> Backoff | None:
    said = f"{answer.place} answered {answer.status}"
    if not answer.whole:
        return Backoff(f"{said}, but the answer broke off or did not end")
    start = answer.body.lstrip()[:15].lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return Backoff(f"{said} with a web page; is the address right, is a login or proxy in between?")
    if start.startswith((b"{", b"[")) and json_of(answer) is None:
        return Backoff(f"{said} with JSON that cannot be read")
    return None


def placed(verdict: Verdict, positions: Sequence[int]) -> Verdict:
    """The verdict on a part of a batch as one on the batch; `positions` says where in the batch the part's records are."""
    return Accepted({positions[at]: reason for at, reason in verdict.rejected.items()}) if isinstance(verdict, Accepted) else verdict


def json_of(answer: Answer) -> Any:
    """The JSON of an answer's body, None when it is none."""
    try:
        return orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return None


def object_of(answer: Answer) -> dict[str, Any]:
    """The JSON object of an answer's body, empty when it is none."""
    return json_object(answer.body)


def read_token_answer(answer: Answer, latest: Token | None) -> Token | Verdict:
    """The token that a token endpoint's answer brings, or the verdict when it brings none."""
    if 200 <= answer.status < 300:
        token = read_token(answer.body, latest)
        return token or Backoff(f"{answer.place} answered {answer.status} to a request for an access token, but there is none in it")
    verdict = default_verdict(answer.status, answer.headers, 0, answer.at_s, place=answer.place)
    if isinstance(verdict, Pause | Backoff):
        return verdict
    reason = vendor_reason(answer.body)
    said = f" ({reason})" if reason else ""
    return Stop(
        f"{answer.place} gives no access token{said}: the consent may have expired or been withdrawn.",
        "Give this destination a new refresh token or client secret in its settings.",
    )


def _payload(body: bytes) -> dict[str, Any]:
    payload = orjson.loads(body) if body.strip() else None
    if not isinstance(payload, dict):
        raise UnusableError("the mapping made no object of it")
    return cast(dict[str, Any], payload)

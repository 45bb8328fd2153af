"""The oracle's destination lines, answered by this project's types: the requests that would be sent, for differential tests by anyone.

    python -m engage_pipelines.testing.requests < in.jsonl > out.jsonl

A line names a destination and an action as Segment does, with settings, a mapping and one event or several; the operations are execute,
createAudience, getAudience and testAuthentication. Nothing is sent: each request is answered by the first of the line's canned `responses`
whose `match` fits `METHOD URL`, else by 200 and `{}`. The answer is

    {"id", "requests": [{"method", "url", "headers", "body"}], "refused": {"<index>": "<reason>"}}

with `audience` for list operations, and `error` where the line cannot be answered.
"""

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, cast

import orjson

from engage_pipelines.destinations.api import ApiDestination, hold
from engage_pipelines.destinations.authentication import MemoryTokens, OAuth2, Token
from engage_pipelines.destinations.base import SYNC_MODE, Accepted, Action, DestinationType, ListId, Record, Settings, Target
from engage_pipelines.destinations.catalog import destination_types
from engage_pipelines.destinations.http import Answer, HttpDestination, Request
from engage_pipelines.domain.errors import ConfigurationError, EngageError, NotFoundError
from engage_pipelines.domain.mapping import compile_mapping
from engage_pipelines.domain.mapping.membership import stated_membership

Case = Mapping[str, Any]
Output = dict[str, Any]

_EVENTS = {"Audience Entered": True, "Audience Exited": False}


class Canned:
    """The replies of a case, and the requests that got them."""

    def __init__(self, case: Case) -> None:
        self.requests: list[Output] = []
        self._responses = [dict(response) for response in case.get("responses", [])]
        self._at_s = datetime.fromisoformat(case["now"]).timestamp() if case.get("now") else 0.0

    def note(self, request: Request) -> None:
        """Keep a request as it would be seen on the wire."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        shown: Output = {"method": request.method, "url": request.url, "headers": headers}
        if request.body:
            shown["body"] = request.body.decode(errors="replace")
        self.requests.append(shown)

    def answer(self, request: Request) -> Answer:
        """The reply to a request."""
        response = self._pick(f"{request.method} {request.url}")
        body = response.get("body", "")
        data = body.encode() if isinstance(body, str) else b"" if body is None else orjson.dumps(body)
        headers = {name.lower(): value for name, value in response.get("headers", {}).items()}
        return Answer(response.get("status", 200), headers, data, place=request.place, at_s=self._at_s)

    def _pick(self, asked: str) -> Case:
        for response in self._responses:
            if response.get("times", 1) > 0 and re.search(response.get("match") or "", asked):
                if "times" in response:
                    response["times"] -= 1
                return response
        return {"status": 200, "body": {}}


def answer(case: Case) -> Output:
    """The answer to one line."""
    canned = Canned(case)
    output: Output = {"id": case["id"]} if "id" in case else {}
    try:
        output |= _OPERATIONS[case.get("op", "execute")](case, canned)
    except EngageError as problem:
        output["error"] = {"name": type(problem).__name__, "message": str(problem)}
    except KeyError as problem:
        output["error"] = {"name": "KeyError", "message": f"the line cannot be answered without {problem}"}
    return {**output, "requests": canned.requests}


def _execute(case: Case, canned: Canned) -> Output:
    kind, action = find(case["destination"], case["action"], case.get("mapping", {}))
    settings = settings_of(kind, case)
    events: list[Any] = case["events"] if "events" in case else [case["event"]]
    mapping = {**(action.fields if case.get("useDefaultMappings") else {}), **case.get("mapping", {})}
    apply = compile_mapping(mapping)
    records = [record_of(event, apply(event), action, mapping.get(SYNC_MODE), at) for at, event in enumerate(events)]
    target = target_of(events[0])
    size = kind.limits_of(action.key, settings).max_batch_records
    refused: dict[str, str] = {}
    for start in range(0, len(records), size):
        part = records[start : start + size]
        for index, reason in _talk(kind, action, part, settings, target, canned).items():
            refused[str(start + index)] = reason
    return {"refused": refused} if refused else {}


def _talk(
    kind: DestinationType, action: Action, records: list[Record], settings: Settings, target: Target, canned: Canned
) -> dict[int, str]:
    """Hold the conversation about one batch; the reasons of refused records by index."""
    if isinstance(kind, HttpDestination):
        request = kind.build(records, action=action.key, settings=settings, target=target, now_s=0)
        canned.note(request)
        verdict = kind.read(canned.answer(request), records, place=request.place, now_s=0)
        return dict(verdict.rejected) if isinstance(verdict, Accepted) else {}
    if not isinstance(kind, ApiDestination):
        raise ConfigurationError(f"{kind.key} has no requests that follow from a line alone.", "Try it with its fake vendor.")
    batch, refused = kind.batch(records, action=action.key, settings=settings, target=target)
    if batch.items:
        verdict = hold(kind.talk(batch), lambda request: _exchange(kind, settings, request, canned))
        if isinstance(verdict, Accepted):
            refused = {**refused, **{batch.items[at].index: reason for at, reason in verdict.rejected.items()}}
    return refused


def _exchange(kind: ApiDestination, settings: Settings, request: Request, canned: Canned) -> Answer:
    signed = kind.signed(request, settings, settings.tokens.current())
    canned.note(signed)
    return canned.answer(signed)


def _audience(case: Case, canned: Canned) -> Output:
    kind = cast(ApiDestination, find_kind(case["destination"]))
    settings = settings_of(kind, case)
    given: dict[str, Any] = case.get("audience", {})
    key = given.get("personas", {}).get("computation_key", "")
    target = Target("main", key, "user", 0, given.get("audienceName", key), given.get("externalId"), given.get("audienceSettings", {}))
    talk = kind.make_list(settings, target) if case["op"] == "createAudience" else kind.look_for_list(settings, target)
    found: Any = hold(talk, lambda request: _exchange(kind, settings, request, canned))
    return {"audience": {"externalId": found.value} if isinstance(found, ListId) else None}


def _try_out(case: Case, canned: Canned) -> Output:
    kind = cast(ApiDestination, find_kind(case["destination"]))
    settings = settings_of(kind, case)
    verdict = hold(kind.try_out(settings), lambda request: _exchange(kind, settings, request, canned))
    return {"verdict": type(verdict).__name__}


_OPERATIONS = {"execute": _execute, "createAudience": _audience, "getAudience": _audience, "testAuthentication": _try_out}


def record_of(event: Case, payload: Any, action: Action, sync_mode: str | None, number: int) -> Record:
    """The record that an event would be; whether it enters is what the event states, else what the action or the event's name says."""
    entered = stated_membership(event, sync_mode)
    if action.direction != "both":
        entered = action.direction == "entered"
    elif entered is None:
        entered = _EVENTS.get(str(event.get("event")), _of_an_account(event))
    address = f"user_id:{event.get('userId') or event.get('anonymousId') or number}"
    return Record(str(event.get("messageId") or f"personas_1:{number}:i0"), address, entered, orjson.dumps(payload))


def _of_an_account(event: Case) -> bool:
    """What a Group states of its account, which Segment's own rule of membership does not read."""
    key = event.get("context", {}).get("personas", {}).get("computation_key")
    return event.get("traits", {}).get(key) is not False


def target_of(event: Case) -> Target:
    """The computation that an event names in its context, and its list outside."""
    personas = event.get("context", {}).get("personas", {})
    key = str(personas.get("computation_key", ""))
    external = personas.get("external_audience_id")
    level = "account" if event.get("type") == "group" else "user"
    return Target("main", key, level, 1, key, None if external is None else str(external), personas.get("audience_settings", {}))


def settings_of(kind: DestinationType, case: Case) -> Settings:
    """The settings of the type for Segment's, with the access token of the line."""
    settings = kind.configure(kind.settings_from_segment(case.get("settings", {})), files_dir=Path())
    if isinstance(kind.authentication, OAuth2):
        settings.keep_tokens_in(MemoryTokens(Token(case.get("auth", {}).get("accessToken", "undefined"))))
    return settings


@cache
def _known() -> dict[tuple[str, str], tuple[DestinationType, Action]]:
    kinds = destination_types().values()
    return {(slug, name): (kind, kind.action(ours)) for kind in kinds for slug in kind.segment_slugs for name, ours in kind.segment_actions}


def find(destination: str, action: str, mapping: Mapping[str, Any] | None = None) -> tuple[DestinationType, Action]:
    """Our type and action for Segment's names of them; lists, a part of an action there, are types of their own here.

    Raises NotFoundError.
    """
    lists = f"{destination}-lists" if "list_details" in (mapping or {}) else destination
    found = _known().get((lists, action)) or _known().get((destination, action))
    if found is None:
        raise NotFoundError(f"no type of ours does what Segment calls {destination}.{action}.", "See `engage destination catalog`.")
    return found


def find_kind(destination: str) -> DestinationType:
    """Our type for Segment's destination. Raises NotFoundError."""
    found = [kind for (slug, _), (kind, _) in _known().items() if slug == destination]
    if not found:
        raise NotFoundError(f"no type of ours is what Segment calls {destination}.", "See `engage destination catalog`.")
    if not isinstance(found[0], ApiDestination):
        raise ConfigurationError(f"{found[0].key} has no such operation.", "Use execute.")
    return found[0]


def answers(lines: Iterable[str]) -> Iterator[str]:
    """One answer line for each line; empty ones are left out."""
    for line in lines:
        if line.strip():
            yield json.dumps(answer(json.loads(line)), ensure_ascii=False, separators=(",", ":"))


def main() -> None:
    """Reads standard input, writes standard output."""
    for stream in (sys.stdin, sys.stdout):
        stream.reconfigure(encoding="utf-8", errors="surrogatepass")  # type: ignore[union-attr]
    for line in answers(sys.stdin):
        sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()

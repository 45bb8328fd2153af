"""Trying a mapping without sending: what it would make of an entry and an exit, and the exact requests that would carry that.

The records have made-up identifiers. Secrets stay references, and what a request proves itself with is shown as bullets.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from engage_pipelines.delivery.runtime import Runtime
from engage_pipelines.delivery.state import load_connection
from engage_pipelines.destinations.api import ApiDestination, hold
from engage_pipelines.destinations.base import Backoff, DestinationType, Record, Settings, Target, Verdict
from engage_pipelines.destinations.http import Answer, HttpDestination, Request
from engage_pipelines.domain.connection import Sample
from engage_pipelines.domain.errors import EngageError
from engage_pipelines.domain.mapping import MappingError, compile_mapping, validate_mapping
from engage_pipelines.domain.trigger import parse_trigger
from engage_pipelines.registry.mappings import NewMapping
from engage_pipelines.registry.matching import samples_of
from engage_pipelines.registry.secrets import BULLETS
from engage_pipelines.registry.tables import connection
from engage_pipelines.registry.types import find_action

_SHOWN_HEADERS = frozenset({"content-type", "accept", "user-agent", "content-encoding"})
_MOST_REQUESTS = 5
"""Of a conversation in which every answer is an empty success; how it goes on depends on real answers."""


@dataclass(frozen=True, slots=True)
class TrialRequest:
    """The request as it would leave; `headers` that may prove who sends it have bullets in place of their values."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: str


@dataclass(frozen=True, slots=True)
class Trial:
    """What becomes of one sample record; `payload` is None when the trigger does not match, or with a `problem`."""

    call: str
    entered: bool
    matches: bool
    payload: Any = None
    problem: str = ""
    requests: tuple[TrialRequest, ...] = ()

    @property
    def record(self) -> Record:
        """The payload as it would be sent."""
        address = "group_id:sample-account" if self.call == "group" else "user_id:sample-user"
        return Record("personas_sample", address, self.entered, orjson.dumps(self.payload))


def try_mapping(runtime: Runtime, connection_id: str, new: NewMapping) -> list[Trial]:
    """One trial per call and direction of the connection. Raises DefinitionError, EngageError or NotFoundError for what cannot be used."""
    with runtime.database.read() as c:
        found = load_connection(c, connection_id)
        row = c.execute(connection.select().where(connection.c.id == connection_id)).one()
        samples = samples_of(c, row, triggers=[new.trigger])
    type_ = runtime.type_of(found.destination_type)
    action = find_action(type_, new.action)
    matches = parse_trigger(new.trigger).matches
    fields = dict(action.fields if new.fields is None else new.fields)
    problems = validate_mapping(fields)
    if problems:
        raise EngageError(f"The fields of the mapping cannot be used: {' '.join(problems)}", "Correct them and try again.")
    apply = compile_mapping(fields)
    settings = runtime.registry.desk.describe(type_, found.settings)
    target = Target(found.space_key, found.computation_key, "user")

    def tried(sample: Sample) -> Trial:
        if sample.call not in action.calls:
            return Trial(sample.call, sample.entered, False, problem=f"The action {action.key!r} takes no {sample.call.title()} calls.")
        if not matches(sample.record):
            return Trial(sample.call, sample.entered, False)
        try:
            payload = apply(sample.record)
        except MappingError as error:
            return Trial(sample.call, sample.entered, True, problem=str(error))
        made = Trial(sample.call, sample.entered, True, payload)
        requests, problem = _requests(type_, settings, target, new.action, made.record)
        return replace(made, requests=requests, problem=problem)

    return [tried(sample) for sample in samples]


def _requests(
    type_: DestinationType, settings: Settings, target: Target, action: str, record: Record
) -> tuple[tuple[TrialRequest, ...], str]:
    """The requests that would carry the record, none for a type that sends no requests; and why there can be none."""
    if isinstance(type_, HttpDestination):
        return (_readable(type_.build([record], action=action, settings=settings, target=target, now_s=0), {}),), ""
    if not isinstance(type_, ApiDestination):
        return (), ""
    batch, refused = type_.batch([record], action=action, settings=settings, target=target)
    if not batch.items:
        return (), refused[0]
    asked: list[Request] = []

    def ask(request: Request) -> Answer | Verdict:
        asked.append(request)
        return Answer(200, {}, b"{}") if len(asked) < _MOST_REQUESTS else Backoff("enough was seen")

    hold(type_.talk(batch), ask)
    proof = {} if type_.authentication is None else {"Authorization": BULLETS}
    return tuple(_readable(one, proof) for one in asked), ""


def _readable(request: Request, proof: Mapping[str, str]) -> TrialRequest:
    headers = {name: value if name.lower() in _SHOWN_HEADERS else BULLETS for name, value in request.headers.items()}
    return TrialRequest(request.method, request.url, {**headers, **proof}, _text(request.body))


def _text(body: bytes) -> str:
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except ValueError:
        return body.decode(errors="replace")

"""From a request to an operation and back: who asks, what they say, then the one function, then the answer.

Nothing here knows any operation; nothing in an operation knows HTTP.
"""

import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import orjson
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from engage_pipelines.domain.errors import EngageError, UsageError
from engage_pipelines.registry.change import Registry
from engage_pipelines.server.access import ACTOR, actor_by_bearer, allow, allow_members
from engage_pipelines.server.api.answers import MalformedError, answered, errors, failed, media_type
from engage_pipelines.server.api.calls import Answer, AtFieldError, Call, Operation, etag
from engage_pipelines.server.guard import body_of
from engage_pipelines.server.kept import LAG_S, Kept

MOST_DEPTH = 40
_MOST_INT = 2**63
_MOST_QUERY = 2_000
_log = logging.getLogger(__name__)


def endpoint(operation: Operation) -> Callable[[Request], Response]:
    """The operation as Starlette calls it, in a thread."""

    timely = {one.name for one in operation.query if one.timely}

    def answer(request: Request) -> Response:
        media = media_type(request.headers.get("accept"))
        try:
            call = _call(operation, request)
            if operation.kept and not timely & call.query.keys():
                key = (operation.name, tuple(call.path.items()), tuple(call.query.items()), call.actor.space, media)
                kept = cast(Kept, request.app.state.kept)
                found = kept.look(key, lambda: _written(operation.run(call)), size_of=lambda one: len(one[0]), lag_s=LAG_S)
                return answered(*found, media=media)
            return answered(*_written(operation.run(call)), media=media)
        except (EngageError, AtFieldError, MalformedError, ValidationError) as error:
            return failed(error, media=media)
        except Exception as error:
            # the message of an unforeseen failure may hold what the client sent, so the log names its kind and place alone
            _log.error("api_operation_failed operation=%s error=%s", operation.name, type(error).__name__, exc_info=_without_message(error))
            told = {"type": "internal-error", "message": "The server failed; its log says where.", "status": 500}
            return errors([told], 500, media=media)

    return answer


def _written(found: Answer) -> tuple[bytes, dict[str, str]]:
    """The body and the headers."""
    return orjson.dumps({"data": found.data}), {} if found.updated_at is None else {"ETag": etag(found.updated_at)}


def _call(operation: Operation, request: Request) -> Call:
    registry = cast(Registry, request.app.state.registry)
    actor = actor_by_bearer(registry.database, request.app.state.kept, request.headers.get("authorization"))
    request.scope[ACTOR] = actor
    allow(actor, operation.role)
    if operation.members:
        allow_members(actor)
    query = _query(request.query_params.multi_items())
    body = None
    if operation.body is not None:
        _check_type(request.headers.get("content-type"))
        body = operation.body.model_validate(parse(body_of(request)))
    return Call(
        settings=request.app.state.settings,
        registry=replace(registry, actor=actor.name),
        previews=request.app.state.previews,
        actor=actor,
        path=request.path_params,
        query=query,
        body=body,
        if_match=request.headers.get("if-match"),
    )


def parse(body: bytes) -> Any:
    """The JSON of a body. Raises MalformedError for what is none, and AtFieldError for what no registry could keep."""
    try:
        said = json.loads(body, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except RecursionError:
        raise MalformedError(f"The body is nested deeper than {MOST_DEPTH} levels.") from None
    except ValueError as error:
        where = f" at line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise MalformedError(f"The body is not JSON{where}.") from None
    _check_value(said, "", 0)
    return said


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise AtFieldError(UsageError("The field is given twice.", "Give it once."), twice[:80])
    return found


def _refuse_constant(name: str) -> Any:
    raise MalformedError(f"{name} is no JSON.")


def _check_value(value: Any, at: str, depth: int) -> None:
    if depth > MOST_DEPTH:
        raise AtFieldError(UsageError(f"It is nested deeper than {MOST_DEPTH} levels.", "Flatten it."), at or "body")
    if isinstance(value, str):
        _check_text(value, at)
    elif isinstance(value, dict):
        for name, inner in cast("dict[str, Any]", value).items():
            _check_text(name, at)
            _check_value(inner, f"{at}.{name}" if at else name, depth + 1)
    elif isinstance(value, list):
        for index, inner in enumerate(cast("list[Any]", value)):
            _check_value(inner, f"{at}.{index}" if at else str(index), depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise AtFieldError(UsageError("The number is too large.", "Write a smaller one."), at or "body")
    elif isinstance(value, int) and not -_MOST_INT <= value < _MOST_INT:
        raise AtFieldError(UsageError("The number is too large.", "Write a smaller one, or a text."), at or "body")


def _check_text(text: str, at: str) -> None:
    """A NUL ends a text in PostgreSQL, and half a pair of surrogates is no character."""
    if "\0" in text or (not text.isascii() and any("\ud800" <= one <= "\udfff" for one in text)):
        raise AtFieldError(UsageError("The text holds a character that cannot be kept.", "Take it out."), at or "body")


def _check_type(given: str | None) -> None:
    name = (given or "application/json").partition(";")[0].strip().lower()
    if not (name.endswith(("/json", "+json"))):
        raise MalformedError(f"The body is {name[:60]}; send application/json.")


def _query(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, text in pairs:
        if name in found:
            raise AtFieldError(UsageError("The parameter is given twice.", "Give it once."), name[:80])
        if len(text) > _MOST_QUERY or "\0" in text or any("\ud800" <= one <= "\udfff" for one in text):
            raise AtFieldError(UsageError("The parameter cannot be used.", f"Write at most {_MOST_QUERY} characters of text."), name[:80])
        found[name] = text
    return found


def _without_message(error: Exception) -> Any:
    return RuntimeError, RuntimeError(type(error).__name__), error.__traceback__

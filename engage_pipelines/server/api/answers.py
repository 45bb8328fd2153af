"""What goes back: envelopes, media types, and failures as Segment's clients read them.

{"data": {...}}          {"errors": [{"type": "validation", "message": "...", "field": "name", "status": 422, "data": {...}}]}
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from pydantic import ValidationError
from starlette.responses import Response

from engage_pipelines.domain.errors import (
    BusyError,
    ConfigurationError,
    ConflictError,
    DefinitionError,
    EngageError,
    ForbiddenError,
    HeldVersionError,
    InputError,
    LoginError,
    NotFoundError,
    UsageError,
    one_line,
)
from engage_pipelines.registry.texts import TextError
from engage_pipelines.server.api.calls import AtFieldError, StaleError

JSON = "application/json"
VERSIONED = tuple(f"application/vnd.segment.{version}+json" for version in ("v1", "v1beta", "v1alpha"))
_KINDS: tuple[tuple[type[EngageError], int, str], ...] = (
    (LoginError, 401, "unauthorized"),
    (ForbiddenError, 403, "forbidden"),
    (NotFoundError, 404, "not-found"),
    (ConflictError, 409, "conflict"),
    (HeldVersionError, 409, "conflict"),
    (DefinitionError, 422, "validation"),
    (ConfigurationError, 422, "validation"),
    (InputError, 422, "validation"),
    (UsageError, 422, "validation"),
    (BusyError, 503, "unavailable"),
)
_RETRY_AFTER_S = "1"


class MalformedError(Exception):
    """A body that is no JSON at all; `text` says where."""


def media_type(accept: str | None) -> str:
    """The first of the types asked for that we speak; JSON for any other wish."""
    for wish in (accept or "").split(","):
        name = wish.partition(";")[0].strip().lower()
        if name in VERSIONED:
            return name
        if name == JSON:
            return JSON
    return JSON


def answered(body: bytes, headers: Mapping[str, str], *, media: str) -> Response:
    return Response(body, media_type=media, headers=dict(headers))


def failed(error: Exception, *, media: str) -> Response:
    """What a client is told of a failure that it can do something about."""
    if isinstance(error, ValidationError):
        return errors([_of_model(one) for one in error.errors(include_input=False, include_url=False)], 422, media=media)
    if isinstance(error, MalformedError):
        return errors([{"type": "bad-request", "message": str(error), "status": 400}], 400, media=media)
    field = None
    if isinstance(error, AtFieldError):
        error, field = error.error, error.field_name
    assert isinstance(error, EngageError)
    status, kind = next(((status, kind) for one, status, kind in _KINDS if isinstance(error, one)), (503, "unavailable"))
    told: dict[str, Any] = {"type": kind, "message": one_line(error.what, error.remedy), "status": status}
    if field is None and isinstance(error, TextError):
        field = error.field
    if field is not None:
        told["field"] = field
    if isinstance(error, DefinitionError):
        told["data"] = {"line": error.line, "column": error.column}
    if isinstance(error, StaleError):
        told |= {"field": "updatedAt", "data": {"current": error.current, "given": error.given}}
    return errors([told], status, media=media)


def errors(told: Sequence[Mapping[str, Any]], status: int, *, media: str = JSON) -> Response:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {"Retry-After": _RETRY_AFTER_S} if status == 503 else {}
    return Response(orjson.dumps({"errors": list(told)}, default=str), status_code=status, media_type=media, headers=headers)


def _of_model(one: Any) -> dict[str, Any]:
    """One problem that a model found; what was given is not repeated, it may be a secret."""
    message = str(one["msg"]).removeprefix("Value error, ")
    return {"type": "validation", "message": message, "field": ".".join(str(part) for part in one["loc"]) or "body", "status": 422}

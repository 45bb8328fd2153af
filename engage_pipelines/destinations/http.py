"""Destination types that speak HTTP: the request as a value, the answer as a value, and what each answer means by default.

A type says how a request is built and, where the vendor differs, how its answer is read; both are pure. `transport` sends it.
Every reason that leaves this module is free of secrets and of what the records carry, since vendors like to repeat both.
"""

import gzip
import math
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Any, ClassVar, cast
from urllib.parse import urlsplit

import orjson

from engage_pipelines.destinations.base import (
    Accepted,
    Backoff,
    Bisect,
    DestinationType,
    Pause,
    Record,
    Settings,
    Stop,
    Target,
    Verdict,
    refuse_oversize,
)
from engage_pipelines.destinations.sending.redaction import redact, vendor_reason

DEFAULT_PAUSE_S = 30.0
MAX_PAUSE_S = 86_400.0


class Reach(StrEnum):
    """Which addresses a request may go to; link-local ones, where clouds keep their metadata, never."""

    PUBLIC = "public"
    ANYWHERE = "anywhere"


@dataclass(frozen=True, slots=True)
class Request:
    """One request, whole; nothing of it is shown but method and place.

    `after_s` is how long it waits before it goes, where a vendor is at work on what was asked before; it counts towards the deadline.
    """

    url: str = field(repr=False)
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    method: str = "POST"
    after_s: float = 0.0

    @property
    def place(self) -> str:
        """Scheme, host and port: all of the URL that people may be shown."""
        return place_of(self.url)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: header names in lower case; `whole` is False when the body broke off or would not end.

    `place` is whom was asked, `at_s` when the answer came, in Unix seconds.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    body: bytes = field(default=b"", repr=False)
    whole: bool = True
    place: str = "the destination"
    at_s: float = 0.0


class HttpDestination(DestinationType):
    """A type whose batches are requests."""

    compressed: ClassVar[bool] = False
    """True when the vendor takes gzip."""

    @abstractmethod
    def build(self, records: Sequence[Record], *, action: str, settings: Settings, target: Target, now_s: int) -> Request:
        """The request for a batch. Pure; the body depends on nothing but the records and the settings, `now_s` may enter headers."""

    def read(self, answer: Answer, records: Sequence[Record], *, place: str, now_s: float) -> Verdict:
        """What an answer means; no records when the credentials are being tried."""
        if 200 <= answer.status < 300:
            return read_success(answer, len(records), place)
        verdict = default_verdict(answer.status, answer.headers, len(records), now_s, place=place)
        reason = vendor_reason(answer.body)
        if isinstance(verdict, Accepted) and verdict.rejected and reason:
            return Accepted({0: f"{verdict.rejected[0]}: {reason}"})
        return verdict

    def reach(self, settings: Settings) -> Reach:
        """Where requests may go."""
        return Reach.ANYWHERE

    def send(self, records: Sequence[Record], *, action: str, settings: Settings, target: Target, deadline_s: float) -> Verdict:
        if not records:
            return Accepted()
        too_much = refuse_oversize(records, self.limits_of(action, settings))
        if too_much is not None:
            return too_much
        request = self.build(records, action=action, settings=settings, target=target, now_s=int(time.time()))
        return self.exchange(request, records, settings=settings, deadline_s=deadline_s)

    def exchange(self, request: Request, records: Sequence[Record], *, settings: Settings, deadline_s: float) -> Verdict:
        """Send a request and read its answer: never longer than the deadline, never more in a reason than may be shown."""
        from engage_pipelines.destinations.sending.transport import perform  # noqa: PLC0415 (most commands send nothing)

        answer = perform(compressed_request(request) if self.compressed else request, deadline_s=deadline_s, reach=self.reach(settings))
        verdict = self.read(answer, records, place=request.place, now_s=time.time()) if isinstance(answer, Answer) else answer
        return presentable(verdict, records, settings.secret_values())


def check_url(url: str) -> str:
    """The URL, if requests can go to it. Raises ValueError otherwise, for use in a settings model."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0 and url.isprintable() and " " not in url
    except ValueError:
        usable = False
        parts = urlsplit("")
    if not usable:
        raise ValueError("it must be a URL with http:// or https:// and a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL must not hold credentials, use the settings that are kept secret")
    return url


def place_of(url: str) -> str:
    """Scheme, host and port of a URL, without the credentials that it may hold."""
    try:
        parts = urlsplit(url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")
    except ValueError:
        return "the URL of the destination"


def read_success(answer: Answer, records: int, place: str) -> Verdict:
    """What a 2xx means: `{"rejected": [{"index", "reason"}]}` refuses single records.

    A broken body, a web page or `{"success": false}` confirms nothing.
    """
    if not answer.whole:
        return Backoff(f"{place} answered {answer.status}, but the answer broke off or did not end")
    if answer.body.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
        return Backoff(f"{place} answered {answer.status} with a web page; is the address right, is a login or proxy in between?")
    if json_object(answer.body).get("success") is False and not _names_rejected(answer.body):
        reason = vendor_reason(answer.body)
        return Backoff(f"{place} answered {answer.status}, but says that it did not succeed{f': {reason}' if reason else ''}")
    refused = _refused(answer.body, records)
    if refused is None or (answer.status == HTTPStatus.MULTI_STATUS and not _names_rejected(answer.body)):
        return Backoff(f"{place} answered {answer.status} with a list of refused records that cannot be read")
    return Accepted(refused)


def _names_rejected(body: bytes) -> bool:
    return isinstance(json_object(body).get("rejected"), list)


def _refused(body: bytes, records: int) -> dict[int, str] | None:
    """Reasons by index, empty when the body names none; None when it names what cannot be read."""
    rejected = json_object(body).get("rejected")
    if rejected is None:
        return {}
    if not isinstance(rejected, list):
        return None
    found: dict[int, str] = {}
    for item in cast(list[Any], rejected):
        refusal = cast(dict[str, Any], item) if isinstance(item, dict) else {}
        index = refusal.get("index")
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < records:
            return None
        found[index] = str(refusal.get("reason") or "refused without a reason")
    return found


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object of a body; empty when it is none."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return cast(dict[str, Any], parsed) if isinstance(parsed, dict) else {}


_STOPS = {
    401: ("refuses the credentials", "Set valid credentials in the settings of the destination."),
    403: ("does not allow this", "Give the credentials the right to write, or set others in the settings of the destination."),
    404: ("does not know the address", "Check the address in the settings of the destination."),
    405: ("does not take this kind of request", "Check the address in the settings of the destination."),
    407: ("asks for a proxy login", "Check the proxy of this machine (HTTPS_PROXY)."),
    410: ("says that the address is gone for good", "Set the new address in the settings of the destination."),
    413: ("finds the request too large", "Check what lies between here and the destination; a proxy may limit the size of requests."),
    415: ("does not take the content type", "Check the address in the settings of the destination."),
    501: ("does not implement this", "Check the address in the settings of the destination."),
}
_CHECK = "Check the settings of the destination, and ask its makers what the answer means."
_REFUSED_ALONE = frozenset({400, 404, 406, 409, 413, 422})
_REFUSED_IN_BATCH = frozenset({400, 413, 422})


def default_verdict(status: int, headers: Mapping[str, str], records: int, now: float, *, place: str = "the destination") -> Verdict:
    """What the answer of a batch endpoint to `records` records means, when the type knows no better; `now` in Unix seconds."""
    said = f"{place} answered {status}{_phrase(status)}"
    if 200 <= status < 300:
        return Accepted()
    if status == 429:
        wait_s = retry_after(headers, now)
        return Pause(DEFAULT_PAUSE_S if wait_s is None else wait_s)
    if records == 1 and status in _REFUSED_ALONE:
        return Accepted({0: said})
    if status in _REFUSED_IN_BATCH and records > 1:
        return Bisect(said)
    if 300 <= status < 400:
        return Stop(f"{said}: it has moved.", "Set the address that it has moved to in the settings of the destination.")
    if status in {408, 409, 423} or not 400 <= status < 600 or (status >= 500 and status != 501):
        return Backoff(said, retry_after(headers, now))
    what, remedy = _STOPS.get(status, ("refuses the request", _CHECK))
    return Stop(f"{said}: it {what}.", remedy)


def _phrase(status: int) -> str:
    try:
        return f" ({HTTPStatus(status).phrase})"
    except ValueError:
        return ""


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that the answer asks to wait, between a second and a day; None when it does not ask, or not readably."""
    text = next((value.strip() for name, value in headers.items() if name.lower() == "retry-after"), "")
    try:
        wait_s = float(text) if text[:1].isdigit() else parsedate_to_datetime(text).timestamp() - now
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(wait_s, 1.0), MAX_PAUSE_S) if math.isfinite(wait_s) else None


def compressed_request(request: Request) -> Request:
    """The request with its body packed; the same body packs to the same bytes."""
    body = gzip.compress(request.body, compresslevel=6, mtime=0)
    return replace(request, body=body, headers={**request.headers, "Content-Encoding": "gzip"})


def presentable(verdict: Verdict, records: Sequence[Record], secrets: Sequence[str]) -> Verdict:
    """The verdict with reasons that may be shown: without secrets and without what a single record carries."""
    alone = records[0].body if len(records) == 1 else None
    match verdict:
        case Accepted(rejected) if rejected:
            return Accepted({index: redact(reason, secrets, records[index].body) for index, reason in rejected.items()})
        case Bisect(reason):
            return Bisect(redact(reason, secrets, alone))
        case Backoff(reason, after_s):
            return Backoff(redact(reason, secrets, alone), after_s)
        case Stop(reason, remedy):
            return Stop(redact(reason, secrets, alone), redact(remedy, secrets, alone))
        case _:
            return verdict

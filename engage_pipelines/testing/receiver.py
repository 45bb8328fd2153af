"""A Segment-compatible receiver on this machine: takes what Segment's tracking API takes, refuses what it refuses, and shows what it holds.

    with Receiver(write_key="k") as receiver:     # or: python -m engage_pipelines.testing.receiver --port 0
        ...                                       # POST {receiver.url}/v1/batch, also /v1/identify, /v1/track, /v1/group, /v1/page ...
        receiver.state()                          # the same as GET {receiver.url}/_state

A call whose messageId it has seen is dropped, as Segment does for a day. Calls are applied in the order in which they come, so a call that
comes late does its harm here too, and is counted: an inversion is a call about the same person or account and the same trait that is older
than the one before. `GET /_fault?p503=0.1&seed=7` makes it fail (`faults.Rates`), `GET /_reset` empties it.
Source: https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/
"""

import argparse
import base64
import binascii
import signal
import threading
from collections import Counter
from dataclasses import dataclass, field
from types import FrameType, TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import msgspec
import orjson

from engage_pipelines.testing.faults import Faults, Rates
from engage_pipelines.testing.local_server import LocalServer, Received, Reply

MAX_REQUEST_BYTES = 500_000
MAX_CALL_BYTES = 32 << 10
MAX_BATCH_CALLS = 2_500
MAX_MESSAGE_ID = 100
MAX_GROUP_ID = 500

_NEEDS = {"track": "event", "group": "groupId", "alias": "previousId"}
_TYPES = frozenset({"identify", "track", "group", "page", "screen", "alias"})


class _Batch(msgspec.Struct):
    batch: list[msgspec.Raw]


@dataclass(slots=True)
class _Held:
    """What there is; guarded by the receiver's lock."""

    users: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    accounts: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    tracked: dict[str, dict[str, bool]] = field(default_factory=dict[str, dict[str, bool]])
    calls: Counter[str] = field(default_factory=Counter[str])
    events: Counter[str] = field(default_factory=Counter[str])
    numbers: Counter[str] = field(default_factory=Counter[str])
    refusals: Counter[str] = field(default_factory=Counter[str])
    latest: dict[int, str] = field(default_factory=dict[int, str])
    seen: set[int] = field(default_factory=set[int])


class Receiver:
    """The receiver; thread-safe. With `write_key` None every key is good, an empty one is not."""

    def __init__(self, *, write_key: str | None = None, port: int = 0, faults: Faults | None = None) -> None:
        self._write_key = write_key
        self._lock = threading.Lock()
        self._held = _Held()
        self.faults = faults or Faults(Rates())
        self._port = port
        self._server: LocalServer | None = None

    @property
    def url(self) -> str:
        """Where it listens, inside its `with` block."""
        if self._server is None:
            raise RuntimeError("the receiver listens only inside its with block")
        return self._server.url

    def __enter__(self) -> Self:
        self._server = LocalServer(self.respond, port=self._port)
        self._server.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._server is not None:
            self._server.close()

    def respond(self, request: Received) -> Reply:
        """The answer to a request; paths that begin with an underscore are about the receiver itself."""
        path = urlsplit(request.path)
        match path.path:
            case "/_state":
                return Reply(body=orjson.dumps(self.state(), option=orjson.OPT_SORT_KEYS))
            case "/_reset":
                self.reset()
                return Reply()
            case "/_fault":
                try:
                    self.faults.set(Rates.read(dict(parse_qsl(path.query))))
                except ValueError as error:
                    return _refusal(400, str(error))
                return Reply()
            case _:
                return self.faults.around(request, self._take)

    def state(self) -> dict[str, Any]:
        """What it holds now: traits by user and by account, memberships told by Track, counts."""
        with self._lock:
            held = self._held
            return {
                "users": {user: dict(traits) for user, traits in held.users.items()},
                "accounts": {account: dict(traits) for account, traits in held.accounts.items()},
                "tracked": {user: dict(told) for user, told in held.tracked.items()},
                "calls": dict(held.calls),
                "events": dict(held.events),
                "requests": held.numbers["requests"],
                "refused_requests": held.numbers["refused_requests"],
                "refusals": dict(held.refusals),
                "dropped": held.numbers["dropped"],
                "duplicates": held.numbers["duplicates"],
                "inversions": held.numbers["inversions"],
                "faults": self.faults.counts(),
            }

    def members(self, key: str, *, level: str = "users") -> set[str]:
        """Who has the trait `key` set to true; level `users`, `accounts` or `tracked`."""
        return {subject for subject, traits in self.state()[level].items() if traits.get(key) is True}

    def reset(self) -> None:
        """Forget everything but the faults."""
        with self._lock:
            self._held = _Held()

    def _take(self, request: Received) -> Reply:
        with self._lock:
            self._held.numbers["requests"] += 1
        problem = self._refused_as_a_whole(request)
        if problem is None:
            calls = _calls(request)
            problem = _refusal(400, calls) if isinstance(calls, str) else self._apply_all(calls)
        if problem.status >= 400:
            with self._lock:
                self._held.numbers["refused_requests"] += 1
                self._held.refusals[orjson.loads(problem.body)["message"]] += 1
        return problem

    def _refused_as_a_whole(self, request: Received) -> Reply | None:
        path = urlsplit(request.path).path
        if path.removeprefix("/v1/") not in {*_TYPES, "batch"} or not path.startswith("/v1/"):
            return _refusal(404, "no such path")
        if request.method != "POST":
            return _refusal(405, "only POST is taken")
        key = _login(request.headers.get("authorization", ""))
        if not key or (self._write_key is not None and key != self._write_key):
            return _refusal(401, "the write key is missing or wrong")
        if len(request.body) > MAX_REQUEST_BYTES:
            return _refusal(400, "the request is larger than 500 KB")
        return None

    def _apply_all(self, calls: list[dict[str, Any]]) -> Reply:
        unwanted = self.faults.unwanted()
        if unwanted:
            refused = {index for index, call in enumerate(calls) if unwanted in orjson.dumps(call)}
            self._apply_all_of([call for index, call in enumerate(calls) if index not in refused])
            rejected = [{"index": index, "reason": "the call is not wanted"} for index in sorted(refused)]
            return Reply(207, orjson.dumps({"success": False, "rejected": rejected})) if refused else Reply()
        return self._apply_all_of(calls)

    def _apply_all_of(self, calls: list[dict[str, Any]]) -> Reply:
        with self._lock:
            if len(calls) > MAX_BATCH_CALLS:
                self._held.numbers["dropped"] += len(calls)
                return Reply()
            for call in calls:
                self._apply(call)
        return Reply()

    def _apply(self, call: dict[str, Any]) -> None:
        held = self._held
        identity = hash(call["messageId"]) if call.get("messageId") else None
        if identity is not None and identity in held.seen:
            held.numbers["duplicates"] += 1
            return
        if identity is not None:
            held.seen.add(identity)
        held.calls[call["type"]] += 1
        subject = str(call.get("userId") or call.get("anonymousId"))
        match call["type"]:
            case "identify":
                self._set(held.users.setdefault(subject, {}), call, ("user", subject))
            case "group":
                self._set(held.accounts.setdefault(str(call["groupId"]), {}), call, ("account", str(call["groupId"])))
            case "track":
                held.events[str(call["event"])] += 1
                told = {key: value for key, value in _object(call, "properties").items() if isinstance(value, bool)}
                if told:
                    held.tracked.setdefault(subject, {}).update(told)
                    self._count_inversions(told, call, ("tracked", subject))
            case _:
                pass

    def _set(self, traits: dict[str, Any], call: dict[str, Any], subject: tuple[str, str]) -> None:
        told = _object(call, "traits")
        traits.update(told)
        self._count_inversions({key: value for key, value in told.items() if isinstance(value, bool)}, call, subject)

    def _count_inversions(self, told: dict[str, bool], call: dict[str, Any], subject: tuple[str, str]) -> None:
        at = str(call.get("originalTimestamp") or call.get("timestamp") or "")
        for key in told if at else ():
            place = hash((subject, key))
            if at < self._held.latest.get(place, ""):
                self._held.numbers["inversions"] += 1
            self._held.latest[place] = at


def _login(header: str) -> str:
    kind, _, encoded = header.partition(" ")
    if kind.lower() != "basic":
        return ""
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _calls(request: Received) -> list[dict[str, Any]] | str:
    """The calls of a request, or why it is refused."""
    kind = urlsplit(request.path).path.removeprefix("/v1/")
    try:
        raw = msgspec.json.decode(request.body, type=_Batch).batch if kind == "batch" else [msgspec.Raw(request.body)]
        calls = [orjson.loads(memoryview(item)) for item in raw]
    except (msgspec.DecodeError, orjson.JSONDecodeError):
        return "the body is not the JSON it should be"
    for call, item in zip(calls, raw, strict=True):
        problem = "a call is no object" if not isinstance(call, dict) else _problem(call, kind, len(memoryview(item)))
        if problem:
            return problem
    return calls


def _problem(call: dict[str, Any], kind: str, size: int) -> str:
    if kind != "batch":
        call.setdefault("type", kind)
    type_ = call.get("type")
    if type_ not in _TYPES:
        return "a call has an unknown type"
    if size > MAX_CALL_BYTES:
        return "a call is larger than 32 KB"
    if not (call.get("userId") or call.get("anonymousId")):
        return "a call has neither userId nor anonymousId"
    if not call.get(_NEEDS.get(type_, "type")):
        return f"a {type_} call has no {_NEEDS[type_]}"
    if len(str(call.get("messageId") or "")) > MAX_MESSAGE_ID or len(str(call.get("groupId") or "")) > MAX_GROUP_ID:
        return "a messageId or groupId is too long"
    return ""


def _object(call: dict[str, Any], name: str) -> dict[str, Any]:
    value = call.get(name)
    return value if isinstance(value, dict) else {}


def _refusal(status: int, message: str) -> Reply:
    return Reply(status, orjson.dumps({"success": False, "message": message}))


def main() -> None:
    """Serve until SIGTERM or Ctrl-C; the first line printed is the URL."""
    parser = argparse.ArgumentParser(description="A Segment-compatible receiver on this machine.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--write-key", default=None, help="the only key that is taken; by default every one is")
    arguments = parser.parse_args()
    over = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        over.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    with Receiver(write_key=arguments.write_key, port=arguments.port) as receiver:
        print(receiver.url, flush=True)
        over.wait()


if __name__ == "__main__":
    main()

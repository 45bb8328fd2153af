"""What may be shown of a destination's words: its reason, without secrets and without what the record carries about a person."""

import base64
import re
from collections.abc import Iterator, Sequence
from typing import Any, cast
from urllib.parse import quote

import orjson

MAX_REASON = 300
HIDDEN = "[hidden]"

_SURELY_NOT_A_WORD = 8

_OUR_WORDS = frozenset(
    {"type", "event", "messageId", "timestamp", "originalTimestamp", "sentAt", "receivedAt", "integrations", "personas", "audience_key"}
)
_REASON_KEYS = ("reason", "message", "error_message", "error", "detail", "title", "description", "code")


def redact(text: str, secrets: Sequence[str], body: bytes | None = None) -> str:
    """The text in one line, cut to a readable length, without the secrets and without the values of the record that `body` is."""
    shown = text
    for hidden in sorted(set(_spellings(secrets)), key=len, reverse=True):
        whole_words = len(hidden) < _SURELY_NOT_A_WORD
        shown = re.sub(rf"(?<!\w){re.escape(hidden)}(?!\w)", HIDDEN, shown) if whole_words else shown.replace(hidden, HIDDEN)
    for hidden in sorted(set(_leaves(_json(body))) if body else (), key=len, reverse=True):
        shown = re.sub(rf"(?<!\w){re.escape(hidden)}(?!\w)", HIDDEN, shown)
    one_line = " ".join("".join(char if char.isprintable() else " " for char in shown).split())
    return one_line if len(one_line) <= MAX_REASON else one_line[: MAX_REASON - 3] + "..."


def vendor_reason(body: bytes) -> str:
    """The sentence in an error answer that says why, or nothing when there is none to be found."""
    parsed = _json(body)
    if isinstance(parsed, str):
        return parsed[:MAX_REASON]
    found = _reason_in(parsed, depth=0)
    if found or parsed is not None:
        return found
    text = body[:MAX_REASON].decode(errors="replace").strip()
    return "" if text.startswith("<") or "\ufffd" in text else text


def _reason_in(value: Any, *, depth: int) -> str:
    if isinstance(value, str):
        return value[:MAX_REASON]
    if depth > 3 or not isinstance(value, dict | list):
        return ""
    held = cast(dict[str, Any] | list[Any], value)
    inner = held[:3] if isinstance(held, list) else [held[key] for key in (*_REASON_KEYS, "errors") if key in held]
    return next((reason for item in inner if (reason := _reason_in(item, depth=depth + 1))), "")


def _spellings(secrets: Sequence[str]) -> Iterator[str]:
    for secret in secrets:
        yield secret
        yield quote(secret, safe="")
        yield from (base64.b64encode(text.encode()).decode() for text in (secret, f"{secret}:"))


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in cast(dict[str, Any], value).items():
            if key not in _OUR_WORDS:
                yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in cast(list[Any], value):
            yield from _leaves(inner)
    elif isinstance(value, str) and len(value) > 2:
        yield value


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None

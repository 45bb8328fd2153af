# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false
"""The filters of `@liquid`, with JavaScript's idea of numbers, texts and lists.

Source: https://liquidjs.com/filters/overview.html, observed. Instants print in UTC.
"""

import base64
import math
import re
from collections.abc import Callable, Iterable
from html import unescape
from typing import Any, TypeAlias
from urllib.parse import quote, unquote

from liquid.exceptions import LiquidError
from liquid.undefined import Undefined as LiquidUndefined

from engage_pipelines.domain.mapping.javascript import SPACES, json_text, number_of, text_of
from engage_pipelines.domain.mapping.liquid_dates import formatted

Filter: TypeAlias = Callable[..., Any]
MAX_GROWTH = 2_000_000
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;"})
_HTML = re.compile(r"<script[\s\S]*?</script>|<style[\s\S]*?</style>|<.*?>|<!--[\s\S]*?-->")
_UNRESERVED = "-_.!~*'()"


def is_nil(value: object) -> bool:
    return value is None or isinstance(value, LiquidUndefined)


def printed(value: Any) -> str:
    """A value as the template prints it: nothing for nil, lists without commas."""
    if isinstance(value, str):
        return value
    if is_nil(value):
        return ""
    if isinstance(value, list | tuple | range):
        return "".join(printed(item) for item in value)
    return text_of(value)


def _number(value: Any) -> float:
    """The value as a number, 0 for what is none."""
    number = 0 if is_nil(value) else number_of(list(value) if isinstance(value, tuple | range) else value)
    return 0 if math.isnan(number) else number


def _index(value: Any) -> int:
    number = _number(value)
    return int(max(-MAX_GROWTH, min(MAX_GROWTH, number)))


def _items(value: Any) -> list[Any]:
    if is_nil(value):
        return []
    return list(value) if isinstance(value, list | tuple | range) else [value]


def _whole(number: float) -> float:
    """An integer for a whole number that a double holds exactly, and a double for a larger one, so that numbers stay small."""
    if isinstance(number, int):
        return number if abs(number) < 2**53 else float(number) if number.bit_length() < 1024 else math.inf * (1 if number > 0 else -1)
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _math(function: Callable[..., float]) -> Filter:
    def calculate(*values: Any) -> float:
        try:
            return _whole(function(*map(_number, values)))
        except (OverflowError, ValueError):
            return math.nan

    return calculate


def _to_integer(value: Any) -> float:
    number = math.nan if isinstance(value, LiquidUndefined) else number_of(list(value) if isinstance(value, tuple | range) else value)
    return _whole(number) if math.isfinite(number) else number


def _divided(a: float, b: float, whole: float = 0) -> float:
    if not b:
        return math.nan if not a else math.copysign(math.inf, a)
    return math.floor(a / b) if whole else a / b


def _modulo(a: float, b: float) -> float:
    return math.nan if not b or math.isinf(a) else math.fmod(a, b)


def _round(value: float, digits: float = 0) -> float:
    power = 10.0**digits
    return math.copysign(math.floor(abs(value * power) + 0.5) / power, value)


def _truncate(value: Any, length: Any = 50, ending: Any = "...") -> Any:
    text, end, limit = printed(value), printed(ending), _index(length)
    return value if len(text) <= limit else text[: max(limit - len(end), 0)] + end


def _truncatewords(value: Any, words: Any = 15, ending: Any = "...") -> str:
    parts, limit = re.split(r"\s+", printed(value)), max(_index(words), 1)
    return " ".join(parts[:limit]) + (printed(ending) if len(parts) >= limit else "")


def _split(value: Any, separator: Any = None) -> list[str]:
    text, sep = printed(value), printed(separator)
    parts = text.split(sep) if sep else list(text)
    while parts and not parts[-1]:
        parts.pop()
    return parts


def _replace(value: Any, pattern: Any = None, replacement: Any = None) -> str:
    text, old, new = printed(value), printed(pattern), printed(replacement)
    if len(text) + (text.count(old) if old else len(text)) * max(len(new) - len(old), 0) > MAX_GROWTH:
        raise LiquidError("memory alloc limit exceeded", token=None)
    return text.replace(old, new) if old else new.join(text)


def _remove_last(value: Any, pattern: Any = None, *_: Any) -> str:
    return _replace_last(value, pattern, "")


def _replace_last(value: Any, pattern: Any = None, replacement: Any = "") -> str:
    text, old = printed(value), printed(pattern)
    at = text.rfind(old)
    return text if at < 0 else text[:at] + printed(replacement) + text[at + len(old) :]


def _join(value: Any, separator: Any = " ") -> str:
    items, sep = _items(value), " " if is_nil(separator) else printed(separator)
    if len(items) * len(sep) > MAX_GROWTH:
        raise LiquidError("memory alloc limit exceeded", token=None)
    return sep.join("" if is_nil(item) else text_of(item) for item in items)


def _slice(value: Any, begin: Any, length: Any = 1) -> Any:
    if is_nil(value):
        return []
    items = value if isinstance(value, list) else printed(value)
    start = _index(begin)
    start = start + len(items) if start < 0 else start
    return items[max(start, 0) : max(start + _index(length), 0)]


def _strip(value: Any, characters: Any = None) -> str:
    return printed(value).strip(printed(characters) or SPACES)


def _size(value: Any) -> int:
    return len(value) if isinstance(value, str | list | tuple | range) else 0


def _default(value: Any, fallback: Any = None, *_: Any, allow_false: bool = False, **__: Any) -> Any:
    if isinstance(value, str | list):
        return value or fallback
    if value is False and allow_false:
        return value
    return fallback if is_nil(value) or value is False else value


def _property(item: Any, path: str) -> Any:
    for key in path.split("."):
        item = item.get(key) if isinstance(item, dict) else None
    return item


def _where(value: Any, name: Any, expected: Any = None) -> list[Any]:
    found = ((item, _property(item, printed(name))) for item in _items(value))
    return [item for item, has in found if (has == expected if expected is not None else has is not None and has is not False)]


def _sum(value: Any, name: Any = None) -> float:
    numbers = (_number(_property(item, printed(name)) if name else item) for item in _items(value))
    return _whole(sum(number for number in numbers if not math.isnan(number)))


def _slugify(value: Any, *_: Any) -> str:
    return re.sub(r"^-|-$", "", re.sub(r"[\W_]+", "-", printed(value))).lower()


def _on_text(change: Callable[[str], Any]) -> Filter:
    return lambda value, *_: change(printed(value))


def _decoded(text: str) -> str:
    return base64.b64decode(text + "=" * (-len(text) % 4)).decode("utf-8", "replace")


def _first_of(index: int) -> Filter:
    def element(value: Any) -> Any:
        if not isinstance(value, str | list | tuple | range):
            return ""
        return value[index] if value else None

    return element


def _json(value: Any, *_: Any) -> Any:
    return "" if isinstance(value, LiquidUndefined) else json_text(value)


def _plus(a: float, b: float) -> float:
    return a + b


def _extreme(choose: Callable[[Iterable[float]], float]) -> Filter:
    return _math(lambda *numbers: choose(numbers))


FILTERS: dict[str, Filter] = {
    "abs": _math(math.fabs),
    "at_least": _extreme(max),
    "at_most": _extreme(min),
    "ceil": _math(math.ceil),
    "floor": _math(math.floor),
    "plus": _math(_plus),
    "minus": _math(lambda a, b: a - b),
    "times": _math(lambda a, b: a * b),
    "divided_by": _math(_divided),
    "modulo": _math(_modulo),
    "round": _math(_round),
    "append": lambda value, end: printed(value) + printed(end),
    "prepend": lambda value, start: printed(start) + printed(value),
    "capitalize": _on_text(lambda text: text[:1].upper() + text[1:].lower()),
    "downcase": _on_text(str.lower),
    "upcase": _on_text(str.upper),
    "strip": _strip,
    "lstrip": lambda value, characters=None: printed(value).lstrip(printed(characters) or SPACES),
    "rstrip": lambda value, characters=None: printed(value).rstrip(printed(characters) or SPACES),
    "strip_newlines": _on_text(lambda text: re.sub(r"\r?\n", "", text)),
    "strip_html": _on_text(lambda text: _HTML.sub("", text)),
    "normalize_whitespace": _on_text(lambda text: re.sub(rf"[{SPACES}]+", " ", text)),
    "number_of_words": _on_text(lambda text: len(text.split())),
    "remove": lambda value, part=None: _replace(value, part, ""),
    "remove_first": lambda value, part=None: printed(value).replace(printed(part), "", 1),
    "remove_last": _remove_last,
    "replace": _replace,
    "replace_first": lambda value, old=None, new=None: printed(value).replace(printed(old), printed(new), 1),
    "replace_last": _replace_last,
    "truncate": _truncate,
    "truncatewords": _truncatewords,
    "split": _split,
    "join": _join,
    "slice": _slice,
    "first": _first_of(0),
    "last": _first_of(-1),
    "size": _size,
    "compact": lambda value: [item for item in _items(value) if not is_nil(item)],
    "where": _where,
    "sum": _sum,
    "default": _default,
    "json": _json,
    "jsonify": _json,
    "to_integer": _to_integer,
    "date": formatted,
    "escape": _on_text(lambda text: text.translate(_ESCAPES)),
    "xml_escape": _on_text(lambda text: text.translate(_ESCAPES)),
    "escape_once": _on_text(lambda text: unescape(text).translate(_ESCAPES)),
    "url_encode": _on_text(lambda text: quote(text, safe=_UNRESERVED).replace("%20", "+")),
    "url_decode": _on_text(lambda text: unquote(text).replace("+", " ")),
    "cgi_escape": _on_text(lambda text: quote(text, safe="-_.~").replace("%20", "+")),
    "uri_escape": _on_text(lambda text: quote(text, safe=_UNRESERVED + ";,/?:@&=+$#[]")),
    "slugify": _slugify,
    "base64_encode": _on_text(lambda text: base64.b64encode(text.encode()).decode()),
    "base64_decode": _on_text(_decoded),
}

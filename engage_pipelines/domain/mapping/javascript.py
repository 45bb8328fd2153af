# What a payload holds is known only when it is looked at, so the elements of its lists and objects have no type.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""JavaScript's values as Python's: undefined beside null, truth, and the text forms of numbers, lists and objects.

Segment's mappings were written against JavaScript, so what a template or `@json` prints follows ECMA-262. A difference on
purpose: whole numbers keep all their digits, where JavaScript rounds beyond 2^53.
"""

import json
import math
import re
from collections.abc import Iterator
from json.encoder import encode_basestring
from typing import Any, Final, final

import orjson


@final
class Undefined:
    """The value of what is not there; falsy, and never part of a result."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "undefined"


UNDEFINED: Final = Undefined()
SPACES: Final = (
    "\t\n\v\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
)
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
# numbers with a fraction and keys that are whole numbers: the library writes them in another form or order
_WRITTEN_OTHERWISE = re.compile(r'[0-9][.eE]|"[0-9]+":')
_INDEX = re.compile("0|[1-9][0-9]{0,9}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def type_name(value: object) -> str:
    """array, boolean, function, null, number, object, string or undefined."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    for kind, name in ((str, "string"), (dict, "object"), (list, "array"), (int | float, "number"), (Undefined, "undefined")):
        if isinstance(value, kind):
            return name
    return "function"


def is_true(value: object) -> bool:
    """JavaScript's truth: empty lists and objects are true, NaN is false."""
    if isinstance(value, list | dict):
        return True
    return bool(value) and not (isinstance(value, float) and math.isnan(value))


def equals_empty_text(value: object) -> bool:
    """`value == ''` with JavaScript's conversions: also true for 0, false, [] and lists whose text is empty."""
    if isinstance(value, str):
        return value == ""
    if isinstance(value, list):
        return text_of(value) == ""
    return isinstance(value, int | float) and value == 0


def text_of(value: object) -> str:
    """String(value)."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return number_text(value)
    if isinstance(value, list):
        return ",".join("" if item is None or item is UNDEFINED else text_of(item) for item in value)
    return "[object Object]" if isinstance(value, dict) else "null" if value is None else "undefined"


def number_text(value: float) -> str:
    """A number as JavaScript prints it: 1.0 is 1, 1e21 is 1e+21, 0.0000001 is 1e-7."""
    if isinstance(value, int):
        return str(value) if abs(value) < 10**21 else number_text(float(value))
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if not value:
        return "0"
    mantissa, _, exponent = f"{abs(value)!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = whole + ("" if fraction == "0" else fraction)
    stripped = digits.lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(digits) - len(stripped))
    return ("-" if value < 0 else "") + _placed(stripped.rstrip("0"), point)


def _placed(digits: str, point: int) -> str:
    """The shortest digits with their decimal point, by the rules of Number::toString."""
    count = len(digits)
    if count <= point <= 21:
        return digits + "0" * (point - count)
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return "0." + "0" * -point + digits
    exponent = point - 1
    mantissa = digits if count == 1 else f"{digits[0]}.{digits[1:]}"
    return f"{mantissa}e{'+' if exponent > 0 else '-'}{abs(exponent)}"


def entries(value: "dict[str, Any] | list[Any]") -> "Iterator[tuple[str, Any]]":
    """Object.entries: keys that are whole numbers first, in their order, then the others as they were added."""
    if isinstance(value, list):
        return ((str(n), item) for n, item in enumerate(value))
    if not value or min(value) > ":":  # no name begins with a digit, which is nearly always so and quickly seen
        return iter(value.items())
    indexes = [key for key in value if "0" <= key[:1] <= "9" and _INDEX.fullmatch(key)]
    if not indexes:
        return iter(value.items())
    keys = sorted(indexes, key=int) + [key for key in value if not _INDEX.fullmatch(key)]
    return ((key, value[key]) for key in keys)


def utf16_units(text: str) -> "str | list[str]":
    """A text as JavaScript indexes it: a character beyond U+FFFF is two units.

    Each of its halves is U+FFFD here, since half a character is no text that anyone can send.
    """
    if text.isascii():
        return text
    units = text.encode("utf-16-le", "surrogatepass")
    return [units[n : n + 2].decode("utf-16-le", "replace") for n in range(0, len(units), 2)]


def json_text(value: object) -> str | Undefined:
    """JSON.stringify(value): undefined for what JSON cannot hold, as a whole; left out of objects, null in lists."""
    if isinstance(value, list | dict):
        try:
            text = orjson.dumps(value).decode()
        except TypeError:
            return _json_text(value)
        return _json_text(value) if _WRITTEN_OTHERWISE.search(text) else text
    return _json_text(value)


def _json_text(value: object) -> str | Undefined:
    if isinstance(value, str):
        return _quoted(value)
    if value is None or isinstance(value, bool):
        return "null" if value is None else "true" if value else "false"
    if isinstance(value, int | float):
        return number_text(value) if math.isfinite(value) else "null"
    if isinstance(value, list):
        return "[" + ",".join([str(_json_text(item) or "null") for item in value]) + "]"
    if isinstance(value, dict):
        return "{" + ",".join([f"{_quoted(key)}:{_json_text(item)}" for key, item in entries(value) if item is not UNDEFINED]) + "}"
    return UNDEFINED


def _quoted(text: str) -> str:
    quoted = encode_basestring(text)
    return quoted if quoted.isascii() else _LONE_SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted)


def json_value(text: str) -> Any:
    """JSON.parse(text); the text itself when it is not JSON."""
    try:
        return json.loads(text, parse_float=_parsed_float, parse_int=_parsed_int, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return text


def _parsed_float(written: str) -> float:
    number = float(written)
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _parsed_int(written: str) -> float:
    return int(written) if len(written) < 400 else float(written)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def number_of(value: object) -> float:
    """Number(value) for what JSON holds."""
    if isinstance(value, bool) or value is None:
        return 1 if value else 0
    if isinstance(value, int | float):
        return value
    if isinstance(value, list):
        return number_of(text_of(value))
    if not isinstance(value, str):
        return math.nan
    written = value.strip(SPACES)
    if not _NUMBER.fullmatch(written):
        return 0 if not written else math.nan
    number = float(written)
    return int(number) if number.is_integer() and abs(number) < 2**53 else number

"""JavaScript's values as Python's: undefined beside null, and the text forms of numbers, lists and objects.

Segment's mappings were written against JavaScript, so what a template or `@json` prints follows ECMA-262. A difference
on purpose: whole numbers keep all their digits, where JavaScript rounds beyond 2^53.
"""

import json
import math
from typing import Any, Final, final


@final
class Undefined:
    """The value of what is not there; falsy, and never part of a result."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "undefined"


UNDEFINED: Final = Undefined()


def number_text(value: float) -> str:
    """A number as JavaScript prints it: 1.0 is 1, 1e21 is 1e+21, 0.0000001 is 1e-7."""
    if isinstance(value, int):
        return str(value) if abs(value) < 10**21 else number_text(float(value))
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value == 0:
        return "0"
    mantissa, _, exponent = f"{abs(value)!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    point = len(whole) + int(exponent or 0)
    digits = whole + fraction
    stripped = digits.lstrip("0")
    point -= len(digits) - len(stripped)
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


def json_text(value: Any) -> str:
    return json.dumps(value)

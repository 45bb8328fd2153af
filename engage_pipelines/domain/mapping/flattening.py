# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Flattening: nested objects (and lists, by index) as one flat object.

Empty ones vanish, a value that is no object stands under the prefix alone, and keys that are whole numbers come first, as in JavaScript.
"""

from typing import Any

from engage_pipelines.domain.mapping.javascript import UNDEFINED, Undefined, entries
from engage_pipelines.domain.mapping.resolver import Resolver


def flatten(value: Any, prefix: str, separator: str, *, omit_arrays: bool) -> dict[str, Any]:
    """The value as one flat object, all of whose keys begin with the prefix; what is undefined stays in it."""
    return flattener(lambda whole: whole, separator, omit_arrays=omit_arrays, keep=True, prefix=prefix)(value)


def flattener(read: Resolver, separator: str, *, omit_arrays: bool, keep: bool, prefix: str = "") -> Resolver:
    """What `read` finds in a payload, flattened by this separator; `keep`: with the keys whose value is undefined."""
    opened = {dict} if omit_arrays else {dict, list}
    looked_at = frozenset(opened if keep else {*opened, Undefined})  # undefined is as empty as {}, and vanishes with it
    start = prefix + separator if prefix else ""

    def flat(payload: Any) -> dict[str, Any]:
        value = read(payload)
        out: dict[str, Any] = {}
        if type(value) in opened:
            if value:
                _into(out, value, start, separator, looked_at)
        elif keep or value is not UNDEFINED:
            out[prefix] = value
        return out

    return flat


def _into(out: dict[str, Any], value: Any, start: str, separator: str, looked_at: frozenset[type]) -> None:
    # not empty; most names begin with no digit, which is quickly seen: then they are in order
    for key, inner in value.items() if type(value) is dict and min(value) > ":" else entries(value):
        if type(inner) is str or type(inner) not in looked_at:  # most values are texts
            out[start + key] = inner
        elif inner:
            # an empty name joins nothing, so what lies in it stands at the front again
            name = start + key
            _into(out, inner, name + separator if name else "", separator, looked_at)

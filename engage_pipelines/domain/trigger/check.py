"""The checks of a trigger's parts: which functions there are, and what can stand where.

A field may hold anything, so only what is certain to be wrong is refused: a comparison that could never hold, a
function with the wrong arguments, a value where a condition must stand.
"""

from difflib import get_close_matches
from typing import NoReturn

from engage_pipelines.domain.errors import DefinitionError
from engage_pipelines.domain.trigger.globs import glob_fault
from engage_pipelines.domain.trigger.tree import Call, Comparison, Inclusion, Items, Node, Path, Place, Value, to_text

# name -> (kinds of the arguments, kind of the result); "any" takes everything
FUNCTIONS: dict[str, tuple[tuple[str, ...], str]] = {
    "contains": (("text", "text"), "bool"),
    "match": (("text", "text"), "bool"),
    "length": (("any",), "number"),
    "lowercase": (("text",), "text"),
    "uppercase": (("text",), "text"),
    "snakecase": (("text",), "text"),
    "kebabcase": (("text",), "text"),
    "titlecase": (("text",), "text"),
    "typeof": (("any",), "text"),
    "bool": (("any",), "bool"),
    "string": (("any",), "text"),
    "number": (("any",), "number"),
}
KINDS_OF_VALUE = ("string", "number", "list", "bool", "null")


def kind_of(node: Node) -> str | None:
    """text, number, bool, null or list; None when only the event can tell."""
    match node:
        case Path():
            return None
        case Value(value):
            return "null" if value is None else "bool" if isinstance(value, bool) else "text" if isinstance(value, str) else "number"
        case Items():
            return "list"
        case Call(name, _):
            return FUNCTIONS[name][1]
        case _:
            return "bool"


def check_condition(node: Node) -> None:
    """Refuses a text, number, list or null where a condition must stand."""
    if kind_of(node) in (None, "bool"):
        return
    _refuse(node.at, f"{to_text(node)} is not a condition.", f'Compare it with something, for example {to_text(node)} = "..." .')


def check_comparison(node: Comparison) -> None:
    left, right = kind_of(node.left), kind_of(node.right)
    if node.operator in ("=", "!="):
        if left and right and left != right and "null" not in (left, right):
            _refuse(
                node.at, f"{to_text(node)} compares a {left} with a {right}, and values of different types are never equal.", _cast(node)
            )
        _check_typeof(node)
        return
    for side, kind in ((node.left, left), (node.right, right)):
        if kind not in (None, "number"):
            _refuse(node.at, f"{node.operator} compares numbers, and {to_text(side)} is a {kind}.", _cast(node))


def check_inclusion(node: Inclusion) -> None:
    if kind_of(node.collection) not in (None, "list"):
        _refuse(
            node.at,
            f"`in` needs a list on its right, and {to_text(node.collection)} is none.",
            'Write in ["a", "b"] or a field that holds a list.',
        )
    if node.collection == Items(()):
        _refuse(node.at, "`in []` never holds.", "Put at least one value into the list.")
    if isinstance(node.value, Items):
        _refuse(node.at, f"the left of `in` is one value, and {to_text(node.value)} is a list.", "Write one `in` for each value.")


def check_call(node: Call) -> None:
    if node.name not in FUNCTIONS:
        near = "!" if node.name.lower() == "not" else next(iter(get_close_matches(node.name.lower(), FUNCTIONS, 1)), None)
        remedy = f"Did you mean {near}?" if near else f"There are {', '.join(FUNCTIONS)}."
        _refuse(node.at, f"there is no function {node.name}().", remedy)
    kinds, _ = FUNCTIONS[node.name]
    if len(kinds) != len(node.arguments):
        _refuse(node.at, f"{node.name}() takes {len(kinds)} arguments, {len(node.arguments)} are given.", f"Write {_signature(node.name)}.")
    for wanted, argument in zip(kinds, node.arguments, strict=True):
        kind = kind_of(argument)
        if wanted != "any" and kind not in (None, wanted, "null"):
            _refuse(node.at, f"{node.name}() takes a {wanted}, and {to_text(argument)} is a {kind}.", f"Write {_signature(node.name)}.")
    if node.name == "match" and isinstance(pattern := node.arguments[1], Value) and (fault := glob_fault(str(pattern.value))):
        _refuse(
            pattern.at,
            f"the pattern {to_text(pattern)} {fault}.",
            "A pattern has * ? [abc] [a-z], and \\ before one of them for the character itself.",
        )


def _check_typeof(node: Comparison) -> None:
    for call, other in ((node.left, node.right), (node.right, node.left)):
        if isinstance(call, Call) and call.name == "typeof" and isinstance(other, Value) and other.value not in KINDS_OF_VALUE:
            _refuse(other.at, f"typeof() never gives {to_text(other)}.", f"It gives {', '.join(KINDS_OF_VALUE)}.")


def _signature(name: str) -> str:
    kinds, result = FUNCTIONS[name]
    return f"{name}({', '.join(kinds)}), which gives a {result}"


def _cast(node: Comparison) -> str:
    for side in (node.left, node.right):
        if isinstance(side, Value) and isinstance(side.value, str):
            return f"Write {side.value} without quotes if it is meant as such, or convert the other side with string() or number()."
    return "Convert one side with string(), number() or bool()."


def _refuse(at: Place, what: str, remedy: str) -> NoReturn:
    raise DefinitionError(what, remedy, line=at[0], column=at[1])

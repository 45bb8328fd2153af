"""Whether a trigger means the same here and at Segment, and in words where it does not.

The tree that is meant is written down as the peer would have to read it, and compared with how it does read the text. Not
compared: paths that step through a text, number or list (the peer gives falsy values back and knows `length`).
"""

from typing import Any

from engage_pipelines.domain.errors import DefinitionError
from engage_pipelines.domain.trigger.grammar import parse_tree
from engage_pipelines.domain.trigger.segment import Ast, parse_segment
from engage_pipelines.domain.trigger.tree import Call, Comparison, Inclusion, Junction, Negation, Node, Path, Value, path_text, to_text

_PLAIN = {"type": "event-type", "event": "event", "name": "name", "userId": "userId"}
_NESTED = {"properties": "event-property", "traits": "event-trait", "context": "event-context"}
_NAMES = {kind: name for name, kind in {**_PLAIN, **_NESTED}.items()}


class _Unlike(Exception):  # noqa: N818 - a finding, not a failure
    """The words of one difference."""


def differs_from_segment(text: str) -> str | None:
    """The words of a warning, None when every ordinary event has the same verdict in both.

    Also warns of a text that is refused here and that Segment accepts; one that both refuse is no difference.
    """
    read = parse_segment(text)
    try:
        tree = parse_tree(text)
    except DefinitionError as refused:
        return None if "error" in read else f"Segment accepts this trigger and reads it as {_words(read)}; here it is refused: {refused}"
    if "error" in read:
        return "Segment's parser fails on this trigger, so it never fires there; here it works."
    try:
        meant = _group(_translated(tree))
    except _Unlike as found:
        return f"{found} Segment reads the trigger as {_words(read)}."
    if _flat(meant) == _flat(read):
        return None
    return f"{_reason(text, tree)} Segment reads the trigger as {_words(read)}; here it means {to_text(tree)}."


def _reason(text: str, tree: Node) -> str:
    if "'" in text:
        return "Segment keeps single quotes as part of the text."
    if "\\" in text:
        return "Segment reads escaped characters otherwise."
    if isinstance(tree, Junction):
        return "Of `and` and `or` on one level Segment lets the last one decide for all."
    return "Segment's parser reads this otherwise."


def _group(tree: Ast) -> Ast:
    return tree if tree["type"] == "group" else {"type": "group", "operator": "and", "children": [tree]}


def _flat(tree: Ast | None) -> Ast | None:
    """The tree with groups of one and groups within equal groups taken apart, since they mean nothing."""
    if tree is None or tree["type"] != "group":
        return tree
    children: list[Ast | None] = []
    for child in map(_flat, tree["children"]):
        if child is not None and child["type"] == "group" and child["operator"] == tree["operator"]:
            children += child["children"]
        else:
            children.append(child)
    return children[0] if len(children) == 1 else {"type": "group", "operator": tree["operator"], "children": children}


def _translated(node: Node) -> Ast:
    match node:
        case Junction(operator, conditions):
            return {"type": "group", "operator": operator, "children": [_translated(c) for c in conditions]}
        case Comparison(operator, Path() as path, Value(value)):
            return _comparison(path, operator, value)
        case Call(("contains" | "match") as name, (Path() as path, Value(str(value)))):
            return _text_test(path, name, value)
        case Negation(Call(("contains" | "match") as name, (Path(), _))):
            raise _Unlike(f"!{name}() of a missing field is true here and false at Segment.")
        case Negation():
            raise _Unlike("Segment drops the negation `!` of anything but contains() and match().")
        case Inclusion():
            raise _Unlike("Segment does not know `in`.")
        case Call(name, _):
            raise _Unlike(f"Segment knows {name}() in no place or not with these arguments.")
        case Comparison(_, Call(name, _), _) | Comparison(_, _, Call(name, _)):
            raise _Unlike(f"Segment does not know {name}() in a comparison.")
        case Comparison():
            raise _Unlike(f"Segment compares a field on the left with a value on the right only, not {to_text(node)}.")
        case _:
            raise _Unlike(f"Segment does not take {to_text(node)} alone as a condition.")


def _field(path: Path) -> Ast:
    head, *rest = path.segments
    if head in _PLAIN and not rest:
        return {"type": _PLAIN[head]}
    if head not in _NESTED or not rest:
        raise _Unlike(f"Segment drops conditions on {path_text(path.segments)}, which makes the trigger fire more often.")
    if any(part == "length" or part.isdecimal() or set(part) & set("[].") for part in rest):
        raise _Unlike(f"Segment walks the path {path_text(path.segments)} otherwise (lists, lengths and dots in names).")
    return {"type": _NESTED[head], "name": ".".join(rest)}


def _comparison(path: Path, operator: str, value: object) -> Ast:
    field, head = _field(path), path.segments[0]
    if value is None:
        if head in ("type", "event"):
            raise _Unlike(f"Segment compares {head} with the text null.")
        return {**field, "operator": "not_exists" if operator == "=" else "exists"}
    if isinstance(value, bool):
        if operator != "=" or head in ("type", "event", "name"):
            raise _Unlike(f"Segment compares {path_text(path.segments)} with the text {str(value).lower()}.")
        return {**field, "operator": "is_true" if value else "is_false"}
    if isinstance(value, str):
        return {**field, "operator": operator, "value": value}
    return _numeric(path, field, operator, value)


def _numeric(path: Path, field: Ast, operator: str, value: Any) -> Ast:
    if operator == "!=":
        raise _Unlike(f"{path_text(path.segments)} != {value} of a missing field is true here and false at Segment.")
    if path.segments[0] in _PLAIN:
        raise _Unlike(f"Segment compares {path.segments[0]} with the text {value}.")
    return {**field, "operator": "number_equals" if operator == "=" else operator, "value": value}


def _text_test(path: Path, name: str, value: str) -> Ast:
    if path.segments[0] == "type":
        raise _Unlike(f"Segment drops {name}(type, ...), which makes the trigger fire more often.")
    field = _field(path)
    if name == "contains":
        return {**field, "operator": "contains", "value": value}
    bare = value.strip("*")
    if set(bare) & set("*?[]\\") or value not in (f"{bare}*", f"*{bare}"):
        raise _Unlike(f'Segment knows the patterns "x*" and "*x" only, not {to_text(Value(value))}.')
    return {**field, "operator": "starts_with" if value.endswith("*") else "ends_with", "value": bare}


def _words(tree: Any) -> str:
    """The peer's tree as text."""
    if tree is None:
        return "(nothing)"
    if tree["type"] == "group":
        return f" {tree['operator']} ".join(f"({_words(c)})" if c and c["type"] == "group" else _words(c) for c in tree["children"])
    field = ".".join(filter(None, [_NAMES[tree["type"]], tree.get("name")]))
    return f"{field} {tree['operator']} {to_text(Value(tree['value']))}" if "value" in tree else f"{field} {tree['operator']}"

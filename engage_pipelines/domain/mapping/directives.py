# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""The directives of the mapping kit, each compiled to a function of the payload.

A directive is an object with one `@` key (and `_metadata` at most). What is wrong with its options fails when it is
reached, with the words of Segment's kit: validate_mapping finds it before.
"""

from collections.abc import Callable, Mapping
from itertools import starmap
from typing import Any, TypeAlias

from engage_pipelines.domain.mapping.checks import check_mapping
from engage_pipelines.domain.mapping.flattening import flattener
from engage_pipelines.domain.mapping.javascript import (
    UNDEFINED,
    entries,
    equals_empty_text,
    is_true,
    json_text,
    json_value,
    text_of,
    type_name,
    utf16_units,
)
from engage_pipelines.domain.mapping.objects import Constant, Part, Steps, object_builder
from engage_pipelines.domain.mapping.paths import get, getter, path_keys, without_root
from engage_pipelines.domain.mapping.resolver import Build, MappingError, Resolver, bounded_text, failing
from engage_pipelines.domain.mapping.templates import render, renderer
from engage_pipelines.domain.mapping.texts import replacer

ROOT_KEY = "__segment_internal_directive"
Compiler: TypeAlias = Callable[[Any, Build], Resolver]


def is_directive(node: object) -> bool:
    if not isinstance(node, dict):
        return False
    named = [key for key in node if key.startswith("@")]
    return bool(named) and len(node) == len(named) + ("_metadata" in node)


def compile_node(node: Any, build: Build) -> Resolver:
    """Any part of a mapping; values that are no object or list stand for themselves."""
    if is_directive(node):
        name = next(key for key in node if key.startswith("@"))
        compiler = DIRECTIVES.get(name)
        return compiler(node[name], build) if compiler else failing(f"{name} is not a valid directive, got undefined")
    if isinstance(node, dict):
        return _object(node, build)
    if isinstance(node, list):
        parts = [compile_node(item, build.plain) for item in node]
        build.note_holes(any(isinstance(item, dict) or item is UNDEFINED for item in node))
        return lambda payload: [part(payload) for part in parts]
    return lambda _: node


def _object(node: dict[str, Any], build: Build) -> Resolver:
    return object_builder([(key, _part(value, build.plain)) for key, value in entries(node)], keep=build.keep)


def _part(node: Any, build: Build) -> Part:
    """A field of an object: where it is plain to see, what it is instead of a function."""
    if not isinstance(node, dict | list):
        return Constant(node)
    keys = _constant_path(node)
    return compile_node(node, build) if keys is None else Steps(keys)


def _constant_path(node: Any) -> tuple[str, ...] | None:
    path = node["@path"] if is_directive(node) and next(key for key in node if key[:1] == "@") == "@path" else None
    return path_keys(without_root(path)) if isinstance(path, str) else None


def _path(value: Any, build: Build) -> Resolver:
    if isinstance(value, str):
        return getter(without_root(value))
    resolve = _text("@path", value, build)
    return lambda payload: get(payload, without_root(resolve(payload)))


def _template(value: Any, build: Build) -> Resolver:
    if isinstance(value, str):
        return renderer(value)
    resolve = _text("@template", value, build)
    return lambda payload: render(resolve(payload), payload)


def _text(name: str, value: Any, build: Build) -> Resolver:
    resolve = compile_node(value, build.plain)

    def text(payload: Any) -> str:
        found = resolve(payload)
        if not isinstance(found, str):
            raise MappingError(f"{name}: expected string, got {type_name(found)}")
        return found

    return text


def _if(options: Any, build: Build) -> Resolver:
    if not isinstance(options, dict):
        return failing('@if requires an object with an "exists" key')
    if not is_true(options.get("exists")) and not is_true(options.get("blank")):
        return failing('@if requires an "exists" key or a "blank" key')
    then, otherwise = options.get("then", UNDEFINED), options.get("else", UNDEFINED)
    when_true = compile_node(then, build)
    when_false = compile_node(otherwise if is_true(otherwise) else UNDEFINED, build)
    if options.get("exists", UNDEFINED) is not UNDEFINED:
        found = compile_node(options["exists"], build.plain)

        def exists(payload: Any) -> Any:
            value = found(payload)
            return when_false(payload) if value is None or value is UNDEFINED else when_true(payload)

        return exists
    tested = compile_node(options["blank"], build.plain)

    def blank(payload: Any) -> Any:
        value = tested(payload)
        return when_false(payload) if value is None or value is UNDEFINED or equals_empty_text(value) else when_true(payload)

    return blank


def _case(options: Any, build: Build) -> Resolver:
    if not isinstance(options, dict):
        return failing('@case requires an object with a "operator" key')
    operator = options.get("operator")
    if not is_true(operator):
        return failing('@case requires a "operator" key')
    if not is_true(options.get("value")):
        return lambda _: UNDEFINED
    resolve = compile_node(options["value"], build.plain)

    def case(payload: Any) -> Any:
        value = resolve(payload)
        if not isinstance(value, str):
            return value
        if operator not in ("lower", "upper"):
            raise MappingError('operator key should have a value of "lower" or "upper"')
        return value.lower() if operator == "lower" else value.upper()

    return case


def _replace(options: Any, build: Build) -> Resolver:
    if not isinstance(options, dict) or not is_true(options.get("pattern")):
        return failing(
            '@replace requires a "pattern" key' if isinstance(options, dict) else '@replace requires an object with a "pattern" key'
        )
    if not is_true(options.get("value")):
        return lambda _: UNDEFINED
    resolve = compile_node(options["value"], build.plain)
    pattern, replacement = options["pattern"], _or_default(options.get("replacement"), "")
    ignore_case, every = _or_default(options.get("ignorecase"), False), _or_default(options.get("global"), True)
    sound = isinstance(pattern, str) and isinstance(replacement, str) and isinstance(ignore_case, bool) and isinstance(every, bool)
    change: Callable[[str], str] = replacer(pattern, replacement, every=every, ignore_case=ignore_case) if sound else lambda _: ""
    second, with_second = options.get("pattern2"), _or_default(options.get("replacement2"), "")
    if sound and is_true(second) and isinstance(second, str) and isinstance(with_second, str):
        change = _both(change, replacer(second, with_second, every=every, ignore_case=ignore_case))

    def replaced(payload: Any) -> str:
        value = resolve(payload)
        if value.__class__ is str:
            return change(value)
        return change(text_of(value)) if isinstance(value, str | int | float) else ""

    return replaced


def _both(first: Callable[[str], str], then: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: then(first(text))


def _or_default(value: Any, default: Any) -> Any:
    return default if value is None or value is UNDEFINED else value


def _array_path(data: Any, build: Build) -> Resolver:
    if not isinstance(data, list):
        return failing(f"@arrayPath expected array, got {type_name(data)}")
    path, shape = [*data, UNDEFINED, UNDEFINED][:2]
    root = getter(without_root(path)) if isinstance(path, str) else compile_node(path, build.plain)
    if not isinstance(shape, dict) or not shape:
        return root
    build.note_holes(is_directive(shape))
    item = compile_node(shape, build.plain)

    def array_path(payload: Any) -> Any:
        found = root(payload)
        if isinstance(found, list):
            return [item(one) for one in found]
        return [item(found)] if isinstance(found, dict) else found

    return array_path


def _literal(value: Any, build: Build) -> Resolver:
    return compile_node(value, build)


def _flatten(options: Any, build: Build) -> Resolver:
    if not isinstance(options, dict) or not is_true(options.get("separator")):
        return failing(
            '@flatten requires a "separator" key' if isinstance(options, dict) else '@flatten requires an object with a "separator" key'
        )
    value, omit_arrays = compile_node(options.get("value", UNDEFINED), build.plain), is_true(options.get("omitArrays"))
    if isinstance(options["separator"], str):
        return flattener(value, options["separator"], omit_arrays=omit_arrays, keep=build.keep)
    separator = compile_node(options["separator"], build.plain)

    def flattened(payload: Any) -> dict[str, Any]:
        joint = separator(payload)
        if not isinstance(joint, str):
            raise MappingError("@flatten requires a string separator")
        return flattener(value, joint, omit_arrays=omit_arrays, keep=build.keep)(payload)

    return flattened


def _json(options: Any, build: Build) -> Resolver:
    if not isinstance(options, dict):
        return failing('@json requires an object with a "value" key')
    for key in ("mode", "value"):
        if not is_true(options.get(key)):
            return failing(f'@json requires a "{key}" key')
    resolve, mode = compile_node(options["value"], build.plain), options["mode"]
    if mode == "encode":
        return lambda payload: bounded_text("@json", json_text(resolve(payload)))  # text within text doubles its quotes each time

    def decoded(payload: Any) -> Any:
        value = resolve(payload)
        if mode != "decode":
            return UNDEFINED
        return json_value(value) if isinstance(value, str) else value

    return decoded


def _merge(options: Any, build: Build) -> Resolver:
    if not isinstance(options, dict):
        return failing('@merge requires an object with an "objects" key and a "direction" key')
    if not is_true(options.get("direction")):
        return failing('@merge requires a "direction" key')
    objects = options.get("objects", UNDEFINED)
    if not is_true(objects):
        return failing('@merge requires a "objects" key')
    if not isinstance(objects, list):
        return failing(f"@merge: expected opts.array, got {'object' if isinstance(objects, dict) else type_name(objects)}")
    direction = compile_node(options["direction"], build.plain)
    parts = [compile_node(item, build.keeping) for item in objects]
    if isinstance(options["direction"], str) and options["direction"] != "left":
        return _later_wins(parts, keep=build.keep)

    def merged(payload: Any) -> dict[str, Any]:
        values = [part(payload) for part in parts]
        if direction(payload) == "left":
            values.reverse()
        out: dict[str, Any] = {}
        for value in values:
            out.update(value if value.__class__ is dict else _own_properties(value))
        return out if build.keep else _without_undefined(out)

    return merged


def _later_wins(parts: list[Resolver], *, keep: bool) -> Resolver:
    """The usual merge, without a list of values."""

    def merged(payload: Any) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for part in parts:
            value = part(payload)
            out.update(value if value.__class__ is dict else _own_properties(value))
        if not keep:
            for inner in out.values():
                if inner is UNDEFINED:
                    return _without_undefined(out)
        return out

    return merged


def _own_properties(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    return dict(entries(list(utf16_units(value)) if isinstance(value, str) else value)) if isinstance(value, list | str) else {}


def _without_undefined(value: dict[str, Any]) -> dict[str, Any]:
    for inner in value.values():
        if inner is UNDEFINED:
            return {key: kept for key, kept in value.items() if kept is not UNDEFINED}
    return value


def _transform(options: Any, build: Build) -> Resolver:
    if not isinstance(options, dict):
        return failing('@transform requires an object with an "apply" key and a "mapping" key')
    for key in ("mapping", "apply"):
        if not is_true(options.get(key)):
            return failing(f'@transform requires a "{key}" key')
    if not isinstance(options["apply"], dict):
        return failing('@transform "apply" key should be an object')
    build.note_transform()
    apply, mapping = compile_object_mapping(options["apply"], build.plain), compile_node(options["mapping"], build)
    return lambda payload: mapping(apply({} if payload is UNDEFINED else payload))


def compile_whole(mapping: Mapping[str, Any], build: Build) -> Resolver:
    """A whole mapping, with its root directive if it has one; the payload is an object.

    Raises: MappingError, when Segment's checks find fault with it.
    """
    meant = with_root_directive(mapping)
    check_mapping(meant)
    return compile_node(meant, build.plain)


def compile_object_mapping(mapping: Mapping[str, Any], build: Build) -> Resolver:
    """A whole mapping that fails when a payload comes, for its own faults and for a payload that is no object."""
    fault: MappingError | None = None
    resolve: Resolver = failing("")
    try:
        resolve = compile_whole(mapping, build)
    except MappingError as wrong:
        fault = wrong

    def transform(payload: Any) -> Any:
        if not isinstance(payload, dict):
            raise MappingError(f"data must be an object, got {type_name(payload)}")
        if fault:
            raise fault
        return resolve(payload)

    return transform


def with_root_directive(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """The mapping that is meant: all other keys become `mapping` of the single directive under the root key.

    Raises: MappingError, when there is a root key without one directive.
    """
    if ROOT_KEY not in mapping:
        return dict(mapping)
    root = mapping[ROOT_KEY]
    named = dict(entries(root)) if isinstance(root, dict | list) else {}
    if len(named) > 1:
        raise MappingError("The root mapping must only have a single directive object")
    name, options = next(iter(named.items()), ("undefined", None))
    if not isinstance(options, dict | list):
        raise MappingError("The root directive must be an object")
    others = {key: value for key, value in mapping.items() if key != ROOT_KEY}
    return {name: {**options, "mapping": others} if isinstance(options, dict) else options}


def _exclude_when_null(value: Any, build: Build) -> Resolver:
    resolve = compile_node(value, build)

    def excluded(payload: Any) -> Any:
        found = resolve(payload)
        if found is None:
            return UNDEFINED
        if not isinstance(found, dict):
            return found
        return dict(starmap(_null_as_undefined, found.items())) if build.keep else _without_nulls(found)

    return excluded


def _null_as_undefined(key: str, value: Any) -> tuple[str, Any]:
    return key, UNDEFINED if value is None else _without_nulls(value) if isinstance(value, dict) else value


def _without_nulls(value: dict[str, Any]) -> dict[str, Any]:
    return {k: _without_nulls(v) if isinstance(v, dict) else v for k, v in value.items() if v is not None and v is not UNDEFINED}


def _liquid(value: Any, _: Build) -> Resolver:
    from engage_pipelines.domain.mapping.liquid import liquid_renderer  # noqa: PLC0415 - rarely needed and slow to load

    return liquid_renderer(value)


DIRECTIVES: dict[str, Compiler] = {
    "@if": _if,
    "@case": _case,
    "@replace": _replace,
    "@arrayPath": _array_path,
    "@path": _path,
    "@template": _template,
    "@literal": _literal,
    "@flatten": _flatten,
    "@json": _json,
    "@merge": _merge,
    "@transform": _transform,
    "@excludeWhenNull": _exclude_when_null,
    "@liquid": _liquid,
}

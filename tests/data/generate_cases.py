"""A generator of random cases for the mapping kit and triggers, in the oracle's JSON lines.

    python tests/data/generate_cases.py 4000 7 > cases.jsonl        # count, seed
    node kit.js < cases.jsonl > answers.jsonl                       # in a scratch copy of the oracle
    python tests/data/generate_cases.py --freeze cases.jsonl answers.jsonl tests/data/kit-cases.jsonl.gz

Half of the cases are sound, the others are broken in some way: both have to give the peer's answer.
"""

import gzip
import json
import random
import re
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

KEYS = ["a", "b", "email", "name", "x y", "0", "2", "items", "Name", "_metadata", "length", "é", ""]
VALUES = [
    "", "x", "Hello World", "12", "true", "a.b", " sp ", 0, 1, -2, 3.5, 1e21, 1e-7, 0.1, 1000000, True, False, None, [], {},
    "É", "ß", "A-b_C", "{{a}}", "{{{traits.a}}}", "$.a", "$&", "a\"b\\\n", "\u2028", "😀",
    "[1,2", '{"b":1,"2":[null,1.0,"x"],"1":{}}', "null", "1e3", [0], [""],
]  # fmt: skip
HEADS = ["traits", "properties", "context", "userId", "context.traits", "context.personas.computation_key", "type", "missing"]
UNDEFINED = {"__undefined__": True}


class Generator:
    """Cases from one seed; the same seed gives the same cases."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def pick(self, options: Any) -> Any:
        return deepcopy(self.random.choice(options))  # what is picked may be broken afterwards, and picked again

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def value(self, depth: int = 0) -> Any:
        if depth > 2 or self.chance(0.6):
            return self.pick(VALUES)
        if self.chance(0.5):
            return [self.value(depth + 1) for _ in range(self.random.randint(0, 3))]
        return {self.pick(KEYS): self.value(depth + 1) for _ in range(self.random.randint(0, 4))}

    def object(self) -> dict[str, Any]:
        return {key: self.value() for key in self.random.sample(KEYS, self.random.randint(0, 5))}

    def event(self) -> dict[str, Any]:
        return {
            "type": self.pick(["identify", "track", "group", "page"]),
            "event": self.pick(["Audience Entered", "x", "Hello World", None, 5]),
            "userId": self.pick(["u1", "", None, 5, "12"]),
            "traits": self.object(),
            "properties": self.object(),
            "context": {"traits": self.object(), "personas": {"computation_key": self.pick(KEYS)}},
        }

    def path(self) -> str:
        if self.chance(0.05):
            return self.pick(["$.", "$", "", ".", "..", "[", "]", "a[", "$.$.traits", "traits..a", "traits['a", "length", "userId.length"])
        text = self.pick(HEADS)
        for _ in range(self.random.randint(0, 2)):
            key = self.pick(KEYS)
            text += self.pick([f".{key}", f"['{key}']", f'["{key}"]', f"[{key}]"])
        return self.pick(["$.", "$.", ""]) + text + (f"[{self.random.randint(0, 2)}]" if self.chance(0.15) else "")

    def template(self) -> str:
        pieces = ["hi ", " - ", "}}", "{{", "}", "\n", "{{ }}", "{{{ }}}"]
        return "".join(
            self.pick(
                [
                    *pieces,
                    f"{{{{{self.path()}}}}}",
                    f"{{{{{{{self.path().removeprefix('$.')}}}}}}}",
                    f"{{{{ {self.path().removeprefix('$.')}\u00a0}}}}",
                ]
            )
            for _ in range(self.random.randint(0, 4))
        )

    def mapping(self, depth: int = 0) -> Any:
        """Any part of a mapping, at times a broken one."""
        if depth > 3 or self.chance(0.12):
            return self.pick(VALUES)
        if self.chance(0.1):
            return {self.pick(KEYS): self.mapping(depth + 1) for _ in range(self.random.randint(0, 3))}
        if self.chance(0.05):
            return [self.mapping(depth + 1) for _ in range(self.random.randint(0, 3))]
        name = self.pick(list(DIRECTIVES))
        options = DIRECTIVES[name](self, depth + 1)
        if isinstance(options, dict) and self.chance(0.06):
            options[self.pick([*options, "extra", "@path", "value"])] = self.pick([*VALUES, UNDEFINED])
        if isinstance(options, dict) and options and self.chance(0.04):
            del options[self.pick(list(options))]
        directive = {name: self.pick(VALUES) if self.chance(0.02) else options}
        if self.chance(0.04):
            directive[self.pick(["_metadata", "@path", "other", "@unknown"])] = self.pick(VALUES)
        return {"@nothing": 1} if self.chance(0.005) else directive

    def path_or_more(self, depth: int) -> Any:
        return {"@path": self.path()} if self.chance(0.7) else self.mapping(depth)

    def fields(self) -> Any:
        if self.chance(0.03):
            return self.pick([[], "text", 5, [1, {"@path": "$.type"}], {"@path": "$.traits"}])
        fields = {self.pick(["p", "q", "r", "2", "s t"]): self.mapping() for _ in range(self.random.randint(1, 3))}
        if self.chance(0.05):
            root = (
                {"@arrayPath": ["$.items", {"x": {"@path": "$.a"}}]}
                if self.chance(0.2)
                else {"@transform": {"apply": {"a": self.mapping(2)}}}
            )
            fields["__segment_internal_directive"] = self.pick([root, {"@merge": {"direction": "left"}}, {}, 5, {"@path": 1, "@if": 2}])
        return fields

    def fql_value(self) -> str:
        return self.pick(
            [
                '"identify"',
                '"track"',
                '"x"',
                '"Hello World"',
                '"12"',
                '""',
                "12",
                "3.5",
                "0",
                "-2",
                "true",
                "false",
                "null",
                "'x'",
                "other",
                "+",
                "1.2.3",
            ]
        )

    def fql_name(self) -> str:
        names = [
            "type",
            "event",
            "userId",
            "name",
            "properties.a",
            "traits.x\\ y",
            "context.traits.a",
            "messageId",
            "properties",
            "traits.0",
            "toString",
            "and",
            "an",
            "typo",
        ]
        return self.pick(
            [*names, "properties.email", "traits.name", "context.personas.computation_key", "properties.items.length", "traits.😀"]
        )

    def condition(self) -> str:
        if self.chance(0.6):
            operator = self.pick(["=", "!=", "<", "<=", ">", ">=", "=", "in", "=="])
            return self.fql_name() + self.pick([" ", ""]) + operator + self.pick([" ", ""]) + self.fql_value()
        argument = self.pick(['"x*"', '"*x"', '"x"', '"*b*"', '"*"', '"Hel"', '"😀*"', "5", "'a*'"])
        return f"{self.pick(['', '!', '! '])}{self.pick(['contains', 'match', 'length'])}({self.fql_name()}, {argument})"

    def fql(self, depth: int = 0) -> str:
        parts = [
            f"{self.pick(['', '', '!'])}({self.fql(depth + 1)})" if depth < 2 and self.chance(0.2) else self.condition()
            for _ in range(self.random.randint(1, 3))
        ]
        text = parts[0] + "".join(self.pick([" and ", " or ", " AND ", " and "]) + part for part in parts[1:])
        if not self.chance(0.08):
            return text
        at = self.random.randint(0, len(text))
        return (
            text[:at]
            + self.pick(["(", ")", '"', "\\", "and", " ", "\t", "é", "!", ",", "()", "-", ".", "[", "\r", "\n"])
            + text[at + self.random.randint(0, 2) :]
        )

    def membership(self) -> dict[str, Any]:
        personas = {
            "computation_class": self.pick(["audience", "journey_step", "trait", "", None]),
            "computation_key": self.pick(["k", "", "j"]),
        }
        call = {
            "type": self.pick(["identify", "track", "group"]),
            "event": self.pick(["new", "updated", "deleted", "Audience Entered"]),
            "traits": self.pick([{"k": self.pick([True, False, "true", None, 1])}, {}, None]),
            "properties": {"k": self.pick([True, False, None])},
            "context": self.pick([{"personas": personas}, {"personas": personas}, {}]),
        }
        mode = self.pick([{}, *({"syncMode": mode} for mode in ("add", "update", "upsert", "delete", "mirror", "other"))])
        return {"op": "membership", "data": call, **mode}

    def schema(self, depth: int = 0) -> dict[str, Any]:
        if depth > 1 or self.chance(0.5):
            return self.pick(
                [{}, {"type": "string"}, {"type": ["string", "null"]}, {"type": "number"}, {"enum": ["x"]}, {"type": "object"}]
            )
        if self.chance(0.3):
            return {"type": "array", "items": self.schema(depth + 1)}
        return {"type": "object", "properties": {key: self.schema(depth + 1) for key in self.random.sample(KEYS, 5)}}

    def data(self) -> Any:
        return self.pick([UNDEFINED, [], "x", None]) if self.chance(0.02) else self.event()

    def case(self) -> dict[str, Any]:
        operations: list[tuple[int, Callable[[], dict[str, Any]]]] = [
            (40, lambda: {"op": "transform", "mapping": self.fields(), "data": self.data()}),
            (12, lambda: {"op": "validateMapping", "mapping": self.fields()}),
            (25, lambda: {"op": "fql", "fql": self.fql(), "data": self.event()}),
            (5, lambda: {"op": "parseFql", "fql": self.fql()}),
            (4, lambda: {"op": "get", "obj": self.event(), "path": self.path()}),
            (5, lambda: {"op": "render", "template": self.template(), "data": self.event()}),
            (3, lambda: {"op": "flatten", "value": self.value(), "separator": self.pick([".", "_", "__"]), "omitArrays": self.chance(0.3)}),
            (3, self.membership),
            (3, lambda: {"op": "removeEmpty", "payload": self.value(), "schema": self.schema(), "isRoot": self.chance(0.5)}),
        ]  # fmt: skip
        weights = [weight for weight, _ in operations]
        return self.random.choices([make for _, make in operations], weights)[0]()


def _if(g: Generator, depth: int) -> Any:
    options: dict[str, Any] = {g.pick(["exists", "exists", "blank"]): g.mapping(depth)}
    if g.chance(0.9):
        options["then"] = g.mapping(depth)
    if g.chance(0.7):
        options["else"] = g.mapping(depth)
    return options


def _replace(g: Generator, depth: int) -> Any:
    options: dict[str, Any] = {
        "pattern": g.pick(["a", ".", "l", "W", "(", " ", "x y", "É", "ß", "12345678901"]),
        "value": g.path_or_more(depth),
    }
    for name, share, choices in (
        ("replacement", 0.8, ["", "_", "$&", "$$", "$'", "$`x", "$1", "zz"]),
        ("ignorecase", 0.4, [True, False]),
        ("global", 0.4, [True, False]),
        ("pattern2", 0.2, ["o", "Z", "12345678901"]),
        ("replacement2", 0.1, ["0", "$&$&"]),
    ):
        if g.chance(share):
            options[name] = g.pick(choices)
    return options


def _array_path(g: Generator, depth: int) -> Any:
    path = g.pick([g.path(), {"@path": g.path()}])
    shape = {key: g.mapping(depth + 1) for key in g.random.sample(KEYS, g.random.randint(0, 2))}
    return [path, g.pick([shape, g.mapping(depth)])] if g.chance(0.7) else [path]


def _json(g: Generator, depth: int) -> Any:
    mode = g.pick(["ENCODE", "other"]) if g.chance(0.05) else g.pick(["encode", "decode"])
    return {"mode": mode, "value": g.mapping(depth)}


def _flatten(g: Generator, depth: int) -> Any:
    options = {"separator": g.pick([".", "_", "__"]), "value": g.path_or_more(depth)}
    return {**options, "omitArrays": g.pick([True, 0, "x"])} if g.chance(0.4) else options


def _merge(g: Generator, depth: int) -> Any:
    objects = [g.pick([g.path_or_more(depth), {g.pick(KEYS): g.mapping(depth + 1)}]) for _ in range(g.random.randint(0, 3))]
    return {"direction": g.pick(["left", "right"]), "objects": objects}


def _transform(g: Generator, depth: int) -> Any:
    apply = {key: g.mapping(depth + 1) for key in g.random.sample(KEYS, 2)}
    return {"apply": apply, "mapping": {"z": {"@path": "$." + g.pick(KEYS)}, "all": {"@path": "$."}}}


DIRECTIVES: dict[str, Callable[[Generator, int], Any]] = {
    "@path": lambda g, depth: g.path() if g.chance(0.92) else g.mapping(depth),
    "@template": lambda g, depth: g.template() if g.chance(0.92) else g.mapping(depth),
    "@if": _if,
    "@case": lambda g, depth: {"operator": g.pick(["lower", "upper", "title"]), "value": g.path_or_more(depth)},
    "@replace": _replace,
    "@arrayPath": _array_path,
    "@literal": lambda g, depth: g.mapping(depth),
    "@json": _json,
    "@flatten": _flatten,
    "@merge": _merge,
    "@transform": _transform,
    "@excludeWhenNull": lambda g, depth: g.mapping(depth),
}  # fmt: skip


def freeze(cases: Path, answers: Path, out: Path) -> None:
    """Cases with the answers of the oracle, packed; stack traces and texts with half a character are left out."""
    lines: dict[str, None] = {}
    for case_line, answer_line in zip(cases.read_text().split("\n"), answers.read_text().split("\n"), strict=True):
        if not case_line:
            continue
        expected = json.loads(answer_line)
        if re.search(r"\\ud[89a-f][0-9a-f]{2}", answer_line):
            continue
        if expected.get("error", {}).get("name") == "AggregateError":
            expected["error"].pop("message")
        lines[json.dumps({**json.loads(case_line), "expected": expected}, separators=(",", ":"))] = None
    with gzip.GzipFile(out, "wb", mtime=0) as packed:
        packed.write("\n".join(lines).encode())


if __name__ == "__main__":
    if sys.argv[1] == "--freeze":
        freeze(*map(Path, sys.argv[2:]))
    else:
        generator = Generator(int(sys.argv[2]))
        for _ in range(int(sys.argv[1])):
            print(json.dumps(generator.case()))

"""Tree to canonical text: one spelling for equal definitions, which the parser reads back as an equal tree."""

from engage_pipelines.domain.query.instants import moment_text
from engage_pipelines.domain.query.names import SIGNS
from engage_pipelines.domain.query.tree import (
    EACH,
    AllUsers,
    And,
    AnyUser,
    Argument,
    Between,
    Comparison,
    Condition,
    Context,
    Definition,
    Duration,
    Events,
    Filter,
    Moment,
    Not,
    Number,
    Or,
    Path,
    Property,
    Reduce,
    Reducer,
    Scalar,
    Source,
    Sources,
    Text,
    Trait,
    TraitDefinition,
    Truth,
    Where,
    Within,
)

_BINDS: dict[type[Condition], int] = {Or: 1, And: 2}
_TIGHT = 3


def to_text(definition: Definition | TraitDefinition) -> str:
    """The definition in one line."""
    return scalar_text(definition.scalar) if isinstance(definition, TraitDefinition) else condition_text(definition.condition)


def condition_text(condition: Condition) -> str:
    """A condition in one line, with the fewest brackets."""
    match condition:
        case Or(parts):
            return " OR ".join(_bracketed(part, 2) for part in parts)
        case And(parts):
            return " AND ".join(_bracketed(part, _TIGHT) for part in parts)
        case Not(part):
            return f"NOT {_bracketed(part, _TIGHT)}"
        case AnyUser(part):
            return f"ANY {_bracketed(part, _TIGHT)}"
        case AllUsers(part):
            return f"ALL {_bracketed(part, _TIGHT)}"
        case Comparison():
            return _comparison(condition)


def _bracketed(part: Condition, binding: int) -> str:
    text = condition_text(part)
    return text if _BINDS.get(type(part), _TIGHT) >= binding else f"({text})"


def _comparison(comparison: Comparison) -> str:
    value = scalar_text(comparison.scalar)
    sign = SIGNS.get(comparison.comparator)
    if sign:
        return f"{value} {sign} {_argument(comparison.arguments[0])}"
    return f"{value}.{comparison.comparator}({', '.join(map(_argument, comparison.arguments))})"


def scalar_text(scalar: Scalar) -> str:
    """A value in one line."""
    source = scalar.source
    if isinstance(source, Number | Text | Truth | Moment):
        return f"literal({_argument(source)})"
    text = _source(source)
    return f"{text}.{_reducer(scalar.reducer)}" if scalar.reducer else text


def _source(source: Source) -> str:
    match source:
        case Events(name, filters):
            session = [f"expires_after({_duration(source.expires_after)})"] if source.expires_after else []
            return ".".join([f"event({quoted(name)})", *map(_filter, filters), *session])
        case Trait(path):
            return f"trait({_path(path)})"
        case Property(path, parent):
            return f"property({'parent: ' if parent else ''}{_path(path)})"
        case Context(path):
            return f"context({_path(path)})"
        case _:
            return _argument(source)


def _filter(each: Filter) -> str:
    match each:
        case Where(condition):
            return f"where({condition_text(condition)})"
        case Sources(exclude):
            return f"sources(exclude: {', '.join(map(quoted, exclude))})"
        case Within(window, parent):
            return f"within({'parent: ' if parent else ''}{_duration(window)})"
        case Between(newer, older):
            return f"between({_duration(newer)}, {_duration(older)})"


def _reducer(reducer: Reducer) -> str:
    if reducer.kind is Reduce.UNIQUE_COUNT and reducer.argument:
        return f"unique({_source(reducer.argument)}).count()"
    arguments: list[str] = []
    if reducer.argument:
        arguments.append(_source(reducer.argument) + (f" as {reducer.read_as}" if reducer.read_as else ""))
    if reducer.minimum_frequency is not None:
        arguments.append(str(reducer.minimum_frequency))
    return f"{reducer.kind}({', '.join(arguments)})"


def _argument(argument: Argument | Source) -> str:
    match argument:
        case Number(value):
            return format(value, "f")
        case Text(value):
            return quoted(value)
        case Truth(value):
            return "true" if value else "false"
        case Moment():
            return moment_text(argument)
        case Duration():
            return _duration(argument)
        case _:
            return _source(argument)


def _duration(duration: Duration) -> str:
    return f"{duration.amount} {duration.unit}{'' if duration.amount == 1 else 's'}"


def _path(path: Path) -> str:
    return quoted(".".join(part if part == EACH else part.replace("\\", "\\\\").replace(".", "\\.") for part in path))


def quoted(text: str) -> str:
    """A text literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return "'" + escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + "'"

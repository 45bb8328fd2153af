"""Tree of a definition: what the parser makes, and the printer, the checks, the interpreter and the compiler read.

Places (line and column in the text) ride along for messages and do not take part in equality, so that equal conditions
are equal whatever the text they come from looks like, and are evaluated once.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from engage_pipelines.domain.computation import Level

US_PER_SECOND = 1_000_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands in the text; both count from 1."""

    line: int = 1
    column: int = 1


NOWHERE = Place()


class Unit(StrEnum):
    """Units of windows."""

    SECOND = "second"
    HOUR = "hour"
    DAY = "day"

    @property
    def us(self) -> int:
        return {"second": 1, "hour": 3_600, "day": 86_400}[self.value] * US_PER_SECOND


@dataclass(frozen=True, slots=True)
class Duration:
    """A length of time; a day is 24 hours."""

    amount: int
    unit: Unit
    place: Place = field(default=NOWHERE, compare=False, repr=False)

    @property
    def us(self) -> int:
        return self.amount * self.unit.us


# literals: a class each, since Python holds True, 1 and Decimal(1) to be equal


@dataclass(frozen=True, slots=True)
class Number:
    value: Decimal
    place: Place = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Text:
    value: str
    place: Place = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Truth:
    value: bool
    place: Place = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Moment:
    """A date (midnight UTC) or a date with a time, as an instant."""

    at_us: int
    date_only: bool
    place: Place = field(default=NOWHERE, compare=False, repr=False)


Literal = Number | Text | Truth | Moment

EACH = "$"
"""The part of a path that stands for each element of an array."""

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Trait:
    """A trait of the profile at hand, or the membership in the audience of that key."""

    path: Path
    place: Place = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Property:
    """A property of the event row at hand; `parent`: of the row that the funnel starts from."""

    path: Path
    parent: bool = False
    place: Place = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Context:
    """A part of the context of the event row at hand, such as page.url."""

    path: Path
    place: Place = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Where:
    """Rows for which the condition holds; `depth`: how deep the condition goes."""

    condition: "Condition"
    place: Place = field(default=NOWHERE, compare=False, repr=False)
    depth: int = field(default=1, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Sources:
    """Rows of all sources but these."""

    exclude: tuple[str, ...]
    place: Place = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Within:
    """Rows of the last `window`; `parent`: rows later than the parent row by at most `window`."""

    window: Duration
    parent: bool = False
    place: Place = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Between:
    """Rows from `older` ago to `newer` ago, both ends included."""

    newer: Duration
    older: Duration
    place: Place = field(default=NOWHERE, compare=False, repr=False)


Filter = Where | Sources | Within | Between


@dataclass(frozen=True, slots=True)
class Events:
    """Rows of one event that pass every filter; with `expires_after`, of those the ones of the session that is going on.

    A session ends when no such row has come for longer than that.
    """

    name: str
    filters: tuple[Filter, ...] = ()
    place: Place = field(default=NOWHERE, compare=False, repr=False)
    expires_after: Duration | None = None


class Reduce(StrEnum):
    """What becomes of rows."""

    COUNT = "count"
    SUM = "sum"
    AVG = "avg"
    MIN = "min"
    MAX = "max"
    MODE = "mode"
    FIRST = "first"
    LAST = "last"
    UNIQUE = "unique"
    UNIQUE_COUNT = "unique count"


class As(StrEnum):
    """What values are read as."""

    STRING = "string"
    NUMBER = "number"
    ARRAY = "array"


DEFAULT_MINIMUM_FREQUENCY = 2


@dataclass(frozen=True, slots=True)
class Reducer:
    """`argument` is None for count alone; `read_as` and `minimum_frequency` are None where they do not apply."""

    kind: Reduce
    argument: Property | Context | None = None
    read_as: As | None = None
    minimum_frequency: int | None = None
    place: Place = field(default=NOWHERE, compare=False, repr=False)


Source = Events | Trait | Property | Context | Number | Text | Truth | Moment


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value: of a trait, a property, a literal, or of event rows through a reducer."""

    source: Source
    reducer: Reducer | None = None

    @property
    def place(self) -> Place:
        return self.source.place


class Comparator(StrEnum):
    """Comparators by the name that follows a dot."""

    EQUALS = "equals"
    DIFFERS = "differs"
    GREATER_THAN = "greater_than"
    AT_LEAST = "at_least"
    LESS_THAN = "less_than"
    AT_MOST = "at_most"
    ABSENT = "absent"
    EXISTS = "exists"
    CONTAINS = "contains"
    OMITS = "omits"
    STARTS_WITH = "starts_with"
    ENDS_WITH = "ends_with"
    ONE_OF = "one_of"
    NONE_OF = "none_of"
    BEFORE_DATE = "before_date"
    AFTER_DATE = "after_date"
    WITHIN_LAST = "within_last"
    WITHIN_NEXT = "within_next"
    BEFORE_LAST = "before_last"
    AFTER_NEXT = "after_next"


Argument = Number | Text | Truth | Moment | Duration | Trait | Property | Context


@dataclass(frozen=True, slots=True)
class Comparison:
    """The smallest condition: a value, a comparator, and what it is compared with."""

    scalar: Scalar
    comparator: Comparator
    arguments: tuple[Argument, ...] = ()
    place: Place = field(default=NOWHERE, compare=False, repr=False)
    _hash: int | None = field(default=None, init=False, compare=False, repr=False)

    def __hash__(self) -> int:
        # an evaluation looks conditions up by the thousand, and would go through the tree below them each time
        if self._hash is None:
            object.__setattr__(self, "_hash", hash((self.scalar, self.comparator, self.arguments)))
        assert self._hash is not None
        return self._hash


@dataclass(frozen=True, slots=True)
class And:
    parts: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class Or:
    parts: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class Not:
    part: "Condition"


@dataclass(frozen=True, slots=True)
class AnyUser:
    """At least one user of the account."""

    part: "Condition"
    place: Place = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class AllUsers:
    """Every user of the account."""

    part: "Condition"
    place: Place = field(default=NOWHERE, compare=False, repr=False)


Condition = And | Or | Not | AnyUser | AllUsers | Comparison


@dataclass(frozen=True, slots=True)
class Definition:
    """Who is in: one condition over users or over accounts."""

    level: Level
    condition: Condition


@dataclass(frozen=True, slots=True)
class TraitDefinition:
    """The value that a user or an account has: rows of an event, reduced. An account's rows are those of all its users."""

    level: Level
    scalar: Scalar


def both(kind: type[And] | type[Or], parts: tuple[Condition, ...]) -> Condition:
    """The parts joined, those of the same kind taken apart first: brackets that change nothing leave no trace."""
    flat: list[Condition] = []
    for part in parts:
        flat.extend(part.parts if isinstance(part, kind) else (part,))
    return flat[0] if len(flat) == 1 else kind(tuple(flat))


def inside_where(scalar: Scalar) -> Iterator[Comparison]:
    """Every comparison on the rows of a value, funnels too."""
    if isinstance(scalar.source, Events):
        for each in scalar.source.filters:
            if isinstance(each, Where):
                yield from all_comparisons(each.condition)


def comparisons(condition: Condition) -> Iterator[Comparison]:
    """Every comparison from left to right, not looking inside `where`."""
    match condition:
        case And(parts) | Or(parts):
            for part in parts:
                yield from comparisons(part)
        case Not(part) | AnyUser(part) | AllUsers(part):
            yield from comparisons(part)
        case Comparison():
            yield condition


def wheres(comparison: Comparison) -> Iterator[Condition]:
    """The conditions on rows of a comparison of events."""
    if isinstance(comparison.scalar.source, Events):
        yield from (each.condition for each in comparison.scalar.source.filters if isinstance(each, Where))


def all_comparisons(condition: Condition) -> Iterator[Comparison]:
    """Every comparison from left to right, those inside `where` too."""
    for comparison in comparisons(condition):
        yield comparison
        for inner in wheres(comparison):
            yield from all_comparisons(inner)

"""An audience, or a computed trait, as one SELECT over the mapped tables: kind and id of everyone who is in, or who has a value.

Conditions on rows are answered by one query per event name and trait key, and joined to everyone there is; what a condition says of
somebody without any row is filled in. Computations that the definition refers to are queries of the same SELECT.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from engage_pipelines.domain.computation import ANONYMOUS_ID, EXTERNAL_IDS, Audience, EmptyAccounts, Level
from engage_pipelines.domain.errors import DefinitionError
from engage_pipelines.domain.query import computation_references
from engage_pipelines.domain.query.comparing import holds_for, literal_value
from engage_pipelines.domain.query.inspection import trait_uses
from engage_pipelines.domain.query.tree import (
    AllUsers,
    And,
    AnyUser,
    As,
    Comparison,
    Condition,
    Definition,
    Events,
    Not,
    Or,
    Reduce,
    Trait,
)
from engage_pipelines.domain.warehouse_mapping import check_admission
from engage_pipelines.facts.audience_order import Readable, ReadableTrait
from engage_pipelines.facts.scopes import scope_of, scoped
from engage_pipelines.facts.warehouse.comparing import Comparing, Given
from engage_pipelines.facts.warehouse.conditions import TraitColumns, trait_holds
from engage_pipelines.facts.warehouse.leaf_queries import LeafQueries
from engage_pipelines.facts.warehouse.people import Warehouse
from engage_pipelines.facts.warehouse.reductions import is_counted
from engage_pipelines.facts.warehouse.rows import identifiers, users, visitors
from engage_pipelines.facts.warehouse.value_queries import People, ValueQueries

Others = Mapping[str, Readable | ReadableTrait]
_NO_SELECT = "Trait {!r} is a SELECT over ingested facts, which is not asked of a warehouse."
_NO_SELECT_REMEDY = "Map a table or a view of the warehouse that has it: its columns are traits."


def select_members(warehouse: Warehouse, audience: Readable, others: Others) -> str:
    """One SELECT for the members of the audience: kind, id. `others` are those that definitions refer to, by key.

    Raises DefinitionError for what has no meaning over a warehouse, ConfigurationError for what the dialect or the mapping cannot say.
    """
    return _builder(warehouse, audience, {**others, audience.audience.key: audience}).members(audience)


def select_values(warehouse: Warehouse, trait: ReadableTrait, others: Others) -> str:
    """One SELECT for the values of a computed trait: kind, id, value_kind, value; the value as text, JSON unless it is a string.

    Raises what `select_members` raises.
    """
    return _builder(warehouse, trait, {**others, trait.trait.key: trait}).values(trait)


def _builder(warehouse: Warehouse, asked: Readable | ReadableTrait, everyone: Others) -> "_Builder":
    audiences = {key: each.audience.level for key, each in everyone.items() if isinstance(each, Readable)}
    traits = {key: each for key, each in everyone.items() if isinstance(each, ReadableTrait)}
    reached = _reached(asked, everyone, audiences, traits)
    comparing = Comparing(warehouse.dialect, warehouse.at_us)
    found = {each.audience.key: each for each in reached if isinstance(each, Readable)}
    return _Builder(warehouse, comparing, LeafQueries(warehouse, comparing), audiences, traits, found)


def _reached(
    asked: Readable | ReadableTrait, everyone: Others, audiences: Mapping[str, Level], traits: Mapping[str, ReadableTrait]
) -> Sequence[Readable | ReadableTrait]:
    """What is asked for and those that it refers to, however far."""
    seen: dict[str, Readable | ReadableTrait] = {}
    waiting = [asked]
    while waiting:
        each = waiting.pop()
        key = each.audience.key if isinstance(each, Readable) else each.trait.key
        if key in seen:
            continue
        if each.definition is None:
            raise DefinitionError(_NO_SELECT.format(key), _NO_SELECT_REMEDY)
        seen[key] = each
        waiting += [everyone[other] for other in sorted(computation_references(each.definition, audiences=audiences, traits=traits))]
    return list(seen.values())


@dataclass(slots=True)
class _Frame:
    """A query over users or accounts under way: what is joined to them, and for accounts what is asked of their users."""

    level: Level
    empty: EmptyAccounts
    joined: dict[str, None] = field(default_factory=dict[str, None])
    of_users: list[str] = field(default_factory=list[str])
    users: "_Frame | None" = None
    name: str = ""


@dataclass(slots=True)
class _Builder:
    warehouse: Warehouse
    comparing: Comparing
    leaves: LeafQueries
    levels: Mapping[str, Level]
    traits: Mapping[str, ReadableTrait]
    readable: Mapping[str, Readable]
    people: dict[str, str] = field(default_factory=dict[str, str])
    later: dict[str, str] = field(default_factory=dict[str, str])
    numbers: Iterator[int] = field(default_factory=count)
    held: ValueQueries = field(init=False)

    def __post_init__(self) -> None:
        scalars = {(each.trait.level, key): each.definition.scalar for key, each in self.traits.items() if each.definition}
        people = People(self._everyone, self._account_users, self._set)
        self.held = ValueQueries(self.warehouse, self.comparing, people, self.later, self.levels, scalars)
        self.leaves.add(
            (each.level, each.comparison)
            for one in self.readable.values()
            for each in scoped(one.definition.condition, one.definition.level, self.levels, self._trait_levels)
            if each.audience is None and isinstance(each.comparison.scalar.source, Events | Trait) and self._is_plain(each.comparison)
        )

    @property
    def _trait_levels(self) -> Mapping[str, Level]:
        return {key: each.trait.level for key, each in self.traits.items()}

    def members(self, audience: Readable) -> str:
        members = self._members(audience)
        return f"{self._with()}\nSELECT {_kind_of(audience.audience.level)} AS kind, substr(x.member, 3) AS id FROM (\n  {members}\n) x"

    def values(self, trait: ReadableTrait) -> str:
        """Of everyone of the level who has one; counts are 0 for everybody else."""
        assert trait.definition
        level, reducer = trait.trait.level, trait.definition.scalar.reducer
        found, everyone = self.held.of_scalar(level, trait.definition.scalar), self._everyone(level)
        value = found.at(())
        join = "LEFT JOIN" if is_counted(reducer) else "JOIN"
        return (
            f"{self._with()}\nSELECT {_kind_of(level)} AS kind, substr(x.member, 3) AS id, {value.read('kind')} AS value_kind,"
            f" {value.read('text')} AS value\nFROM {everyone} x {join} {found.name} ON {found.name}.member = x.member"
        )

    def _with(self) -> str:
        """What the SELECT begins with: every query that it refers to, each after those that it refers to itself."""
        queries = [*self.warehouse.shared, *self.people.items(), *self.leaves.queries.items(), *self.held.queries, *self.later.items()]
        return "WITH " + ",\n".join(f"{name} AS (\n  {query}\n)" for name, query in queries)

    # ---- sets of members

    def _members(self, audience: Readable) -> str:
        """A query for the members of an audience, of its own level."""
        level = audience.audience.level
        frame = _Frame(level, audience.audience.empty_accounts, name=f"a{next(self.numbers)}")
        condition = self._sql(audience.definition.condition, frame)
        if level is Level.USER:
            condition = f"{condition}{self._admitted(audience.audience, frame)}"
            everyone = self._everyone_seen() if ANONYMOUS_ID in audience.audience.external_ids else self._everyone(level)
            return f"SELECT u.member FROM {everyone} u{_joins(frame, 'u')} WHERE {condition}"
        if frame.users is None:
            return f"SELECT a.member FROM {self._everyone(level)} a{_joins(frame, 'a')} WHERE {condition}"
        self.later[frame.name] = self._per_account(frame)
        asked = f" LEFT JOIN {frame.name} ON {frame.name}.account = a.member"
        return f"SELECT a.member FROM {self._everyone(level)} a{asked}{_joins(frame, 'a')} WHERE {condition}"

    def _per_account(self, frame: _Frame) -> str:
        """For each account that has users: whether a condition holds for any of them (1 or 0), and for all."""
        assert frame.users
        flags = [f"CASE WHEN {condition} THEN 1 ELSE 0 END" for condition in frame.of_users]
        columns = "".join(f", max({flag}) AS any{number}, min({flag}) AS all{number}" for number, flag in enumerate(flags))
        return (
            f"SELECT b.account{columns} FROM {self._account_users()} b JOIN {self._everyone(Level.USER)} u ON u.member = b.member"
            f"{_joins(frame.users, 'u')} GROUP BY b.account"
        )

    def _everyone(self, level: Level) -> str:
        name = "users" if level is Level.USER else "accounts"
        if f"all_{name}" not in self.people:
            accounts = f"SELECT member FROM ({self.warehouse.accounts()}) k"
            self.people[f"all_{name}"] = users(self.warehouse) if level is Level.USER else accounts
        return f"all_{name}"

    def _everyone_seen(self) -> str:
        """Users, and whoever an anonymous id alone tells."""
        if "all_seen" not in self.people:
            both = f"SELECT member FROM {self._everyone(Level.USER)} k UNION ALL SELECT member FROM ({visitors(self.warehouse)}) v"
            self.people["all_seen"] = f"SELECT DISTINCT member FROM ({both}) b"
        return "all_seen"

    def _account_users(self) -> str:
        if "account_users" not in self.people:
            self.people["account_users"] = self.warehouse.account_users()
        return "account_users"

    def _admitted(self, audience: Audience, frame: _Frame) -> str:
        """A condition for those who hold one of the identifiers that the audience asks for; '' for the usual ones, which everyone has."""
        if audience.external_ids == EXTERNAL_IDS:
            return ""
        check_admission(self.warehouse.facts, audience.external_ids)
        with_visitors = ANONYMOUS_ID in audience.external_ids
        name = f"holders{next(self.numbers)}"
        kinds = ", ".join(self.warehouse.dialect.text(kind) for kind in audience.external_ids)
        self.later[name] = (
            f"SELECT DISTINCT member FROM ({identifiers(self.warehouse, with_visitors=with_visitors)}) i WHERE kind IN ({kinds})"
        )
        frame.joined[name] = None
        return f" AND {name}.member IS NOT NULL"

    # ---- conditions

    def _sql(self, condition: Condition, frame: _Frame) -> str:
        match condition:
            case And(parts):
                return "(" + " AND ".join(self._sql(part, frame) for part in parts) + ")"
            case Or(parts):
                return "(" + " OR ".join(self._sql(part, frame) for part in parts) + ")"
            case Not(part):
                return f"(NOT {self._sql(part, frame)})"
            case AnyUser(part):
                return self._of_users(part, frame, "any", default=False)
            case AllUsers(part):
                return self._of_users(part, frame, "all", default=isinstance(part, Not))
            case Comparison():
                found = scope_of(condition, frame.level, self.levels, self._trait_levels)
                if found.level is not frame.level:
                    return self._of_users(condition, frame, "any", default=False)
                return self._comparison(condition, frame, found.audience)

    def _of_users(self, part: Condition, frame: _Frame, which: str, *, default: bool) -> str:
        """What is said of the users of an account; accounts without users have no row."""
        if frame.users is None:
            frame.users = _Frame(Level.USER, frame.empty)
        frame.of_users.append(self._sql(part, frame.users))
        empty = default if frame.empty is EmptyAccounts.DEFAULT else frame.empty is EmptyAccounts.TRUE
        number = len(frame.of_users) - 1
        return f"(CASE WHEN {frame.name}.account IS NULL THEN {_truth(empty)} ELSE {frame.name}.{which}{number} = 1 END)"

    def _comparison(self, comparison: Comparison, frame: _Frame, audience: str | None) -> str:
        if audience is not None:
            return self._membership(comparison, frame, audience)
        source = comparison.scalar.source
        if not isinstance(source, Events | Trait):
            return _truth(holds_for(comparison, literal_value(source), at_us=self.warehouse.at_us))
        if not self._is_plain(comparison):
            return self._valued(comparison, source, frame)
        name, truth = self.leaves.truth((frame.level, comparison))
        frame.joined[name] = None
        return truth

    def _is_plain(self, comparison: Comparison) -> bool:
        """Whether rows of one event or one trait alone answer it; else values are joined, and compared where everyone stands."""
        source, reducer = comparison.scalar.source, comparison.scalar.reducer
        if reducer and (reducer.kind is Reduce.UNIQUE or reducer.read_as is As.ARRAY):
            return False
        own = isinstance(source, Trait) and not (source.path[0] in self.traits or (len(source.path) == 1 and source.path[0] in self.levels))
        return len(list(trait_uses(Definition(Level.USER, comparison)))) == own

    def _valued(self, comparison: Comparison, source: Events | Trait, frame: _Frame) -> str:
        given: list[Given] = []
        for each in comparison.arguments:
            if isinstance(each, Trait):
                given.append(self._joined(self.held.of_trait(frame.level, each), frame).at(each.path[1:]))
            else:
                given.append(each)  # type: ignore[arg-type]
        if isinstance(source, Trait):
            return trait_holds(self.comparing, comparison, self._joined(self.held.of_trait(frame.level, source), frame), given)
        value = self._joined(self.held.of_scalar(Level.USER, comparison.scalar), frame).at(())
        return self.comparing.holds(comparison.comparator, value, given)

    def _joined(self, columns: TraitColumns, frame: _Frame) -> TraitColumns:
        frame.joined[columns.name] = None
        return columns

    def _membership(self, comparison: Comparison, frame: _Frame, audience: str) -> str:
        """Membership is true or false, never missing, and is compared like any truth value."""
        of_members, of_others = (holds_for(comparison, truth, at_us=self.warehouse.at_us) for truth in (True, False))
        if of_members == of_others:
            return _truth(of_members)
        name = self._set(audience, frame.level)
        frame.joined[name] = None
        return f"({name}.member IS {'NOT ' if of_members else ''}NULL)"

    def _set(self, key: str, level: Level) -> str:
        """The name of a query for the members of an audience, at the level at which it is asked about."""
        number = sorted(self.readable).index(key)
        name = f"in{number}"
        if name not in self.later:
            query = self._members(self.readable[key])
            self.later[name] = query
        if level is self.levels[key]:
            return name
        reached = f"users_in{number}"
        if reached not in self.later:
            self.later[reached] = (
                f"SELECT DISTINCT b.member FROM {self._account_users()} b JOIN {name} i ON i.member = b.account"
                f" JOIN {self._everyone(Level.USER)} u ON u.member = b.member"
            )
        return reached


def _joins(frame: _Frame, alias: str) -> str:
    return "".join(f" LEFT JOIN {name} ON {name}.member = {alias}.member" for name in frame.joined)


def _kind_of(level: Level) -> str:
    return "'group_id'" if level is Level.ACCOUNT else "CASE WHEN substr(x.member, 1, 2) = 'a:' THEN 'anonymous_id' ELSE 'user_id' END"


def _truth(value: bool) -> str:
    return "true" if value else "false"

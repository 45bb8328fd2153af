"""Random computations one after the other, each free to refer to those before it, and what the reference meaning says of them.

Needs hypothesis.
"""

from collections.abc import Mapping, Sequence

from hypothesis import note
from hypothesis import strategies as st

from engage_pipelines.domain.computation import Audience, Computation, EmptyAccounts, Level, TraitComputation
from engage_pipelines.domain.query import Definition, TraitDefinition, to_text
from engage_pipelines.domain.query.meaning import Asked, Profile, account_matches, trait_value, user_matches
from engage_pipelines.domain.query.values import Json
from engage_pipelines.facts.audience_order import Readable, ReadableTrait
from engage_pipelines.testing.plain_facts import Facts, profile_of
from engage_pipelines.testing.random_definitions import AT_US, Computed, definitions, trait_definitions

PLAN = (
    ("one", "trait", Level.USER),
    ("ua", "audience", Level.USER),
    ("other", "trait", Level.USER),
    ("pooled", "trait", Level.ACCOUNT),
    ("aa", "audience", Level.ACCOUNT),
    ("last", "trait", Level.ACCOUNT),
    ("ub", "audience", Level.USER),
)


class World:
    """`wanted` are the computations, `readable` the same as read; `expected` are members of audiences, and values of traits by member."""

    def __init__(self, given_facts: Facts) -> None:
        self.facts = given_facts
        self.wanted: list[Computation] = []
        self.computed = Computed()
        self.memberships: dict[int, dict[str, bool]] = {}
        self.values: dict[int, dict[str, Json]] = {}
        self.expected: dict[str, set[int] | dict[int, Json]] = {}
        self.readable: dict[str, Readable | ReadableTrait] = {}

    def draw(self, data: st.DataObject) -> None:
        """Draw every computation of the plan."""
        for key, kind, level in PLAN:
            (self.trait if kind == "trait" else self.audience)(data, key, level)

    def asked(self, empty: EmptyAccounts = EmptyAccounts.DEFAULT) -> Asked:
        of_users = frozenset(each.key for each in self.wanted if isinstance(each, Audience) and each.level is Level.USER)
        return Asked(AT_US, empty, of_users, frozenset(self.computed.user_traits))

    def trait(self, data: st.DataObject, key: str, level: Level) -> None:
        definition = data.draw(trait_definitions(level, self.computed), label=key)
        text, asked = to_text(definition), self.asked()
        note(f"{key}: {text}")
        everyone = self.facts.users if level is Level.USER else self.facts.accounts
        found = {each.member: trait_value(definition, self._profile(each.member), asked) for each in everyone}
        for member, value in found.items():
            self.values.setdefault(member, {})[key] = value
        self.expected[key] = {member: as_kept(value) for member, value in found.items() if value is not None}
        users, accounts = [*self.computed.user_traits], [*self.computed.account_traits]
        (users if level is Level.USER else accounts).append(key)
        self.computed = Computed(self.computed.audiences, users, accounts)
        self._want(TraitComputation(key, key, level, text), definition)

    def audience(self, data: st.DataObject, key: str, level: Level) -> None:
        definition = data.draw(definitions(level, self.computed.audiences, computed=self.computed), label=key)
        text, empty = to_text(definition), data.draw(st.sampled_from(EmptyAccounts))
        note(f"{key}: {text}")
        asked = self.asked(empty)
        matches, everyone = (user_matches, self.facts.users) if level is Level.USER else (account_matches, self.facts.accounts)
        members = {each.member for each in everyone if matches(definition.condition, self._profile(each.member), asked)}
        self.expected[key] = members
        for user in self.facts.users:
            through = {account.member for account in self.facts.accounts if user.member in account.users}
            self.memberships.setdefault(user.member, {})[key] = user.member in members if level is Level.USER else bool(through & members)
        if level is Level.ACCOUNT:
            for account in self.facts.accounts:
                self.memberships.setdefault(account.member, {})[key] = account.member in members
        self.computed = Computed([*self.computed.audiences, key], self.computed.user_traits, self.computed.account_traits)
        self._want(Audience(key, key, level, text, empty), definition)

    def _want(self, computation: Computation, definition: Definition | TraitDefinition) -> None:
        self.wanted.append(computation)
        if isinstance(computation, Audience):
            assert isinstance(definition, Definition)
            self.readable[computation.key] = Readable(computation, definition)
        else:
            assert isinstance(definition, TraitDefinition)
            self.readable[computation.key] = ReadableTrait(computation, definition)

    def _profile(self, member: int) -> Profile:
        one = next(each for each in self.facts.everyone() if each.member == member)
        return profile_of(one, self.facts, AT_US, self.memberships, self.values)


def as_kept(value: Json) -> Json:
    """Integers that no 64 bits hold are doubles, as all numbers are where they are compared."""
    if isinstance(value, Mapping):
        return {name: as_kept(inner) for name, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [as_kept(inner) for inner in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**64 else value

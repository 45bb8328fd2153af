"""Which rows of a version count as addresses of a replica, and which of them are entered."""

from dataclasses import dataclass

from engage_pipelines.delivery.stretches import RowGroup
from engage_pipelines.domain.id_sync import IdRule, Strategy


@dataclass(frozen=True, slots=True)
class Counted:
    """Which rows of a version count as addresses of a replica; `kinds` in order of preference.

    With `rules` of ID sync entries go to the rows that they pick. Where there are or were rules, `told` are all kinds that were ever
    entered: exits go to every address of these that left, whatever the rules pick now.
    """

    level: str
    kinds: tuple[str, ...]
    with_former: bool
    rules: tuple[IdRule, ...] = ()
    told: tuple[str, ...] = ()

    def where(self) -> str:
        """The condition on a version's row; where user ids are preferred, other identifiers count only for members without one."""
        return self.touched() if self.told else self._usual()

    def _usual(self) -> str:
        first, *others = self.kinds
        needs_sole = "sole and " if first == "user_id" else ""
        tests = [f"starts_with(address, '{first}:')", *(f"({needs_sole}starts_with(address, '{kind}:'))" for kind in others)]
        former = "" if self.with_former else " and current"
        return f"level = '{self.level}'{former} and ({' or '.join(tests)})"

    def picks(self) -> str:
        """The condition on a version's row that is to be entered."""
        if not self.rules:
            return self._usual()
        return f"level = '{self.level}' and ({' or '.join(_picked(rule) for rule in self.rules)})"

    def may_count(self, group: RowGroup) -> bool:
        """Whether some of these rows may be addresses of the replica."""
        kinds = (*self.kinds, *self.told, *(rule.kind for rule in self.rules))
        if not (self.told or self.rules) and self.kinds[0] == "user_id" and not group.has_sole:
            kinds = self.kinds[:1]
        return group.has_level(self.level) and any(group.last >= f"{kind}:" and group.first < f"{kind};" for kind in kinds)

    @property
    def tables(self) -> "Tables":
        return Tables(stays="stays", told="told") if self.told else Tables()

    def touched(self) -> str:
        """The condition on a change: any row of these kinds, whatever else it says."""
        tests = " or ".join(f"starts_with(address, '{kind}:')" for kind in self.told or self.kinds)
        return f"level = '{self.level}' and ({tests})"


@dataclass(frozen=True, slots=True)
class Tables:
    """Addresses by what they are looked at for: entered at the target or the base, and there to be told of at the target or the base."""

    want: str = "want"
    had: str = "had"
    stays: str = "want"
    told: str = "had"


def _picked(rule: IdRule) -> str:
    """What a member no longer has counts for `all` alone, but e-mail addresses: a profile keeps every one it ever had."""
    of_kind = f"starts_with(address, '{rule.kind}:')"
    if rule.strategy is Strategy.ALL:
        return of_kind
    return f"({of_kind} and {rule.strategy}_order = 1{'' if rule.kind == 'email' else ' and current'})"

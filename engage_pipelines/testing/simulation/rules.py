"""The product's rules as the simulation calls them, and what each would be if one of them were left out."""

# pyright: reportUnknownLambdaType=false
# the types of the lambdas that stand for a rule left out are those of the fields they take the place of

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from engage_pipelines.delivery.outcome import outcome
from engage_pipelines.delivery.state import LedgerRow, Settlement
from engage_pipelines.domain import ownership, protocol
from engage_pipelines.domain.ownership import Unanswered
from engage_pipelines.domain.protocol import (
    Aim,
    BaseRow,
    Change,
    ExceptionKind,
    ExceptionState,
    Known,
    ReplicaState,
    Settled,
    Step,
    StepKind,
    Unsent,
)

Ids = Callable[[int], Collection[str]]
Members = Callable[[int], Mapping[int, Collection[str]]]
"""The addresses of each member of a version."""


def _owed(replica: ReplicaState, step: Step, known: Known, _members: Members) -> list[Change]:
    return protocol.owed(replica, step, known)


def _same_token(mine: int, there: int) -> bool:
    return mine == there


@dataclass(frozen=True, slots=True)
class Rules:
    """The functions that decide; the flags are rules that have no function of their own."""

    owed: Callable[[ReplicaState, Step, Known, Members], list[Change]] = _owed
    next_step: Callable[[str, Sequence[ReplicaState], Aim, Collection[Step]], tuple[ReplicaState, Step] | None] = protocol.next_step
    yields: Callable[..., bool] = protocol.yields
    aim: Callable[[int, str], Aim] = Aim
    superseded: Callable[[Iterable[Change], int, int, Ids], dict[str, Unsent]] = protocol.superseded
    overtaken: Callable[[Collection[str], int, int, Ids], set[str]] = protocol.overtaken
    keeps_message_id: Callable[[Change, ExceptionState | None], bool] = protocol.keeps_message_id
    move: Callable[[Sequence[BaseRow], Settled], tuple[BaseRow, ...]] = protocol.move
    outcome: Callable[..., Settlement] = outcome
    may_send: Callable[[int, int], bool] = _same_token
    quiet_in_us: Callable[[Unanswered, int], int] = ownership.quiet_in_us
    is_given_back: Callable[[Unanswered, int], bool] = ownership.is_given_back
    inherited: Callable[..., Unanswered] = ownership.inherited
    bounded: Callable[[int, int], bool] = ownership.outlives
    may_write: Callable[[int, int], bool] = _same_token
    keeps_base: bool = True
    as_opened: bool = True
    as_planned: bool = True
    own_number: bool = True


def _by_member(replica: ReplicaState, step: Step, _known: Known, members: Members) -> list[Change]:
    """What a base of members would owe: each member's new addresses, and the old ones of each who lost them."""
    old, new = members(step.base.version), members(step.target)
    changes: dict[str, Change] = {}
    for member in sorted({*old, *new}):
        had, has = set(old.get(member, ())), set(new.get(member, ()))
        for address in has if protocol.resends(replica, step) else has - had:
            changes[address] = Change(address, True, True)
        for address in had - has:
            changes[address] = Change(address, False, True)
    sends = {True: replica.sends_entries, False: replica.sends_exits}
    return [change for address, change in sorted(changes.items()) if address in step.range and sends[change.value]]


def _once(replica: ReplicaState, step: Step, known: Known, _members: Members) -> list[Change]:
    """What would be owed if another value were nothing new."""
    held = known.ids(step.base.version)
    return [one for one in protocol.owed(replica, step, known) if not one.value or protocol.said_in(held, one.address) in (None, one.said)]


def _impatient(replica: ReplicaState, step: Step, known: Known, _members: Members) -> list[Change]:
    """What would be owed if a refused record were tried again by itself."""

    def impatient(state: ExceptionState) -> ExceptionState:
        return ExceptionState(ExceptionKind.RETRYABLE, state.value, 0) if state.kind is ExceptionKind.REJECTED else state

    exceptions = {address: [impatient(state) for state in parts] for address, parts in known.exceptions.items()}
    return protocol.owed(replica, step, replace(known, exceptions=exceptions))


class _Hasty(Aim):
    """Aims at the current version, however far the leader is."""

    def target(self, replica: ReplicaState, replicas: Iterable[ReplicaState]) -> int:
        return self.current


def _ordered(key: Callable[[Step], tuple[object, ...]]) -> Callable[..., tuple[ReplicaState, Step] | None]:
    """Steps in another order."""

    def next_step(level: str, replicas: Sequence[ReplicaState], aim: Aim, offered: Collection[Step]) -> tuple[ReplicaState, Step] | None:
        of_level = [replica for replica in replicas if replica.level == level]
        todo = [(key(step), replica, step) for replica in of_level for step in protocol.steps(replica, aim.target(replica, replicas))]
        left = [one for one in todo if one[2] not in offered]
        return min(left, key=lambda one: one[0])[1:] if left else None

    return next_step


def _forgetful(records: Iterable[object], ledger: Sequence[LedgerRow], *rest: object, **options: object) -> Settlement:
    """What would be kept if who was overtaken counted as surely not told."""
    told = [replace(row, answer="left_out") if row.answer == "overtaken" else row for row in ledger]
    return outcome(records, told, *rest, **options)  # type: ignore[arg-type]


_OFF: Mapping[str, Mapping[str, object]] = {
    "by_address": {"owed": _by_member},
    "by_value": {"owed": _once},
    "exits_version": {"move": lambda base, settled: protocol.move(base, replace(settled, sends_exits=True))},
    "keeps_base": {"keeps_base": False},
    "as_opened": {"as_opened": False},
    "as_planned": {"as_planned": False},
    "refused_waits": {"owed": _impatient},
    "same_id": {"keeps_message_id": lambda _change, _exception: False},
    "leader_first": {"aim": _Hasty},
    "superseded": {"superseded": lambda _changes, _target, _current, _ids: {}},
    "overtaken": {"overtaken": lambda _entries, _planned, _current, _ids: set()},
    "told_perhaps": {"outcome": _forgetful},
    "catch_up_first": {"next_step": _ordered(lambda step: (step.kind is StepKind.CATCH_UP, step.base.version, step.range.lo))},
    "oldest_first": {"next_step": _ordered(lambda step: (step.kind is not StepKind.CATCH_UP, -step.base.version, step.range.lo))},
    "rounds": {"yields": lambda _step, **_versions: False},
    "own_number": {"own_number": False},
    "fenced": {"may_write": lambda _mine, _there: True},
    "seen": {"may_send": lambda _mine, _there: True},
    "quiet": {"quiet_in_us": lambda _unanswered, _now: 0},
    "marked": {"is_given_back": lambda _unanswered, _now: True},
    "inherits": {"inherited": lambda _now, _times, **_marked: Unanswered()},
    "bounded": {"bounded": lambda _over, _deadline: True},
}

NAMES = tuple(_OFF)
"""Every rule that can be left out."""


def without(names: Iterable[str]) -> Rules:
    """The rules but those. Raises ValueError for a name that is none."""
    rules = Rules()
    for name in names:
        if name not in _OFF:
            raise ValueError(f"there is no rule {name!r}; there are {', '.join(NAMES)}")
        rules = replace(rules, **_OFF[name])  # type: ignore[arg-type]
    return rules

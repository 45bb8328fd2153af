"""The rules of the sync protocol: which steps come next, what they owe, where the base stands afterwards."""

from hypothesis import given
from hypothesis import strategies as st

from engage_pipelines.domain.protocol import (
    BaseRow,
    Change,
    ExceptionKind,
    ExceptionState,
    Known,
    Range,
    ReplicaState,
    Settled,
    Step,
    StepKind,
    cut,
    floor,
    keeps_message_id,
    move,
    owed,
    steps,
)

EVERYTHING = Range("", None)


def replica(*base: BaseRow, **values: object) -> ReplicaState:
    return ReplicaState("users", "user", base or (BaseRow(""),), **values)  # type: ignore[arg-type]


def known(*versions: str, **exceptions: ExceptionState) -> Known:
    """Version n holds the letters of the n-th text."""
    return Known(lambda n: set(versions[n - 1]) if n else set(), {a: [e] for a, e in exceptions.items()}, now_us=100)


def only_step(state: ReplicaState, target: int) -> Step:
    found = steps(state, target)
    assert len(found) == 1
    return found[0]


def test_a_new_replica_owes_a_backfill_of_every_member():
    state = replica()
    step = only_step(state, 1)
    assert step.kind is StepKind.BACKFILL
    assert owed(state, step, known("ab")) == [Change("a", True, False), Change("b", True, False)]


def test_nothing_is_owed_before_the_first_version():
    assert steps(replica(), 0) == []


def test_a_replica_at_the_current_version_owes_no_step():
    assert steps(replica(BaseRow("", 2, 2)), 2) == []


def test_later_syncs_send_only_who_entered_and_who_left():
    state = replica(BaseRow("", 1, 1))
    assert owed(state, only_step(state, 2), known("ab", "bc")) == [Change("a", False, False), Change("c", True, False)]


def test_catch_up_comes_before_backfill_and_the_oldest_range_first():
    state = replica(BaseRow("", 2, 2), BaseRow("h", 1, 1), BaseRow("p", 0, 0))
    assert [(step.kind, step.range.lo) for step in steps(state, 3)] == [
        (StepKind.CATCH_UP, "h"),
        (StepKind.CATCH_UP, ""),
        (StepKind.BACKFILL, "p"),
    ]


def test_a_resync_sends_everyone_again_under_new_ids_and_the_exits_owed():
    state = replica(BaseRow("", 1, 1), resync_no=1)
    first = only_step(state, 2)
    assert first.kind is StepKind.CATCH_UP
    caught_up = replica(*move(state.base, Settled(EVERYTHING, 2, True, 0)), resync_no=1)
    step = only_step(caught_up, 2)
    assert step.kind is StepKind.RESYNC
    assert owed(caught_up, step, known("ab", "bc")) == [Change("b", True, True), Change("c", True, True)]


def test_exits_stay_owed_while_no_mapping_sends_them():
    silent = replica(BaseRow("", 1, 1), sends_exits=False)
    assert owed(silent, only_step(silent, 2), known("ab", "b")) == []
    base = move(silent.base, Settled(EVERYTHING, 2, False, 0))
    assert base == (BaseRow("", 2, 1),)
    speaking = replica(*base)
    assert owed(speaking, only_step(speaking, 2), known("ab", "b")) == [Change("a", False, True)]


def test_a_refused_record_is_not_sent_again_until_its_value_changes():
    state = replica(BaseRow("", 1, 1), retry_due=True)
    refused = ExceptionState(ExceptionKind.REJECTED, value=True)
    step = only_step(state, 1)
    assert owed(state, step, known("ab", a=refused)) == []
    assert owed(state, only_step(state, 2), known("ab", "b", a=refused)) == [Change("a", False, False)]


def test_a_record_of_unknown_fate_is_tried_again_when_its_time_comes_and_keeps_its_id():
    state = replica(BaseRow("", 1, 1), retry_due=True)
    unknown = ExceptionState(ExceptionKind.RETRYABLE, value=True, retry_at_us=100)
    change = Change("a", True, False)
    assert owed(state, only_step(state, 1), known("ab", a=unknown)) == [change]
    assert keeps_message_id(change, unknown)
    later = ExceptionState(ExceptionKind.RETRYABLE, value=True, retry_at_us=101)
    assert owed(state, only_step(state, 1), known("ab", a=later)) == []


def test_an_exit_of_unknown_fate_keeps_its_id_too():
    state = replica(BaseRow("", 2, 2), retry_due=True)
    unknown = ExceptionState(ExceptionKind.RETRYABLE, value=False, retry_at_us=100)
    change = Change("a", False, False)
    assert owed(state, only_step(state, 2), known("ab", "b", a=unknown)) == [change]
    assert keeps_message_id(change, unknown)


def test_an_entry_that_was_left_out_is_owed_as_if_never_sent():
    state = replica(BaseRow("", 1, 1))
    left_out = ExceptionState(ExceptionKind.LEFT_OUT, value=True)
    assert owed(state, only_step(state, 2), known("ab", "ab", a=left_out)) == [Change("a", True, False)]
    assert owed(state, only_step(state, 2), known("ab", "b", a=left_out)) == []


def test_users_wait_for_the_lowest_version_that_all_accounts_have_reached():
    accounts = ReplicaState("accounts", "account", (BaseRow("", 3, 3), BaseRow("m", 2, 2)))
    assert floor(accounts, 5) == 2
    assert floor(None, 5) == 5


def test_a_step_is_cut_where_the_next_address_begins():
    assert cut(["a", "b", "c"], EVERYTHING, 2) == Range("", "c")
    assert cut(["a", "b"], EVERYTHING, 2) == EVERYTHING


def test_settling_part_of_a_range_splits_it_and_the_rest_joins_again():
    base = move((BaseRow(""),), Settled(Range("", "m"), 1, True, 0))
    assert base == (BaseRow("", 1, 1), BaseRow("m", 0, 0))
    assert move(base, Settled(Range("m", None), 1, True, 0)) == (BaseRow("", 1, 1),)


LETTERS = "abcdef"
addresses = st.sets(st.sampled_from(LETTERS))


@given(st.lists(addresses, min_size=1, max_size=6), st.integers(1, 3), st.data())
def test_working_off_every_step_tells_the_destination_exactly_the_current_members(versions, limit, data):
    """No faults here: whatever the versions and the cuts, what was told last of every address is the truth."""
    ids = lambda n: versions[n - 1] if n else set()  # noqa: E731
    state, outside = replica(), {}
    current = 0
    while current < len(versions) or steps(state, current):
        if current < len(versions) and data.draw(st.booleans()):
            current += 1
        todo = steps(state, current)
        if not todo:
            current = min(current + 1, len(versions))
            continue
        step = todo[0]
        changes = owed(state, step, Known(ids))
        span = cut([change.address for change in changes], step.range, limit)
        for change in changes:
            if change.address in span:
                assert outside.get(change.address, False) is not change.value
                outside[change.address] = change.value
        state = replica(*move(state.base, Settled(span, step.target, True, 0)))
    assert {address for address, value in outside.items() if value} == versions[-1]
    assert len(state.base) == 1

"""What a finished generation leaves behind, told by the fate of its records."""

from dataclasses import replace

import pytest

from engage_pipelines.delivery.generation_file import FrozenRecord
from engage_pipelines.delivery.outcome import RETRY_AFTER_S, idle, outcome
from engage_pipelines.delivery.state import ExceptionRow, LedgerRow, Settlement
from engage_pipelines.domain.protocol import ExceptionKind, Range

NOW = 1_000_000
MINUTE_US = 60_000_000
A, B = "user_id:a", "user_id:b"


def record(seq: int, address: str = A, part: str = "i0", *, entered: bool = True, message_id: str = "") -> FrozenRecord:
    call = {"i": "identify", "t": "track", "g": "group"}[part[0]]
    return FrozenRecord(seq, address, entered, part, call, "lane", "send", message_id or f"personas_9:{seq}:{part}", b"{}")


def answer(lo: int, fate: str, hi: int | None = None, reason: str | None = None, attempts: int = 1) -> LedgerRow:
    return LedgerRow(lo, lo if hi is None else hi, fate, reason, attempts)


def kept(
    address: str = A, part: str = "i0", kind: ExceptionKind = ExceptionKind.RETRYABLE, *, value: bool = True, attempts: int = 1
) -> ExceptionRow:
    return ExceptionRow(address, part, kind, value, f"personas_1:0:{part}", 1, 0, "before", attempts, 0)


def settle(records: list[FrozenRecord], ledger: list[LedgerRow], *before: ExceptionRow) -> Settlement:
    return outcome(records, ledger, before, generation=9, now_us=NOW)


def test_records_that_were_all_delivered_leave_nothing_but_counts():
    result = settle([record(0), record(1, B), record(2, B, "t1", entered=False)], [answer(0, "delivered", 2)])
    assert (result.keep, result.clear, result.delivered) == ([], [], 3)
    assert result.counts == {"identify": {"entered": 2}, "track": {"exited": 1}}


def test_a_refused_record_is_kept_with_its_reason_and_waits():
    (row,) = settle([record(0)], [answer(0, "rejected", reason="no such user")]).keep
    assert (row.kind, row.reason, row.retry_at, row.generation, row.seq) == (ExceptionKind.REJECTED, "no such user", None, 9, 0)


@pytest.mark.parametrize(
    ("attempts", "wait_s"),
    [
        pytest.param(None, RETRY_AFTER_S[0], id="after the first failure"),
        pytest.param(1, RETRY_AFTER_S[0], id="after the first retry"),
        pytest.param(3, RETRY_AFTER_S[2], id="later"),
        pytest.param(50, RETRY_AFTER_S[3], id="after many, an hour each"),
    ],
)
def test_a_record_of_unknown_fate_is_tried_again_later_and_later(attempts: int | None, wait_s: int):
    before = [] if attempts is None else [kept(attempts=attempts)]
    (row,) = settle([record(0, message_id="personas_1:0:i0")], [answer(0, "retryable", reason="timeout")], *before).keep
    assert (row.kind, row.retry_at) == (ExceptionKind.RETRYABLE, NOW + wait_s * 1_000_000)
    assert row.attempts == (attempts or 0) + 1


def test_an_overtaken_record_is_due_at_once_so_that_its_exit_is_sent():
    (row,) = settle([record(0)], [answer(0, "overtaken")]).keep
    assert (row.kind, row.value, row.retry_at) == (ExceptionKind.RETRYABLE, True, NOW)


def test_a_record_that_was_left_out_is_remembered_as_never_told():
    (row,) = settle([record(0)], [answer(0, "left_out")]).keep
    assert (row.kind, row.retry_at) == (ExceptionKind.LEFT_OUT, None)


def test_what_was_left_out_does_not_replace_what_may_have_been_told():
    result = settle([record(0)], [answer(0, "left_out")], kept(value=False))
    assert (result.keep, result.clear) == ([], [])


def test_an_acknowledged_retry_ends_its_own_part_alone():
    result = settle([record(0, message_id="personas_1:0:i0")], [answer(0, "delivered")], kept(), kept(part="t1"))
    assert result.clear == [(A, "i0")]


def test_an_acknowledged_new_state_ends_whatever_was_kept_of_the_address():
    result = settle([record(0, entered=False)], [answer(0, "delivered")], kept(), kept(part="t1"), kept(B))
    assert result.clear == [(A, "i0"), (A, "t1")]


def test_a_new_state_that_was_refused_replaces_the_old_one_in_every_part():
    result = settle([record(0, entered=False)], [answer(0, "rejected")], kept(), kept(part="t1"))
    assert [(row.part, row.value) for row in result.keep] == [("i0", False)]
    assert result.clear == [(A, "t1")]


def test_of_two_parts_only_the_refused_one_stays():
    result = settle([record(0), record(1, part="t1")], [answer(0, "delivered"), answer(1, "rejected")], kept(part="t1", value=False))
    assert [(row.part, row.value) for row in result.keep] == [("t1", True)]
    assert result.counts == {"identify": {"entered": 1}, "track": {"rejected": 1}}


def test_a_record_without_an_answer_is_a_fault_of_ours():
    with pytest.raises(AssertionError, match="record 0 was never answered"):
        settle([record(0), record(1)], [answer(1, "delivered")])


def test_what_is_due_and_cannot_be_sent_is_found_within_its_range():
    rows = [kept(A), kept(B), ExceptionRow(A, "t1", ExceptionKind.REJECTED, True, "m", 1, 0, "", 1, None)]
    assert idle(rows, Range("", B), NOW) == [(A, "i0")]


def test_a_part_that_was_rendered_anew_does_not_end_the_parts_that_were_not_tried():
    anew = replace(kept(part="t1"), seq=~0)
    result = settle([record(0, part="t1")], [answer(0, "delivered")], kept(kind=ExceptionKind.REJECTED), anew)
    assert result.clear == [(A, "t1")]
    assert result.keep == []


def test_where_every_part_of_a_newer_state_fails_nothing_is_left_of_the_older_one():
    result = settle([record(0, entered=False)], [answer(0, "rejected", reason="no")], kept(), kept(part="t1"))
    assert [(row.part, row.value) for row in result.keep] == [("i0", False)]
    assert (A, "t1") in result.clear

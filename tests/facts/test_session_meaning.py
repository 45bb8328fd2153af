"""A session over ingested calls shows what plain Python makes of the same calls, whatever the order and the cut of the files."""

import os
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from engage_pipelines.facts.compaction import compact
from engage_pipelines.facts.delete import Doomed, delete_events
from engage_pipelines.facts.session import open_session
from engage_pipelines.facts.store import writing
from engage_pipelines.testing.plain_calls import SPACE, Seen, instant, meaning_of, seen_by, take_in

EXAMPLES = int(os.environ.get("ENGAGE_TEST_EXAMPLES", "300"))
_USERS, _VISITORS, _ACCOUNTS = ["u1", "u2", "u3", "u4", "x1"], ["a1", "a2", "x1"], ["g1", "g2"]
_INSTANTS = st.integers(-3, 6).map(lambda second: second * 1_000_000)
_TRAITS = st.dictionaries(
    st.sampled_from(["email", "plan"]), st.sampled_from(["one@x.test", "two@x.test", "", None, 7, {"nested": [1, "é"]}]), max_size=2
)
_LENIENT = settings(
    max_examples=max(1, EXAMPLES // 20),
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)


@st.composite
def _call(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["track", "identify", "group", "alias", "page"]))
    at_us = draw(_INSTANTS)
    who = {"userId": draw(st.sampled_from(_USERS)), "anonymousId": draw(st.sampled_from(_VISITORS))}
    kept = ["userId"] if kind == "alias" else draw(st.sampled_from([["userId"], ["anonymousId"], ["userId", "anonymousId"]]))
    call: dict[str, Any] = {"type": kind, "ts": at_us, "timestamp": instant(at_us), **{key: who[key] for key in kept}}
    if kind == "track":
        call["event"] = draw(st.sampled_from(["Ran", "Jumped"]))
    if kind == "alias":
        call["previousId"] = draw(st.sampled_from(_USERS + _VISITORS))
    if kind in ("identify", "group"):
        call["traits"] = draw(_TRAITS)
    if kind == "group":
        call["groupId"] = draw(st.sampled_from(_ACCOUNTS))
        call["context"] = draw(st.sampled_from([None, {}, {"left": True}, {"left": False}]))
    return call


@st.composite
def _calls(draw: st.DrawFn) -> list[dict[str, Any]]:
    return [{"messageId": f"m{number:02}", **call} for number, call in enumerate(draw(st.lists(_call(), max_size=14)))]


def _shown(facts_dir: Path, at_us: int) -> Seen:
    with open_session(facts_dir, SPACE, at_us=at_us) as session:
        return seen_by(session)


@_LENIENT
@given(calls=_calls(), at_us=_INSTANTS)
def test_a_session_shows_what_the_calls_mean_at_every_instant(calls: list[dict[str, Any]], at_us: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        take_in(Path(folder), calls)
        assert _shown(Path(folder), at_us) == meaning_of(calls, at_us)


@_LENIENT
@given(calls=_calls(), data=st.data())
def test_neither_the_order_nor_the_cut_nor_merging_of_files_matters(calls: list[dict[str, Any]], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(calls))
    cut = data.draw(st.integers(0, len(calls)))
    with tempfile.TemporaryDirectory() as folder:
        parts = [shuffled[:cut], shuffled[cut:], calls[: data.draw(st.integers(0, len(calls)))]]
        new = sum(take_in(Path(folder), part).new for part in parts)
        assert new == len(calls)
        if data.draw(st.booleans()):
            with writing(Path(folder) / SPACE) as write:
                compact(write, max_files=1, left_alone=0)
                write.commit()
        assert _shown(Path(folder), 10_000_000) == meaning_of(calls, 10_000_000)


@_LENIENT
@given(calls=_calls(), at_us=_INSTANTS, event=st.sampled_from([None, "Ran", "Page Viewed"]))
def test_deleted_events_come_back_when_they_are_taken_in_again(calls: list[dict[str, Any]], at_us: int, event: str | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        take_in(Path(folder), calls)
        everything = _shown(Path(folder), 10_000_000)
        taken = delete_events(Path(folder), SPACE, Doomed(from_us=at_us, event=event))
        doomed = [row for row in everything.events if row[2] >= at_us and event in (None, row[1])]
        left = _shown(Path(folder), 10_000_000)
        assert taken == len(doomed)
        assert left.events == [row for row in everything.events if row not in doomed]
        assert left.traits == everything.traits
        assert left.identifiers == everything.identifiers
        assert take_in(Path(folder), calls).new == taken
        assert _shown(Path(folder), 10_000_000) == everything

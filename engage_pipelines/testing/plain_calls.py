"""What a list of calls means, told in plain Python: the reference that sessions over ingested facts are held against.

Profiles go by the kind and id of the subject they end in, like `("user", "u-1")`. Instants are UTC microseconds.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from engage_pipelines.facts.ingest import IngestSummary, ingest
from engage_pipelines.facts.session import FactsSession

Call = Mapping[str, Any]
Subject = tuple[str, str]
SPACE = "default"


def instant(at_us: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)).isoformat().replace("+00:00", "Z")


def write_calls(path: Path, calls: Iterable[Call]) -> Path:
    path.write_text("".join(json.dumps(call) + "\n" for call in calls))
    return path


def take_in(facts_dir: Path, calls: Iterable[Call], *, now_us: int = 0) -> IngestSummary:
    """Ingest calls by way of a file of their own."""
    facts_dir.mkdir(parents=True, exist_ok=True)
    path = write_calls(facts_dir / "calls.jsonl", calls)
    return ingest([str(path)], facts_dir=facts_dir, space=SPACE, now_us=now_us)


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything a session shows, without its numbers."""

    users: set[Subject]
    accounts: set[Subject]
    account_users: set[tuple[Subject, Subject]]
    identifiers: set[tuple[Subject, str, str, bool]]
    events: list[tuple[Subject, str, int, str, str | None]]
    traits: list[tuple[Subject, str, int, str, str]]
    late_claims: set[tuple[Subject, Subject, str]]


def seen_by(session: FactsSession) -> Seen:
    """What a session shows, its numbers told by name."""
    names: dict[int, Subject] = {
        subject: (kind, id_) for subject, kind, id_ in _rows(session, "SELECT subject, kind, id FROM subjects_known")
    }
    return Seen(
        users={names[member] for (member,) in _rows(session, "SELECT member FROM users")},
        accounts={names[member] for (member,) in _rows(session, "SELECT member FROM accounts")},
        account_users={(names[account], names[user]) for account, user in _rows(session, "SELECT account, member FROM account_users")},
        identifiers={(names[row[0]], *row[1:]) for row in _rows(session, "SELECT member, kind, id, current FROM identifiers")},
        events=sorted((names[row[0]], *row[1:]) for row in _rows(session, "SELECT member, event, ts, message_id, kind FROM event_rows")),
        traits=sorted((names[row[0]], *row[1:]) for row in _rows(session, "SELECT member, key, ts, message_id, value FROM trait_rows")),
        late_claims={(names[a], names[b], c) for a, b, c in _rows(session, "SELECT member, claimed_by, anonymous_id FROM late_claims")},
    )


def _rows(session: FactsSession, query: str) -> list[Any]:
    return session.connection.execute(query).fetchall()


def meaning_of(calls: Sequence[Call], at_us: int) -> Seen:
    """What a session as of `at_us` has to show; every call carries a messageId and `ts`, its instant in microseconds."""
    first: dict[str, Call] = {}
    for call in calls:
        first.setdefault(call["messageId"], call)
    known = sorted((call for call in first.values() if call["ts"] <= at_us), key=lambda call: (call["ts"], call["messageId"]))
    owner = _owners(known)
    subjects = _subjects(known)
    emails = _emails(known, owner)
    return Seen(
        users={owner.get(subject, subject) for subject in subjects if subject[0] == "user"} | {member for member, _, _ in emails},
        accounts={subject for subject in subjects if subject[0] == "account"},
        account_users=_account_users(known, owner, subjects, emails),
        identifiers=_identifiers(known, owner, subjects, emails),
        events=sorted(
            (owner.get(_who(call), _who(call)), _event_name(call), call["ts"], call["messageId"], call["type"])
            for call in known
            if call["type"] in ("track", "page", "screen")
        ),
        traits=sorted(
            (member, key, call["ts"], call["messageId"], json.dumps(value)) for member, key, call, value in _traits(known, owner)
        ),
        late_claims=_late_claims(known, owner),
    )


def _who(call: Call) -> Subject:
    return ("user", call["userId"]) if call.get("userId") else ("anonymous", call["anonymousId"])


def _event_name(call: Call) -> str:
    return call["event"] if call["type"] == "track" else f"{call['type'].capitalize()} Viewed"


def _claims(known: Sequence[Call]) -> list[tuple[Subject, Subject]]:
    claims: list[tuple[Subject, Subject]] = []
    for call in known:
        if call.get("userId") and call.get("anonymousId"):
            claims.append((("anonymous", call["anonymousId"]), ("user", call["userId"])))
        if call["type"] == "alias":
            claims.append((("anonymous", call["previousId"]), ("user", call["userId"])))
    return claims


def _owners(known: Sequence[Call]) -> dict[Subject, Subject]:
    """For every subject that belongs to another one: which."""
    group: dict[Subject, Subject] = {}

    def final(subject: Subject) -> Subject:
        while subject in group:
            subject = group[subject]
        return subject

    for call in known:
        if call["type"] == "alias":
            old, new = final(("user", call["previousId"])), final(("user", call["userId"]))
            if old != new:
                group[old] = new
    owner = {subject: final(subject) for subject in group}
    for anonymous, user in _claims(known):
        owner.setdefault(anonymous, final(user))
    return owner


def _subjects(known: Sequence[Call]) -> set[Subject]:
    used: set[Subject] = set()
    for call in known:
        ids = {"user": call.get("userId"), "anonymous": call.get("anonymousId")}
        if call["type"] == "group":
            ids["account"] = call["groupId"]
        used |= {(kind, id_) for kind, id_ in ids.items() if id_}
    return used


def _traits(known: Sequence[Call], owner: Mapping[Subject, Subject]) -> Iterable[tuple[Subject, str, Call, Any]]:
    for call in known:
        if call["type"] in ("identify", "group"):
            subject = ("account", call["groupId"]) if call["type"] == "group" else _who(call)
            for key, value in (call.get("traits") or {}).items():
                yield owner.get(subject, subject), key, call, value


def _emails(known: Sequence[Call], owner: Mapping[Subject, Subject]) -> set[tuple[Subject, str, bool]]:
    values = [(member, value) for member, key, _, value in _traits(known, owner) if key == "email" and member[0] != "account"]
    current = dict(values)
    return {(member, value, current[member] == value) for member, value in values if isinstance(value, str) and value}


def _account_users(
    known: Sequence[Call], owner: Mapping[Subject, Subject], subjects: set[Subject], emails: set[tuple[Subject, str, bool]]
) -> set[tuple[Subject, Subject]]:
    users = {owner.get(subject, subject) for subject in subjects if subject[0] == "user"} | {member for member, _, _ in emails}
    last: dict[tuple[Subject, Subject], bool] = {}
    for call in known:
        if call["type"] == "group" and (call.get("userId") or call.get("anonymousId")):
            pair = (("account", call["groupId"]), owner.get(_who(call), _who(call)))
            last[pair] = (call.get("context") or {}).get("left") is True
    return {pair for pair, left in last.items() if not left and pair[1] in users}


def _identifiers(
    known: Sequence[Call], owner: Mapping[Subject, Subject], subjects: set[Subject], emails: set[tuple[Subject, str, bool]]
) -> set[tuple[Subject, str, str, bool]]:
    aliased = {("user", call["previousId"]) for call in known if call["type"] == "alias" and call["previousId"] != call["userId"]}
    shown = subjects | {subject for subject in aliased if ("anonymous", subject[1]) not in subjects}
    kinds = {"user": "user_id", "anonymous": "anonymous_id", "account": "group_id"}
    own = {(owner.get(subject, subject), kinds[subject[0]], subject[1], True) for subject in shown}
    return own | {(member, "email", value, current) for member, value, current in emails}


def _late_claims(known: Sequence[Call], owner: Mapping[Subject, Subject]) -> set[tuple[Subject, Subject, str]]:
    return {(owner[anonymous], user, anonymous[1]) for anonymous, user in _claims(known) if owner.get(user, user) != owner[anonymous]}

"""Audiences and traits for people who live in notebooks: the public Python API, which returns pandas frames and changes nothing.

    from engage_pipelines.notebook import open_project

    with open_project() as project:
        project.audiences()

Instants are taken as ISO 8601 text, date or datetime (without a zone: UTC), and given as datetimes in UTC. Ids are given as text, missing
ones as None; `member` is our own number of a profile. What cannot be done raises an EngageError whose message says the remedy; names that
the facts do not know give a UserWarning. docs/notebooks.md shows it at work.
"""

import json
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import duckdb
import numpy as np
import pandas as pd

from engage_pipelines.computing.explain import Clause, why
from engage_pipelines.computing.history import History
from engage_pipelines.computing.kept_members import changes_sql, members_sql, reading
from engage_pipelines.computing.kept_values import value_changes_sql, values_sql
from engage_pipelines.computing.member_names import describe, find_member
from engage_pipelines.computing.preview import preview, sizes_over_time
from engage_pipelines.computing.questions import Desk, Draft, Question, instants, read_step
from engage_pipelines.computing.trait_questions import ask_trait, described_values, draft_trait, preview_trait
from engage_pipelines.domain.computation import Level, read_level
from engage_pipelines.domain.errors import NotFoundError, UsageError
from engage_pipelines.domain.query.instants import read_instant
from engage_pipelines.registry.database import Database
from engage_pipelines.registry.definitions import type_of_trait
from engage_pipelines.registry.lookup import find_space, find_trait, list_audiences, list_traits
from engage_pipelines.settings import child_environment, read_settings

__all__ = ["Project", "open_project"]

Instant = str | date | datetime
"""An instant as people write it."""

_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_MICROSECOND = timedelta(microseconds=1)


def open_project(home: str | Path | None = None, *, space: str | None = None) -> "Project":
    """The state below `home`, else below ENGAGE_HOME; the space of that key, else ENGAGE_SPACE, else the only one there is.

    Raises NotFoundError when there is nothing, UsageError when there are several spaces and none is named.
    """
    settings = read_settings() if home is None else read_settings(child_environment(ENGAGE_HOME=str(home)))
    if not settings.home.is_dir():
        raise NotFoundError(f"There is no folder {settings.home}.", "Name the folder that ENGAGE_HOME names for the commands.")
    database = Database(settings.database_url)
    try:
        with database.read() as c:
            key = find_space(c, space or settings.space).key
    except BaseException:
        database.close()
        raise
    return Project(Desk(settings, database, key))


@dataclass(frozen=True, slots=True)
class Project:
    """One space of one project; close it, or use it as a context manager."""

    desk: Desk

    def audiences(self) -> pd.DataFrame:
        """One row per audience, by key; `size`, `users`, `version` and `evaluated_at` of the current version, empty without one."""
        with self.desk.database.read() as c:
            rows = list_audiences(c, find_space(c, self.desk.space).id)
        return pd.DataFrame(
            {
                "key": _texts(row.key for row in rows),
                "name": _texts(row.name for row in rows),
                "level": _texts(row.level for row in rows),
                "enabled": np.array([row.enabled for row in rows], dtype=np.bool_),
                **_current([self.desk.history(row.key) for row in rows]),
                "definition": _texts(row.definition for row in rows),
            }
        )

    def members(self, key: str, version: int | None = None, *, users: bool = False) -> pd.DataFrame:
        """One row per member of a version, the current one unless said; with `users`, the users of an audience of accounts."""
        history = self.desk.history(key)
        kept = history.version(version)
        with reading(history) as db:
            return _frame(db, members_sql(history, kept.n, Level.USER if users else history.level))

    def changes(self, key: str, from_version: int, to_version: int) -> pd.DataFrame:
        """One row per member that is in one of the two versions alone; `change` is entered or exited. Version 0 has no members."""
        history = self.desk.history(key)
        for n in (from_version, to_version):
            if n != 0:
                history.version(n)
        with reading(history) as db:
            return _frame(db, changes_sql(history, from_version, to_version))

    def history(self, key: str) -> pd.DataFrame:
        """One row per version, oldest first: state, size, who entered and exited, as of when, under which definition."""
        versions = self.desk.history(key).versions
        counts = ("size", "users", "entered", "exited")
        return pd.DataFrame(
            {
                "version": np.array([each.n for each in versions], dtype=np.int64),
                "evaluated_at": _times([each.evaluated_at_us for each in versions]),
                "state": _texts(each.state for each in versions),
                **{name: np.array([getattr(each, name) for each in versions], dtype=np.int64) for name in counts},
                "definition": _texts(each.definition for each in versions),
            }
        )

    def preview(self, query: str, *, level: str = "user", at: Instant | None = None) -> pd.DataFrame:
        """One row per member that a definition, or the audience of that key, would have; as of the instant, nothing is kept."""
        question = self._question(query, level, at)
        with self.desk.session(question.at_us) as session:
            found = preview(session, question)
            _warn(found.warnings)
            return _frame(session.connection, describe(session, found.chosen, found.level))

    def figures(self, query: str, *, level: str = "user", at: Instant | None = None, against: str | None = None) -> pd.DataFrame:
        """A preview in numbers, a row each, `figure` and `value`: size, users, identifiers held, accounts without users.

        With `against`, also who would enter and exit against the current version of the audience of that key.
        """
        question = self._question(query, level, at)
        with self.desk.session(question.at_us) as session:
            found = preview(session, question)
            _warn(found.warnings)
            details = found.details(sample=0)
            figures = {"size": len(found.chosen), "users": details.users}
            figures |= {f"with {kind}": count for kind, count in details.identifiers.items() if kind != "none"}
            if details.without_users is not None:
                figures["accounts without users"] = details.without_users.accounts
                figures["members without users"] = details.without_users.members
            if against is not None:
                changed = found.against(self._same_level(against, question), sample=0)
                figures |= {"would enter": changed.entered, "would exit": changed.exited, "would stay": changed.stay}
        return pd.DataFrame({"figure": _texts(figures), "value": np.array(list(figures.values()), dtype=np.int64)})

    def traits(self) -> pd.DataFrame:
        """One row per trait that is computed, by key; `size` of the current version counts those who have a value."""
        with self.desk.database.read() as c:
            rows = list_traits(c, find_space(c, self.desk.space).id)
        current = _current([self.desk.history(row.key, find=find_trait) for row in rows])
        return pd.DataFrame(
            {
                "key": _texts(row.key for row in rows),
                "name": _texts(row.name for row in rows),
                "level": _texts(row.level for row in rows),
                "type": _texts(str(type_of_trait(row)) for row in rows),
                "enabled": np.array([row.enabled for row in rows], dtype=np.bool_),
                **{name: column for name, column in current.items() if name != "users"},
                "definition": _texts(row.definition for row in rows),
            }
        )

    def values(self, key: str, version: int | None = None) -> pd.DataFrame:
        """One row per member with a value in a version of a trait, the current one unless said; `value` is what JSON holds."""
        history = self.desk.history(key, find=find_trait)
        kept = history.version(version)
        with reading(history) as db:
            return _with_values(_frame(db, values_sql(history, kept.n)))

    def value_changes(self, key: str, from_version: int, to_version: int) -> pd.DataFrame:
        """One row per member whose value differs between two versions of a trait; `change` is entered, updated or exited.

        Version 0 has no values; where there is none, `before` or `value` is None.
        """
        history = self.desk.history(key, find=find_trait)
        for n in (from_version, to_version):
            if n != 0:
                history.version(n)
        with reading(history) as db:
            return _with_values(_frame(db, value_changes_sql(history, from_version, to_version)))

    def preview_values(self, query: str, *, level: str = "user", at: Instant | None = None) -> pd.DataFrame:
        """One row per member who would have a value by a definition, or by the trait of that key; nothing is kept."""
        at_us = None if at is None else _instant_us(at)
        if _KEY.fullmatch(query):
            question = ask_trait(self.desk, key=query, at_us=at_us)
        else:
            question = ask_trait(self.desk, draft=draft_trait(query, read_level(level)), at_us=at_us)
        with self.desk.session(question.at_us) as session:
            found = preview_trait(session, question)
            _warn(found.warnings)
            return _with_values(_frame(session.connection, described_values(session, found, question.trait.level)))

    def overlap(self, a: str, b: str, *, at: Instant | None = None) -> pd.DataFrame:
        """One row: the sizes of two audiences as of one instant, and what they have in common; of two levels, their users."""
        question = self._question(a, "user", at, keys_only=True)
        with self.desk.session(question.at_us) as session:
            found = preview(session, question)
            common = found.overlap(b)
        _warn(found.warnings)
        row = {"a": a, "b": b, **asdict(common), "level": str(common.level), "share_of_a": common.share, "share_of_b": common.other_share}
        return pd.DataFrame([row]).rename(columns={"size": "size_a", "other_size": "size_b"})

    def sizes_over_time(self, query: str, start: Instant, end: Instant, every: str | timedelta, *, level: str = "user") -> pd.DataFrame:
        """The back-test of a definition or of the audience of that key: one row per instant, with the facts as they were then.

        `entered` and `exited` are since the instant before, missing for the first; `every` is a timedelta or text such as 7d.
        """
        step_us = read_step(every) if isinstance(every, str) else every // _MICROSECOND
        series = instants(_instant_us(start), _instant_us(end), step_us)
        question = self._question(query, level, end)
        found = list(sizes_over_time(self.desk, question, series))
        return pd.DataFrame(
            {
                "at": _times([each.at_us for each in found]),
                "size": np.array([each.size for each in found], dtype=np.int64),
                "users": np.array([each.users for each in found], dtype=np.int64),
                "entered": pd.array([each.entered for each in found], dtype="Int64"),
                "exited": pd.array([each.exited for each in found], dtype="Int64"),
            }
        )

    def explain(self, key: str, member: str, *, at: Instant | None = None) -> pd.DataFrame:
        """Why a member is in or not: one row per clause as written, outermost first, with its depth, outcome and what it saw."""
        question = self._question(key, "user", at, keys_only=True)
        with self.desk.session(question.at_us) as session:
            found = why(session, question, find_member(session, member, question.audience))
        rows = [(depth, clause.text, clause.outcome, _seen(clause)) for depth, clause in _flat(found.clause)]
        return pd.DataFrame(rows, columns=["depth", "clause", "outcome", "seen"])

    def close(self) -> None:
        self.desk.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> Literal[False]:
        self.close()
        return False

    def _question(self, query: str, level: str, at: Instant | None, *, keys_only: bool = False) -> Question:
        at_us = None if at is None else _instant_us(at)
        if keys_only or _KEY.fullmatch(query):
            return self.desk.question(key=query, at_us=at_us)
        return self.desk.question(draft=Draft(query, read_level(level)), at_us=at_us)

    def _same_level(self, key: str, question: Question) -> History:
        history = self.desk.history(key)
        if history.level is not question.audience.level:
            raise UsageError(
                f"Audience {key!r} is of {history.level}s, the preview of {question.audience.level}s.", "Compare like with like."
            )
        return history


def _current(histories: Sequence[History]) -> Mapping[str, object]:
    """Columns about the current versions; empty cells where there is none."""
    current = [None if history.current is None else history.version() for history in histories]
    counts = {
        name: pd.array([None if each is None else getattr(each, name) for each in current], dtype="Int64")
        for name in ("size", "users", "n")
    }
    return {
        "size": counts["size"],
        "users": counts["users"],
        "version": counts["n"],
        "evaluated_at": _times([None if each is None else each.evaluated_at_us for each in current]),
    }


def _frame(db: duckdb.DuckDBPyConnection, query: str) -> pd.DataFrame:
    """What a query finds; texts as objects with None, so that they look the same whatever pandas is there."""
    cursor = db.execute(query)
    names = [column[0] for column in cursor.description or ()]
    columns = list(zip(*cursor.fetchall(), strict=True)) or [()] * len(names)
    return pd.DataFrame(
        {
            name: np.array(column, dtype=np.int64) if name == "member" else _texts(column)
            for name, column in zip(names, columns, strict=True)
        }
    )


def _with_values(frame: pd.DataFrame) -> pd.DataFrame:
    """Values read: numbers, texts, lists and objects in place of their JSON."""
    for name in ("before", "value"):
        if name in frame.columns:
            frame[name] = pd.Series([None if text is None else json.loads(text) for text in frame[name]], dtype=object)
    return frame


def _texts(values: Iterable[str | None]) -> pd.Series:
    return pd.Series(list(values), dtype=object)


def _times(values: Sequence[int | None]) -> pd.Series:
    """Instants to the microsecond, so that every year has its place."""
    stamps = np.array(
        [np.datetime64("NaT", "us") if each is None else np.datetime64(each, "us") for each in values], dtype="datetime64[us]"
    )
    return pd.Series(stamps).dt.tz_localize("UTC")


def _instant_us(at: Instant) -> int:
    if isinstance(at, str):
        return read_instant(at)
    if not isinstance(at, datetime):
        return read_instant(at.isoformat())
    aware = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return (aware - datetime(1970, 1, 1, tzinfo=UTC)) // _MICROSECOND


def _flat(clause: Clause, depth: int = 0) -> Iterable[tuple[int, Clause]]:
    yield depth, clause
    for part in clause.parts:
        yield from _flat(part, depth + 1)


def _seen(clause: Clause) -> dict[str, Any]:
    if clause.users is None:
        return dict(clause.seen)
    return {"matching": clause.users.matching, "total": clause.users.total}


def _warn(sentences: Iterable[str]) -> None:
    for sentence in sentences:
        warnings.warn(sentence, stacklevel=3)

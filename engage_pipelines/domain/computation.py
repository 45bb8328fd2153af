"""Computations: audiences (and traits) as the rest of the product sees them."""

import re
from dataclasses import dataclass, field
from enum import StrEnum

from engage_pipelines.domain.errors import ConfigurationError


class Level(StrEnum):
    """Whose set it is: users or accounts."""

    USER = "user"
    ACCOUNT = "account"


LEVELS = {"user": Level.USER, "USERS": Level.USER, "account": Level.ACCOUNT, "ACCOUNTS": Level.ACCOUNT}
"""What people call the levels: in the query language's files, and as Segment's API spells them."""


def read_level(text: str) -> Level:
    """The level that `user`, `account`, `USERS` or `ACCOUNTS` stands for. Raises ConfigurationError for other words."""
    if text not in LEVELS:
        raise ConfigurationError(f"{text!r} is no level.", "Write user or account.")
    return LEVELS[text]


class EmptyAccounts(StrEnum):
    """What ANY, ALL and `ALL NOT` say of an account without users; `default` is false, false and true."""

    DEFAULT = "default"
    TRUE = "true"
    FALSE = "false"


EXTERNAL_IDS = ("android.idfa", "email", "ios.idfa", "user_id")
"""A profile that holds one of these can be a member, unless an audience says otherwise."""
ANONYMOUS_ID = "anonymous_id"
"""Admits profiles that nobody has identified yet, when an audience asks for it."""


@dataclass(frozen=True, slots=True)
class Audience:
    """What it takes to evaluate an audience; `definition` is text in the query language.

    `external_ids`, sorted, are the identifiers of which a user must hold one. If `events_since_us` is set, only events from then on count.
    """

    id: str
    key: str
    level: Level
    definition: str
    empty_accounts: EmptyAccounts = EmptyAccounts.DEFAULT
    external_ids: tuple[str, ...] = EXTERNAL_IDS
    events_since_us: int | None = None


class TraitType(StrEnum):
    """How a trait is computed: by the query language, or by a SELECT of people's own."""

    COMPUTED = "computed"
    SQL = "sql"


class AccountTraitConflict(StrEnum):
    """What a user of several accounts has of a trait of theirs: the value of the account with the latest Group call, all values, or none.

    With `skip` those whose accounts agree have the value. Accounts without a value take no part.
    """

    LATEST = "latest"
    LIST = "list"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class TraitComputation:
    """What it takes to evaluate a trait; `definition` is text in the query language, or a SELECT.

    `former_columns` are those that the values of a SELECT had before: the ones that it has no more are null.
    """

    id: str
    key: str
    level: Level
    definition: str
    type: TraitType = TraitType.COMPUTED
    conflict: AccountTraitConflict = AccountTraitConflict.LATEST
    former_columns: tuple[str, ...] = ()


Computation = Audience | TraitComputation


@dataclass(frozen=True, slots=True)
class ComputationRef:
    """What a record says about where it comes from (`context.personas`)."""

    id: str
    key: str
    space_id: str
    computation_class: str = "audience"
    spreads: bool = False
    """Its values are objects whose members are traits of their own: those of a SELECT's columns."""
    audience_settings: dict[str, object] = field(default_factory=dict)


_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
MAX_KEY_LENGTH = 255


def check_key(key: str, what: str = "key") -> str:
    """The key itself, if it can be a key: a legal trait name. Raises ConfigurationError otherwise."""
    if len(key) > MAX_KEY_LENGTH or not _KEY.match(key):
        raise ConfigurationError(
            f"{what} {key[:80]!r} is not a legal key.",
            f"Use a letter, then letters, digits and underscores, at most {MAX_KEY_LENGTH} characters.",
        )
    return key

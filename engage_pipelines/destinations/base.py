"""The contract of a destination type: what it takes, how a request to it is built, what its answers mean.

A type is one class in one file. It never touches the registry, the clock or the disk of the product: the engine hands it settings with
the secrets resolved, and records that are rendered and frozen. Building a request and reading an answer are pure; sending is the
transport's job (`http` for vendors with an API, the type itself for files and tables).

What a batch may come back as (`Verdict`):

| verdict | meaning for the engine |
|---|---|
| Accepted(rejected) | every record was taken, but for those listed by their index with the vendor's reason |
| Bisect(reason) | the batch is refused because of what is in it: halve it until the poison records are alone |
| Backoff(reason, after_s) | nothing is known or the vendor is ill: try the same bytes again later |
| Pause(after_s) | the vendor asks everyone to wait; not a try |
| Stop(reason, remedy) | the whole sync is refused: credentials, address, schema |
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict


class MembershipAs(StrEnum):
    """How a type takes membership."""

    USER_PROPERTY = "user_property"
    USER_LIST = "user_list"


class Effect(StrEnum):
    """What a repeat of the same record does outside; shown when connecting."""

    IDEMPOTENT = "idempotent"
    DEDUPES = "dedupes"
    AT_LEAST_ONCE = "at_least_once"


class Settings(BaseModel):
    """Base of every type's settings; a secret is a field of type `pydantic.SecretStr`."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may carry."""

    max_batch_records: int = 1_000
    max_batch_bytes: int = 4_000_000
    max_record_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that a type can do with a record.

    `fields` is the default mapping, in the mapping kit's language; `batch_keys` name the payload fields whose values must be equal in a batch.
    `direction` says which changes the action serves: both (the membership is in the payload), or entries or exits alone.
    """

    key: str
    name: str
    calls: frozenset[str]
    fields: Mapping[str, Any]
    direction: Literal["both", "entered", "exited"] = "both"
    batch_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Preset:
    """A mapping made when a destination is connected; `trigger` is FQL, `{key}` in it stands for the computation's key."""

    name: str
    call: str
    trigger: str
    action: str


@dataclass(frozen=True, slots=True)
class Record:
    """One rendered payload: `body` is JSON in UTF-8 and never changes, `address` is what the destination matches by."""

    message_id: str
    address: str
    entered: bool
    body: bytes


@dataclass(frozen=True, slots=True)
class Accepted:
    """Every record was taken but those of `rejected`: index in the batch -> the vendor's reason."""

    rejected: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Bisect:
    reason: str


@dataclass(frozen=True, slots=True)
class Backoff:
    reason: str
    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    after_s: float


@dataclass(frozen=True, slots=True)
class Stop:
    reason: str
    remedy: str


Verdict = Accepted | Bisect | Backoff | Pause | Stop


@dataclass(frozen=True, slots=True)
class ListRow:
    """One member of a user list, for types that write the list as a whole."""

    address: str
    user_id: str | None
    email: str | None
    traits: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """Which computation a batch belongs to; `level` is user or account, `generation` orders the writes of one connection."""

    space: str
    computation: str
    level: Literal["user", "account"]
    generation: int


class DestinationType(ABC):
    """One vendor or one kind of place. Instances hold no state: one object serves every configured destination of the type."""

    key: ClassVar[str]
    name: ClassVar[str]
    description: ClassVar[str]
    docs_url: ClassVar[str]
    membership_as: ClassVar[MembershipAs]
    effect: ClassVar[Effect]
    dedupe_window_s: ClassVar[int | None] = None
    settings_model: ClassVar[type[Settings]]
    actions: ClassVar[tuple[Action, ...]]
    presets: ClassVar[tuple[Preset, ...]]
    limits: ClassVar[Limits] = Limits()
    user_address_kinds: ClassVar[tuple[str, ...]] = ("user_id", "anonymous_id")
    """Identifiers that the type can match a person by, the preferred first."""
    group_needs_a_user: ClassVar[bool] = False
    """True when the type refuses a Group without a user: the record then carries an anonymousId that is the same for every call of the account."""
    users_first: ClassVar[bool] = False

    def writes_whole_list(self, settings: Settings) -> bool:
        """True when the list is replaced as a whole: `write_list` is called instead of `send`, and a generation has no upper bound."""
        return False

    def external_target(self, settings: Settings, target: Target) -> str | None:
        """The external list, path or table that the connection would own, or None when nothing is exclusive."""
        return None

    @abstractmethod
    def send(self, records: Sequence[Record], *, action: str, settings: Settings, target: Target, deadline_s: float) -> Verdict:
        """Send one batch and say what became of it; never longer than `deadline_s`. Raises nothing that the network can cause."""

    def write_list(self, rows: Iterator[Sequence[ListRow]], *, settings: Settings, target: Target) -> Verdict:
        """Replace the list by `rows` (chunks in address order), all or nothing."""
        raise NotImplementedError(f"{self.key} takes changes, not whole lists")

    def test(self, settings: Settings) -> Verdict:
        """Try the credentials or the place without sending anyone; `Accepted` when it works."""
        return Accepted()

"""The contract of a destination type: what it takes, how a request to it is built, what its answers mean.

A type is one class in one file. It never touches the registry, the clock or the disk of the product: the engine hands it settings with
the secrets resolved, and records that are rendered and frozen. Building a request and reading an answer are pure; sending is the
transport's job (`http` for vendors with an API, the type itself for files and tables). Types are looked at by commands that must be quick:
nothing heavier than pydantic is imported when the file of a type is.

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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from pydantic import ValidationError

from engage_pipelines.destinations.authentication import Authentication
from engage_pipelines.destinations.fields import Field, default_mapping, fields_schema
from engage_pipelines.destinations.settings_model import Settings, form_schema
from engage_pipelines.domain.errors import ConfigurationError


class MembershipAs(StrEnum):
    """How a type takes membership."""

    USER_PROPERTY = "user_property"
    USER_LIST = "user_list"


class Effect(StrEnum):
    """What a repeat of the same record does outside; shown when connecting."""

    IDEMPOTENT = "idempotent"
    DEDUPES = "dedupes"
    AT_LEAST_ONCE = "at_least_once"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may carry. A batch weighs the bytes of its bodies plus one for each; the frame around them is already taken off.

    `requests_per_s` is the pace the vendor's documents allow one destination, None where they name none. `max_in_flight` requests are under
    way at once, never two about the same address: more than one asks of the type that `send` may be called by several threads.
    """

    max_batch_records: int = 1_000
    max_batch_bytes: int = 4_000_000
    max_record_bytes: int | None = None
    requests_per_s: float | None = None
    max_in_flight: int = 1


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that a type can do with a record.

    `calls` are among identify, track and group. `fields` is the default mapping, in the mapping kit's language. `batch_keys` name the
    payload fields whose values must be equal in a batch. `direction` says which changes the action serves: both (the membership is in the
    payload), or entries or exits alone. `inputs` are the typed fields of the payload; the default mapping then comes from them. `limits`
    are the action's own, where the type's actions go to endpoints that take different batches. `sync_modes` are those among upsert, add,
    update, delete and mirror that a mapping may ask for, the usual one first; the mapping says it under `SYNC_MODE`.
    """

    key: str
    name: str
    calls: frozenset[str]
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The record itself, untouched, is `{"@path": "$."}`: the engine then hands on the rendered bytes without mapping them."""
    direction: Literal["both", "entered", "exited"] = "both"
    batch_keys: tuple[str, ...] = ()
    inputs: tuple[Field, ...] = ()
    limits: Limits | None = None
    sync_modes: tuple[str, ...] = ()
    effect: Effect | None = None
    """Where it differs from the type's."""

    def __post_init__(self) -> None:
        if self.inputs and not self.fields:
            object.__setattr__(self, "fields", default_mapping(self.inputs))

    def schema(self) -> dict[str, Any]:
        """The payload as JSON Schema, for forms; an action without typed fields takes any object."""
        return fields_schema(self.inputs) if self.inputs else {"type": "object"}


@dataclass(frozen=True, slots=True)
class Preset:
    """A mapping made when a destination is connected; `trigger` is FQL, `{key}` in it stands for the computation's key.

    `fields` is its mapping where it differs from the action's default.
    """

    name: str
    call: str
    trigger: str
    action: str
    fields: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One rendered payload: `body` is JSON in UTF-8 and never changes, `address` is what the destination matches by."""

    message_id: str
    address: str = field(repr=False)
    entered: bool
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Accepted:
    """Every record was taken but those of `rejected`: index in the batch -> the vendor's reason."""

    rejected: Mapping[int, str] = field(default_factory=dict[int, str])


@dataclass(frozen=True, slots=True)
class Bisect:
    """Something in the batch is refused, and the answer does not say which; never the verdict on a single record."""

    reason: str


@dataclass(frozen=True, slots=True)
class Backoff:
    """Nothing is known, or the destination is ill; `after_s` is its own wish, None when it has none."""

    reason: str
    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """Everyone is asked to wait `after_s` seconds, at least one; the records were not taken."""

    after_s: float


@dataclass(frozen=True, slots=True)
class Stop:
    """Nothing of the sync can be taken until somebody follows the remedy."""

    reason: str
    remedy: str


Verdict = Accepted | Bisect | Backoff | Pause | Stop


@dataclass(frozen=True, slots=True)
class ListRow:
    """One member of a user list, for types that write the list as a whole; `traits` holds what `list_traits` asked for."""

    address: str = field(repr=False)
    user_id: str | None = field(repr=False)
    email: str | None = field(repr=False)
    traits: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)


@dataclass(frozen=True, slots=True)
class Target:
    """Which computation a batch belongs to; `level` is user or account, `generation` orders the writes of one connection.

    `name` is what people call the computation. `external_id` is the vendor's id of the connection's list, once `find_list` or `create_list`
    gave it; `list_settings` are the connection's own settings for that list.
    `mark` tells it from a list of the same name that another connection has; empty while there is none.
    """

    space: str
    computation: str
    level: Literal["user", "account"]
    generation: int = 0
    name: str = ""
    external_id: str | None = None
    list_settings: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    mark: str = ""

    def list_name(self, said: str | None = None, *, longest: int = 255, cut: str = "") -> str:
        """What the connection's list is called: as people said, else like the computation, with the mark; `cut` ends a name cut short."""
        name, mark = said or self.name or self.computation, f" ({self.mark})" if self.mark and not said else ""
        room = longest - len(mark)
        return (name if len(name) <= room else name[: room - len(cut)] + cut) + mark


@dataclass(frozen=True, slots=True)
class ListId:
    """The vendor's id of a list; the engine remembers it as the connection's `external_id`."""

    value: str


SYNC_MODE = "__segment_internal_sync_mode"
"""The key of a mapping, and so of its payloads, under which the sync mode is said."""


class DestinationType(ABC):
    """One vendor or one kind of place. Instances hold no state: one object serves every configured destination of the type."""

    key: ClassVar[str]
    name: ClassVar[str]
    description: ClassVar[str]
    docs_url: ClassVar[str]
    membership_as: ClassVar[MembershipAs]
    """What the type does by default; ask `takes_membership_as` for a configured destination."""
    membership_alone: ClassVar[bool] = False
    """True where values of traits fit nowhere, whatever the settings."""
    effect: ClassVar[Effect]
    dedupe_window_s: ClassVar[int | None] = None
    settings_model: ClassVar[type[Settings]]
    actions: ClassVar[tuple[Action, ...]]
    presets: ClassVar[tuple[Preset, ...]]
    limits: ClassVar[Limits] = Limits()
    user_address_kinds: ClassVar[tuple[str, ...]] = ("user_id", "anonymous_id")
    """Identifiers that the type can match a person by, the preferred first; after `user_id` the others are for people without one."""
    group_needs_a_user: ClassVar[bool] = False
    """True when a Group without a user is refused: the record then carries an anonymousId that stays the same for the account."""
    users_first: ClassVar[bool] = False
    """True when an account can only be told after its users were: the engine then sends people before Groups."""
    authentication: ClassVar[Authentication | None] = None
    """How requests are vouched for; None when the type does that itself, or there is nothing to vouch for."""
    creates_lists: ClassVar[bool] = False
    """True when each connection has a list of its own outside: `find_list`, then `create_list`, before the first batch."""
    list_ids_are_unique: ClassVar[bool] = False
    """True when no two accounts at the vendor have lists of the same id."""
    list_settings_model: ClassVar[type[Settings] | None] = None
    """What people may say of a connection's list."""
    minimum_list_size: ClassVar[int] = 0
    """Members that a list needs before the vendor uses it (0: any number); shown when connecting, nothing is held back."""
    min_interval_s: ClassVar[int] = 0
    """Seconds that must lie between two syncs of one connection, for vendors that take a list now and then."""
    segment_slugs: ClassVar[tuple[str, ...]] = ()
    """What Segment calls this type: slugs of its catalogue and of its open-source packages; for imports."""
    segment_actions: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Segment's name of an action, and ours."""
    segment_fields_that_are_settings: ClassVar[tuple[str, ...]] = ()
    """Fields of Segment's actions that are settings of the destination here: `settings_from_segment` is told them too."""

    def configure(self, values: Mapping[str, Any], *, files_dir: Path) -> Settings:
        """The settings that people wrote (secrets resolved, or still references when they are only checked), with what the operator adds.

        Raises ConfigurationError that names each field and what is wrong with it, never a value.
        """
        given = dict(values)
        if "files_dir" in given:
            raise ConfigurationError(f"{self.key}: files_dir is the operator's to set.", "Leave it out; it is ENGAGE_FILES_DIR.")
        if "files_dir" in self.settings_model.model_fields:
            given["files_dir"] = files_dir
        try:
            return self.settings_model.model_validate(given)
        except ValidationError as error:
            raise self._not_settings(error) from None

    def _not_settings(self, error: ValidationError) -> ConfigurationError:
        found = error.errors(include_input=False)
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'settings'}: {item['msg'].removeprefix('Value error, ')}" for item in found
        )
        fields = self.settings_model.model_fields
        known = ", ".join(f"{name}{'' if fields[name].is_required() else ' (optional)'}" for name in fields if name != "files_dir")
        return ConfigurationError(f"settings of a {self.key} destination do not fit: {problems}.", f"The settings are: {known}.")

    def takes_membership_as(self, settings: Settings) -> MembershipAs:
        """How this destination takes membership, where a setting decides."""
        return self.membership_as

    def takes_values(self, settings: Settings) -> bool:
        """Whether this destination takes values of traits, and not membership alone."""
        return not self.membership_alone and self.takes_membership_as(settings) is MembershipAs.USER_PROPERTY

    def limits_with(self, settings: Settings) -> Limits:
        """What one request of this destination may carry, where a setting decides."""
        return self.limits

    def limits_of(self, action: str, settings: Settings) -> Limits:
        """What one request of this action may carry."""
        return self.action(action).limits or self.limits_with(settings)

    def action(self, key: str) -> Action:
        """The action of that key. Raises ConfigurationError, since a mapping outlives the type that it was made for."""
        for one in self.actions:
            if one.key == key:
                return one
        known = ", ".join(one.key for one in self.actions)
        raise ConfigurationError(f"destination type {self.key} has no action {key[:80]!r}.", f"It has {known}.")

    def settings_from_segment(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Our settings for those of Segment's destination of this kind; what we do not know is left out."""
        return {name: value for name, value in values.items() if name in self.settings_model.model_fields}

    def fields_from_segment(self, fields: Mapping[str, Any]) -> tuple[Mapping[str, Any], Sequence[str]]:
        """Our fields of an action for those of Segment's subscription, and in words what is other then."""
        return fields, ()

    def type_from_segment(self, fields: Mapping[str, Any]) -> str:
        """The key of the type that a subscription with these fields belongs to, where a part of Segment's is a type of its own here."""
        return self.key

    def settings_schema(self) -> dict[str, Any]:
        """The settings as JSON Schema, for forms: secrets are `writeOnly`, what the operator fills in is left out."""
        return form_schema(self.settings_model)

    def list_settings_schema(self) -> dict[str, Any] | None:
        """The settings of a connection's list as JSON Schema, None when there are none."""
        return None if self.list_settings_model is None else form_schema(self.list_settings_model)

    def integrations(self, settings: Settings, destination: str) -> Mapping[str, bool]:
        """The `integrations` object of the records for the destination of that name."""
        return {"All": False, destination: True}

    def list_traits(self, settings: Settings) -> tuple[str, ...]:
        """Traits that each row of a whole list should carry."""
        return ()

    def writes_whole_list(self, settings: Settings) -> bool:
        """True when the list is replaced as a whole: `write_list` is called instead of `send`, and a generation has no upper bound."""
        return False

    def external_target(self, settings: Settings, target: Target) -> str | None:
        """The external list, path or table that the connection would own, or None when nothing is exclusive. Holds no secret.

        Two connections with the same answer cannot both be; `target.generation` plays no part in it.
        """
        return None

    @abstractmethod
    def send(self, records: Sequence[Record], *, action: str, settings: Settings, target: Target, deadline_s: float) -> Verdict:
        """Send one batch of one action and say what became of it; never longer than `deadline_s`.

        No records: nothing is sent and the answer is `Accepted()`. A batch above the limits is not sent either. The same records again make
        the same bytes. Raises nothing that the network, a disk or a server can cause. The records are made when they are looked at:
        a type that passes the bodies on as they are asks `joined` and `weight_of` instead.
        """

    def write_list(self, rows: Iterator[Sequence[ListRow]], *, settings: Settings, target: Target) -> Verdict:
        """Replace the list by `rows` (chunks in address order), all or nothing; no rows make an empty list, the same rows the same list."""
        raise NotImplementedError(f"{self.key} takes changes, not whole lists")

    def find_list(self, *, settings: Settings, target: Target, deadline_s: float) -> ListId | Verdict | None:
        """The list that is there for the connection: the one of `target.external_id` when it still is, else one of the same name.

        None when there is none; a verdict (never Accepted) when that cannot be told. Changes nothing.
        """
        raise NotImplementedError(f"{self.key} keeps no lists of its own")

    def create_list(self, *, settings: Settings, target: Target, deadline_s: float) -> ListId | Verdict:
        """Make the connection's list, empty. Called after `find_list` found none; a verdict (never Accepted) when it cannot be made."""
        raise NotImplementedError(f"{self.key} keeps no lists of its own")

    def test(self, settings: Settings) -> Verdict:
        """Try the credentials or the place without sending anyone; `Accepted` when it works."""
        return Accepted()


def joined(records: Sequence[Record], separator: bytes, *, before: bytes = b"", after: bytes = b"") -> bytes:
    """The bodies with the separator between them and something around; no record is made where the engine has them in one piece."""
    join = cast("Callable[[bytes, bytes, bytes], bytes] | None", getattr(records, "joined", None))
    if join is not None:
        return join(separator, before, after)
    return b"".join((before, separator.join(record.body for record in records), after))


def weight_of(records: Sequence[Record]) -> tuple[int, int]:
    """Bytes of all bodies together and of the largest; no record is made where the engine knows them."""
    known = cast("tuple[int, int] | None", getattr(records, "weight", None))
    if known is not None:
        return known
    sizes = [len(record.body) for record in records]
    return sum(sizes), max(sizes, default=0)


def refuse_oversize(records: Sequence[Record], limits: Limits) -> Verdict | None:
    """The verdict on a batch that may not be sent as it is, or None when it fits: a record above its limit is refused with its size."""
    weight, largest = weight_of(records)
    if len(records) == 1:
        most = min(limits.max_record_bytes or limits.max_batch_bytes, limits.max_batch_bytes - 1)
        return Accepted({0: f"the record has {largest} bytes, the destination takes at most {most}"}) if largest > most else None
    fits = len(records) <= limits.max_batch_records and weight + len(records) <= limits.max_batch_bytes
    if fits and largest <= (limits.max_record_bytes or limits.max_batch_bytes):
        return None
    return Bisect(f"{len(records)} records of {weight} bytes are more than the destination takes at once")

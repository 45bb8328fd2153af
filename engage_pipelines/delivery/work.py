"""One connection as a run works on it: what it joins, what counts as an address, which mappings fire, and where its files lie."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import orjson
import sqlalchemy as sa

from engage_pipelines.delivery import state
from engage_pipelines.delivery.counted import Counted
from engage_pipelines.delivery.enrich import Riding, riding_of
from engage_pipelines.delivery.render import CompiledMapping, compile_mappings, directions
from engage_pipelines.delivery.runtime import Runtime
from engage_pipelines.delivery.send import Outside
from engage_pipelines.delivery.state import ConnectionRow, MappingRow
from engage_pipelines.destinations.base import DestinationType, MembershipAs, Settings, Target
from engage_pipelines.domain.computation import ComputationRef
from engage_pipelines.domain.connection import Sample, sample_records
from engage_pipelines.domain.enrichment import enrichment_in
from engage_pipelines.domain.id_sync import rules_in
from engage_pipelines.domain.instants import to_iso
from engage_pipelines.domain.protocol import Aim, ReplicaState
from engage_pipelines.domain.records import TRAIT, Envelope
from engage_pipelines.registry.access_tokens import settings_for_sending
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.tables import destination as destinations
from engage_pipelines.registry.type_settings import masked_settings
from engage_pipelines.registry.versions import published_versions
from engage_pipelines.snapshots.rows import Chain, EmptiedChain

Level = Literal["account", "user"]
SETTINGS = "settings"
"""The key, beside the ids of mappings, under which `Work.made_with` says which settings records were made for."""


@dataclass(frozen=True, slots=True)
class Work:
    """Everything of a connection that stays for a run, read together: what changes meanwhile is the next run's."""

    runtime: Runtime
    connection: ConnectionRow
    type: DestinationType
    settings: Settings
    mappings: tuple[CompiledMapping, ...]
    chain: Chain
    resync_numbers: Mapping[str, int]
    riding: Riding = field(default_factory=Riding)
    """Traits that go beside the membership or the value."""

    @property
    def folder(self) -> Path:
        """Where the files of generations lie."""
        return self.runtime.settings.generations_dir

    @property
    def reference(self) -> ComputationRef:
        """What every record says about where it comes from."""
        of = self.connection
        return ComputationRef(
            of.computation_id, of.computation_key, of.space_id, of.kind, spreads=of.is_sql, audience_settings=dict(self.list_settings)
        )

    @property
    def list_settings(self) -> Mapping[str, Any]:
        """What people said of the connection's list."""
        return self.connection.options.get("list_settings", {})

    def path(self, generation: int) -> Path:
        return self.folder / f"{generation}.parquet"

    def counted(self, level: str) -> Counted:
        """Which rows of a version count: vendors merge people, so a user property keeps the former addresses of members too."""
        with_former = self.type.takes_membership_as(self.settings) is MembershipAs.USER_PROPERTY
        if level != "user":
            return Counted(level, ("group_id",), with_former)
        told = tuple(self.connection.options.get("id_kinds", ()))
        return Counted(level, self.type.user_address_kinds, with_former, rules_in(self.connection.options), told)

    def members_as(self, levels: Iterable[str]) -> str:
        """A digest of the version and of the rules by which its members are matched."""
        rules = [self.counted(level).picks() for level in levels]
        return hashlib.sha256(orjson.dumps([self.connection.current, rules])).hexdigest()

    def outside(self, level: str, generation: int) -> Outside:
        side: Level = "account" if level == "account" else "user"
        of = self.connection
        target = Target(
            of.space_key,
            of.computation_key,
            side,
            generation,
            name=of.computation_name,
            external_id=of.external_id,
            list_settings=self.list_settings,
        )
        return Outside(self.type, self.settings, target, of.destination_id)

    def envelope(self, *, evaluated_at_us: int, planned_at_us: int) -> Envelope:
        """Clock fields and routing of every record of a generation, frozen with it."""
        return Envelope(
            computation=self.reference,
            timestamp=to_iso(evaluated_at_us),
            sent_at=to_iso(planned_at_us),
            integrations=self.type.integrations(self.settings, self.connection.destination_name),
            external_audience_id=self.connection.external_id,
            also_as=[(rule.kind, rule.map_to) for rule in rules_in(self.connection.options) if rule.map_to],
        )

    def directions(self) -> Mapping[str, frozenset[bool]]:
        """Per level the values that an enabled mapping would send."""
        return directions(self.mappings, self.samples())

    def samples(self) -> Iterator[Sample]:
        """An entry and an exit for each call, as the connection would send them."""
        of = self.connection
        return sample_records(
            self.reference,
            calls=of.calls,
            destination_name=of.destination_name,
            external_audience_id=of.external_id,
            triggers=[mapping.trigger for mapping in self.mappings],
            riding=self.riding.names,
        )

    @property
    def made_with(self) -> Mapping[str, Any]:
        """What the records of a generation are made with: each mapping's revision, and a digest of what may be shown of the settings."""
        shown = orjson.dumps(masked_settings(self.type, self.connection.settings), option=orjson.OPT_SORT_KEYS)
        return {SETTINGS: hashlib.sha256(shown).hexdigest()[:16], **{mapping.row.id: mapping.row.revision for mapping in self.mappings}}

    def replicas(self, c: sa.Connection) -> list[ReplicaState]:
        """The replicas as they stand, but with mappings and resync numbers as opened: a resync may be there for a later mapping's sake."""
        found = state.load_replicas(c, self.connection.id, self.directions(), self.runtime.database.now_us(c))
        return [replace(one, resync_no=self.resync_numbers.get(one.name, one.resync_no)) for one in found]

    @property
    def aim(self) -> Aim:
        return Aim(self.connection.current, "user" if self.type.users_first else "account")


def open_work(runtime: Runtime, connection_id: str) -> Work:
    """Look the connection up. Raises ConfigurationError for settings or a secret that cannot be used, NotFoundError for a missing type."""

    def look(c: sa.Connection) -> tuple[ConnectionRow, tuple[MappingRow, ...], Sequence[tuple[int, bool]], Mapping[str, int], Row]:
        connection = state.load_connection(c, connection_id)
        return (
            connection,
            state.load_mappings(c, connection),
            published_versions(c, connection.computation_id),
            state.load_resync_numbers(c, connection_id),
            c.execute(sa.select(destinations).where(destinations.c.id == connection.destination_id)).one(),
        )

    connection, rows, versions, resync_numbers, destination = runtime.database.ask(look)
    destination_type = runtime.type_of(connection.destination_type)
    settings: Settings = settings_for_sending(runtime.registry, destination_type, destination)
    actions = {action.key: (action.calls, action.batch_keys) for action in destination_type.actions}
    chain = chain_of(runtime, connection, versions)
    riding = runtime.database.ask(lambda c: riding_of(c, runtime.settings, connection)) if enrichment_in(connection.options) else Riding()
    return Work(runtime, connection, destination_type, settings, compile_mappings(rows, actions), chain, resync_numbers, riding)


def chain_of(runtime: Runtime, connection: ConnectionRow, versions: Iterable[tuple[int, bool]]) -> Chain:
    """The versions of what the connection sends; one that leaves has an empty one at its end."""
    kind = EmptiedChain if connection.leaves else Chain
    folder = runtime.settings.snapshots_dir / connection.space_key / connection.computation_key
    return kind.of(folder, versions, has_values=connection.kind == TRAIT)

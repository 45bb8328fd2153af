"""The tables of the control plane and of the ledger, for SQLite and PostgreSQL alike.

Instants (`*_at`, `not_before`, `*_until`) are UTC microseconds since 1970 as integers. Ids are text with a prefix that says what they name
(`spa_`, `src_`, `dst_`, `aud_`, `con_`, `map_`, `req_`, `cmp_`). The schema's revision lives in `alembic_version`; `migrations/` makes it.
Partial indexes stand in `indexes`.
"""

from typing import Any

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Instant = sa.BigInteger
Id = sa.String(64)
Key = sa.String(255)
Address = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
"""Text whose order is by code point in every database, as in Python and in the files; PostgreSQL's own order depends on its locale."""


def _timestamps() -> list[sa.Column[Any]]:
    return [sa.Column("created_at", Instant, nullable=False), sa.Column("updated_at", Instant, nullable=False)]


def _managed_by() -> sa.Column[Any]:
    """`config:<path>` for what YAML owns, null for what was made by hand."""
    return sa.Column("managed_by", sa.Text)


space = sa.Table(
    "space",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("key", Key, nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("evaluate_at", Instant, comment="pins the instant of every evaluation; null means now"),
    sa.Column("one_configuration_per_type", sa.String(16), nullable=False, server_default="space", comment="space or audience"),
    sa.Column("facts", sa.JSON(none_as_null=True), comment="mapping onto a warehouse; null: the facts that were ingested"),
    _managed_by(),
    *_timestamps(),
)

source = sa.Table(
    "source",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("space_id", Id, sa.ForeignKey("space.id"), nullable=False),
    sa.Column("key", Key, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    _managed_by(),
    *_timestamps(),
    sa.UniqueConstraint("space_id", "key"),
)

destination = sa.Table(
    "destination",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("space_id", Id, sa.ForeignKey("space.id"), nullable=False),
    sa.Column("source_id", Id, sa.ForeignKey("source.id"), comment="set: a configuration on a source; null: a destination of the space"),
    sa.Column("key", Key, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("type", sa.String(64), nullable=False),
    sa.Column("settings", sa.JSON, nullable=False, comment="secrets as references (env:NAME, file:/path) or encrypted, never in the clear"),
    sa.Column("enabled", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("imported_from", Id, comment="the destination whose settings were copied"),
    sa.Column("paused_until", Instant, comment="the vendor asked for a pause; holds for every process"),
    sa.Column("max_requests_per_s", sa.Float, comment="the operator's own limit; null: the type's alone"),
    sa.Column("removed_at", Instant),
    _managed_by(),
    *_timestamps(),
)

pace = sa.Table(
    "pace",
    metadata,
    sa.Column("destination_id", Id, sa.ForeignKey("destination.id"), primary_key=True),
    sa.Column("next_at", Instant, nullable=False, server_default="0", comment="when the next permission to send holds"),
    sa.Column("slowed_to", sa.Float, comment="requests per second after a 429; null: the usual rate"),
    sa.Column("usual_rate", sa.Float, comment="where slowed_to climbs back to"),
    sa.Column("slowed_at", Instant, nullable=False, server_default="0"),
    sa.Column("raised_at", Instant, nullable=False, server_default="0"),
    sa.Column("failures", sa.Integer, nullable=False, server_default="0", comment="requests in a row without a usable answer"),
    sa.Column("failed_at", Instant, nullable=False, server_default="0"),
    sa.Column("rests", sa.Integer, nullable=False, server_default="0", comment="runs in a row that gave up"),
    sa.Column("rest_until", Instant, nullable=False, server_default="0", comment="nobody tries before"),
    sa.Column("tried_by", Id, comment="the one connection that goes on trying"),
    sa.Column("tried_until", Instant, nullable=False, server_default="0", comment="until when it is believed to be at it"),
)

access_token = sa.Table(
    "access_token",
    metadata,
    sa.Column("destination_id", Id, sa.ForeignKey("destination.id"), primary_key=True),
    sa.Column("sealed", sa.Text, comment="the token and what it was bought with, encrypted with ENGAGE_KEYS; null before the first"),
    sa.Column("renewed_at", Instant),
    sa.Column("renewing_by", sa.String(64), comment="who buys a new one"),
    sa.Column("renewing_until", Instant, nullable=False, server_default="0", comment="until when the others wait for it"),
)

computation = sa.Table(
    "computation",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("space_id", Id, sa.ForeignKey("space.id"), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False, comment="audience or trait"),
    sa.Column("key", Key, nullable=False, comment="immutable, and not reusable after deletion"),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False, server_default=sa.text("''")),
    sa.Column("level", sa.String(16), nullable=False, comment="user or account"),
    sa.Column("definition", sa.Text, nullable=False),
    sa.Column("options", sa.JSON, nullable=False, comment="empty_accounts and its kin; absent means the default"),
    sa.Column("cadence", sa.String(64), nullable=False, comment="a cron line in UTC, or manual"),
    sa.Column("enabled", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("current_version", sa.Integer, comment="the published version; null before the first"),
    sa.Column("checked_at", Instant, comment="evaluated_at of the last evaluation, also when it changed nothing"),
    sa.Column("inputs_digest", sa.Text, comment="definition and facts of the last evaluation"),
    sa.Column("next_change_at", Instant, comment="first instant at which time alone can change a member; null is unknown"),
    sa.Column("last_error", sa.Text, comment="why the last evaluation failed; null when it did not"),
    sa.Column("last_run_id", sa.String(64)),
    sa.Column("deleted_at", Instant),
    _managed_by(),
    *_timestamps(),
    sa.UniqueConstraint("space_id", "key"),
)

version = sa.Table(
    "version",
    metadata,
    sa.Column("computation_id", Id, sa.ForeignKey("computation.id"), primary_key=True),
    sa.Column("n", sa.Integer, primary_key=True),
    sa.Column("state", sa.String(16), nullable=False, index=True, comment="reserved, published, held, discarded"),
    sa.Column("evaluated_at", Instant, nullable=False),
    sa.Column("definition", sa.Text, nullable=False),
    sa.Column("size", sa.Integer, comment="members at the computation's own level"),
    sa.Column("users", sa.Integer, comment="users; equals size at user level"),
    sa.Column("entered", sa.Integer),
    sa.Column("exited", sa.Integer),
    sa.Column("updated", sa.Integer, comment="of traits: members whose value is another one"),
    sa.Column("digest", sa.String(64)),
    sa.Column("is_full", sa.Boolean, comment="a full snapshot, or the changes since n-1 alone"),
    sa.Column("reason", sa.Text, comment="why it is held"),
    sa.Column("created_at", Instant, nullable=False),
)

connection = sa.Table(
    "connection",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("computation_id", Id, sa.ForeignKey("computation.id"), nullable=False),
    sa.Column("destination_id", Id, sa.ForeignKey("destination.id"), nullable=False, index=True),
    sa.Column("calls", sa.JSON, nullable=False, comment="the calls chosen, of group, identify, track"),
    sa.Column("options", sa.JSON, nullable=False),
    sa.Column("state", sa.String(24), nullable=False, comment="awaiting_mapping, active, paused, stopped, leaving, gone"),
    sa.Column("error", sa.Text, comment="why it is stopped, or what the last try said"),
    sa.Column("remedy", sa.Text),
    sa.Column("external_target", sa.Text, comment="the external list, path or table it owns"),
    sa.Column("external_id", sa.Text, comment="the vendor's id of its list"),
    sa.Column("list_seen_at", Instant, comment="when the list was last found outside"),
    sa.Column("note", sa.Text, comment="what people should know though nothing is wrong with the last try"),
    sa.Column("rest_until", Instant, nullable=False, server_default="0", comment="no sync before: its type takes changes now and then"),
    sa.Column("leaves_since", Instant, comment="set: its exits are sent, then it is gone"),
    sa.Column("sent", sa.BigInteger, nullable=False, server_default="0", comment="records acknowledged"),
    sa.Column("skipped", sa.BigInteger, nullable=False, server_default="0", comment="members without a deliverable identifier"),
    sa.Column("skipped_of", sa.String(64), comment="the version and the rules that these were counted for"),
    sa.Column("last_sync_at", Instant),
    sa.Column("last_run_id", sa.String(64)),
    sa.Column("token", sa.BigInteger, nullable=False, server_default="0", comment="fencing token of the lease"),
    sa.Column("lease_owner", sa.Text),
    sa.Column("lease_until", Instant, nullable=False, server_default="0"),
    sa.Column("lease_clock", sa.Text, comment="which machine's own clock lease_over is of"),
    sa.Column("lease_over", sa.BigInteger, comment="microseconds of that clock by which every request of the owner is over"),
    sa.Column("removed_at", Instant),
    _managed_by(),
    *_timestamps(),
)

mapping = sa.Table(
    "mapping",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("destination_id", Id, sa.ForeignKey("destination.id"), nullable=False, index=True),
    sa.Column(
        "connection_id", Id, sa.ForeignKey("connection.id"), index=True, comment="set: a preset made for this connection, goes with it"
    ),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("trigger", sa.Text, nullable=False, comment="FQL"),
    sa.Column("action", sa.String(128), nullable=False),
    sa.Column("fields", sa.JSON, nullable=False, comment="a mapping in the mapping kit's language"),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("number", sa.Integer, nullable=False, server_default="0", comment="its own among the destination's, for ever: part of ids"),
    sa.Column("revision", sa.Integer, nullable=False, server_default="1"),
    sa.Column("removed_at", Instant),
    _managed_by(),
    *_timestamps(),
)

mapping_revision = sa.Table(
    "mapping_revision",
    metadata,
    sa.Column("mapping_id", Id, sa.ForeignKey("mapping.id"), primary_key=True),
    sa.Column("revision", sa.Integer, primary_key=True),
    sa.Column("trigger", sa.Text, nullable=False),
    sa.Column("action", sa.String(128), nullable=False),
    sa.Column("fields", sa.JSON, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
)

sync_request = sa.Table(
    "sync_request",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("connection_id", Id, sa.ForeignKey("connection.id"), nullable=False, index=True),
    sa.Column("kind", sa.String(16), nullable=False, comment="backfill, resync or sync"),
    sa.Column("state", sa.String(16), nullable=False, index=True, comment="owed, done, failed, cancelled"),
    sa.Column("attempt", sa.Integer, nullable=False, server_default="1"),
    sa.Column("not_before", Instant, nullable=False, server_default="0"),
    sa.Column(
        "failures", sa.Integer, nullable=False, server_default="0", comment="attempts that failed since it last made progress: the back-off"
    ),
    sa.Column("started_at", Instant, comment="set while a run works on the attempt"),
    sa.Column("run_id", sa.String(64), comment="the run that works or last worked on it"),
    sa.Column("error", sa.Text),
    sa.Column("requested_by", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("settled_at", Instant),
)

compute_request = sa.Table(
    "compute_request",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("space_id", Id, sa.ForeignKey("space.id"), nullable=False),
    sa.Column("computation_ids", sa.JSON, nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True, comment="owed, done, failed, cancelled"),
    sa.Column("attempt", sa.Integer, nullable=False, server_default="1"),
    sa.Column("not_before", Instant, nullable=False, server_default="0"),
    sa.Column(
        "failures", sa.Integer, nullable=False, server_default="0", comment="attempts that failed since it last made progress: the back-off"
    ),
    sa.Column("started_at", Instant, comment="set while a run works on the attempt"),
    sa.Column("run_id", sa.String(64)),
    sa.Column("error", sa.Text),
    sa.Column("requested_by", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("settled_at", Instant),
)

replica = sa.Table(
    "replica",
    metadata,
    sa.Column("connection_id", Id, sa.ForeignKey("connection.id"), primary_key=True),
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("level", sa.String(16), nullable=False, comment="user or account: which member set it keeps outside"),
    sa.Column("resync_no", sa.Integer, nullable=False, server_default="0"),
)

base = sa.Table(
    "base",
    metadata,
    sa.Column("connection_id", Id, primary_key=True),
    sa.Column("replica", sa.String(128), primary_key=True),
    sa.Column("lo", Address, primary_key=True, comment="first address of the range; the range ends where the next begins"),
    sa.Column("version", sa.Integer, nullable=False, comment="0: nothing told yet"),
    sa.Column("exits_version", sa.Integer, nullable=False),
    sa.Column("resync_no", sa.Integer, nullable=False),
)

exception = sa.Table(
    "exception",
    metadata,
    sa.Column("connection_id", Id, primary_key=True),
    sa.Column("replica", sa.String(128), primary_key=True),
    sa.Column("address", Address, primary_key=True),
    sa.Column("part", sa.String(16), primary_key=True, comment="which record of the change: call letter, identifier ordinal, mapping"),
    sa.Column("kind", sa.String(16), nullable=False, comment="rejected, retryable or left_out"),
    sa.Column("value", sa.Boolean, nullable=False, comment="the last value tried; of traits whether there was one"),
    sa.Column("digest", sa.String(32), comment="of traits: that of the value tried"),
    sa.Column("message_id", sa.String(100), nullable=False),
    sa.Column("generation", sa.BigInteger, nullable=False, comment="the file that holds the payload"),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("retry_at", Instant, comment="null: only a new value, a mended mapping or a replay sends it again"),
    sa.Column("created_at", Instant, nullable=False),
)

generation = sa.Table(
    "generation",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("connection_id", Id, sa.ForeignKey("connection.id"), nullable=False),
    sa.Column("replica", sa.String(128), nullable=False),
    sa.Column("lo", Address, nullable=False),
    sa.Column("hi", Address, comment="null: to the end"),
    sa.Column("target", sa.Integer, nullable=False),
    sa.Column("current_when_planned", sa.Integer, nullable=False),
    sa.Column("sends_exits", sa.Boolean, nullable=False),
    sa.Column("resync_no", sa.Integer, nullable=False),
    sa.Column("mapping_revisions", sa.JSON, nullable=False),
    sa.Column("state", sa.String(16), nullable=False, comment="planning, open, settled, abandoned"),
    sa.Column("kind", sa.String(16), nullable=False, comment="backfill, resync or sync"),
    sa.Column("records", sa.BigInteger),
    sa.Column("planned_at", Instant, nullable=False),
    sa.Column("settled_at", Instant),
    sa.Column("counts", sa.JSON, comment="records by call and fate, for people"),
    sqlite_autoincrement=True,
)

sa.Index("ix_generation_of_connection", generation.c.connection_id, generation.c.state)

ledger = sa.Table(
    "ledger",
    metadata,
    sa.Column("generation", sa.BigInteger, primary_key=True),
    sa.Column("lo", sa.BigInteger, primary_key=True),
    sa.Column("hi", sa.BigInteger, nullable=False, comment="last seq of the range, included"),
    sa.Column("answer", sa.String(16), nullable=False, comment="delivered, rejected, retryable, left_out"),
    sa.Column("reason", sa.Text),
    sa.Column("attempts", sa.Integer, nullable=False),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("at", Instant, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("verb", sa.String(64), nullable=False),
    sa.Column("object", sa.Text, nullable=False, index=True),
    sa.Column("before", sa.JSON),
    sa.Column("after", sa.JSON),
)

suppression = sa.Table(
    "suppression",
    metadata,
    sa.Column("space_id", Id, sa.ForeignKey("space.id"), primary_key=True),
    sa.Column("kind", sa.String(16), primary_key=True, comment="user_id, email or anonymous_id"),
    sa.Column("id", sa.Text, primary_key=True, comment="taken away when the profile is erased"),
    sa.Column("at", Instant, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
)

messaging_subscription = sa.Table(
    "messaging_subscription",
    metadata,
    sa.Column("space_id", Id, sa.ForeignKey("space.id"), primary_key=True),
    sa.Column("type", sa.String(16), primary_key=True, comment="EMAIL, SMS, WHATSAPP, ANDROID_PUSH or IOS_PUSH"),
    sa.Column("key", sa.Text, primary_key=True, comment="the address; taken away when its profile is erased"),
    sa.Column("status", sa.String(24), nullable=False, comment="SUBSCRIBED, UNSUBSCRIBED or DID_NOT_SUBSCRIBE"),
    sa.Column("groups", sa.JSON, nullable=False, comment="status by the name of a group"),
    sa.Column("updated_at", Instant, nullable=False),
)

api_token = sa.Table(
    "api_token",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False, unique=True, comment="SHA-256 of the token, which is kept nowhere"),
    sa.Column("role", sa.String(16), nullable=False, comment="reader, operator or admin"),
    sa.Column("may_see_members", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("space_id", Id, sa.ForeignKey("space.id"), comment="set: valid in this space alone"),
    sa.Column("expires_at", Instant),
    sa.Column("last_used_at", Instant, comment="to the hour"),
    sa.Column("revoked_at", Instant),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
)

console_session = sa.Table(
    "console_session",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True, comment="SHA-256 of the cookie, which is kept nowhere"),
    sa.Column(
        "token_id", Id, sa.ForeignKey("api_token.id"), nullable=False, comment="what was logged in with; revoked, it ends the session"
    ),
    sa.Column("expires_at", Instant, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
)

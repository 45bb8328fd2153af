"""The first tables: control plane, requests, replicas and the ledger."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    _audit()
    _base()
    _exception()
    _ledger()
    _space()
    _computation()
    _compute_request()
    _source()
    _destination()
    _pace()
    _access_token()
    _version()
    _connection()
    _generation()
    _mapping()
    _replica()
    _sync_request()
    _mapping_revision()
    _suppression()
    _messaging_subscription()
    _api_token()
    _console_session()


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("verb", sa.String(length=64), nullable=False),
        sa.Column("object", sa.Text(), nullable=False),
        sa.Column("before", sa.JSON(), nullable=True),
        sa.Column("after", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    op.create_index("ix_audit_object", "audit", ["object"], unique=False)


def _base() -> None:
    op.create_table(
        "base",
        sa.Column("connection_id", sa.String(length=64), nullable=False),
        sa.Column("replica", sa.String(length=128), nullable=False),
        sa.Column(
            "lo",
            sa.Text().with_variant(sa.Text(collation="C"), "postgresql"),
            nullable=False,
            comment="first address of the range; the range ends where the next begins",
        ),
        sa.Column("version", sa.Integer(), nullable=False, comment="0: nothing told yet"),
        sa.Column("exits_version", sa.Integer(), nullable=False),
        sa.Column("resync_no", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("connection_id", "replica", "lo", name="pk_base"),
    )


def _exception() -> None:
    op.create_table(
        "exception",
        sa.Column("connection_id", sa.String(length=64), nullable=False),
        sa.Column("replica", sa.String(length=128), nullable=False),
        sa.Column("address", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column(
            "part", sa.String(length=16), nullable=False, comment="which record of the change: call letter, identifier ordinal, mapping"
        ),
        sa.Column("kind", sa.String(length=16), nullable=False, comment="rejected, retryable or left_out"),
        sa.Column("value", sa.Boolean(), nullable=False, comment="the last value tried; of traits whether there was one"),
        sa.Column("digest", sa.String(length=32), nullable=True, comment="of traits: that of the value tried"),
        sa.Column("message_id", sa.String(length=100), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False, comment="the file that holds the payload"),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column(
            "retry_at", sa.BigInteger(), nullable=True, comment="null: only a new value, a mended mapping or a replay sends it again"
        ),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("connection_id", "replica", "address", "part", name="pk_exception"),
    )


def _ledger() -> None:
    op.create_table(
        "ledger",
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("lo", sa.BigInteger(), nullable=False),
        sa.Column("hi", sa.BigInteger(), nullable=False, comment="last seq of the range, included"),
        sa.Column("answer", sa.String(length=16), nullable=False, comment="delivered, rejected, retryable, left_out"),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("generation", "lo", name="pk_ledger"),
    )


def _space() -> None:
    op.create_table(
        "space",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("evaluate_at", sa.BigInteger(), nullable=True, comment="pins the instant of every evaluation; null means now"),
        sa.Column("one_configuration_per_type", sa.String(length=16), server_default="space", nullable=False, comment="space or audience"),
        sa.Column("facts", sa.JSON(), nullable=True, comment="mapping onto a warehouse; null: the facts that were ingested"),
        sa.Column("managed_by", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_space"),
        sa.UniqueConstraint("key", name="uq_space_key"),
    )


def _computation() -> None:
    op.create_table(
        "computation",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("space_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False, comment="audience or trait"),
        sa.Column("key", sa.String(length=255), nullable=False, comment="immutable, and not reusable after deletion"),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("level", sa.String(length=16), nullable=False, comment="user or account"),
        sa.Column("definition", sa.Text(), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False, comment="empty_accounts and its kin; absent means the default"),
        sa.Column("cadence", sa.String(length=64), nullable=False, comment="a cron line in UTC, or manual"),
        sa.Column("enabled", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("current_version", sa.Integer(), nullable=True, comment="the published version; null before the first"),
        sa.Column(
            "checked_at", sa.BigInteger(), nullable=True, comment="evaluated_at of the last evaluation, also when it changed nothing"
        ),
        sa.Column("inputs_digest", sa.Text(), nullable=True, comment="definition and facts of the last evaluation"),
        sa.Column(
            "next_change_at",
            sa.BigInteger(),
            nullable=True,
            comment="first instant at which time alone can change a member; null is unknown",
        ),
        sa.Column("last_error", sa.Text(), nullable=True, comment="why the last evaluation failed; null when it did not"),
        sa.Column("last_run_id", sa.String(length=64), nullable=True),
        sa.Column("deleted_at", sa.BigInteger(), nullable=True),
        sa.Column("managed_by", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["space_id"], ["space.id"], name="fk_computation_space_id"),
        sa.PrimaryKeyConstraint("id", name="pk_computation"),
        sa.UniqueConstraint("space_id", "key", name="uq_computation_space_id_key"),
    )


def _compute_request() -> None:
    op.create_table(
        "compute_request",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("space_id", sa.String(length=64), nullable=False),
        sa.Column("computation_ids", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False, comment="owed, done, failed, cancelled"),
        sa.Column("attempt", sa.Integer(), server_default="1", nullable=False),
        sa.Column("not_before", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column(
            "failures",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="attempts that failed since it last made progress: the back-off",
        ),
        sa.Column("started_at", sa.BigInteger(), nullable=True, comment="set while a run works on the attempt"),
        sa.Column("run_id", sa.String(length=64), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("settled_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["space_id"], ["space.id"], name="fk_compute_request_space_id"),
        sa.PrimaryKeyConstraint("id", name="pk_compute_request"),
    )
    op.create_index("ix_compute_request_state", "compute_request", ["state"], unique=False)


def _source() -> None:
    op.create_table(
        "source",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("space_id", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("managed_by", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["space_id"], ["space.id"], name="fk_source_space_id"),
        sa.PrimaryKeyConstraint("id", name="pk_source"),
        sa.UniqueConstraint("space_id", "key", name="uq_source_space_id_key"),
    )


def _destination() -> None:
    op.create_table(
        "destination",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("space_id", sa.String(length=64), nullable=False),
        sa.Column(
            "source_id", sa.String(length=64), nullable=True, comment="set: a configuration on a source; null: a destination of the space"
        ),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("type", sa.String(length=64), nullable=False),
        sa.Column(
            "settings", sa.JSON(), nullable=False, comment="secrets as references (env:NAME, file:/path) or encrypted, never in the clear"
        ),
        sa.Column("enabled", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("imported_from", sa.String(length=64), nullable=True, comment="the destination whose settings were copied"),
        sa.Column("paused_until", sa.BigInteger(), nullable=True, comment="the vendor asked for a pause; holds for every process"),
        sa.Column("max_requests_per_s", sa.Float(), nullable=True, comment="the operator's own limit; null: the type's alone"),
        sa.Column("removed_at", sa.BigInteger(), nullable=True),
        sa.Column("managed_by", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name="fk_destination_source_id"),
        sa.ForeignKeyConstraint(["space_id"], ["space.id"], name="fk_destination_space_id"),
        sa.PrimaryKeyConstraint("id", name="pk_destination"),
    )
    op.create_index(
        "uq_destination_of_source",
        "destination",
        ["source_id", "key"],
        unique=True,
        sqlite_where=sa.text("removed_at IS NULL"),
        postgresql_where=sa.text("removed_at IS NULL"),
    )
    op.create_index(
        "uq_destination_of_space",
        "destination",
        ["space_id", "key"],
        unique=True,
        sqlite_where=sa.text("source_id IS NULL AND removed_at IS NULL"),
        postgresql_where=sa.text("source_id IS NULL AND removed_at IS NULL"),
    )


def _pace() -> None:
    op.create_table(
        "pace",
        sa.Column("destination_id", sa.String(length=64), nullable=False),
        sa.Column("next_at", sa.BigInteger(), server_default="0", nullable=False, comment="when the next permission to send holds"),
        sa.Column("slowed_to", sa.Float(), nullable=True, comment="requests per second after a 429; null: the usual rate"),
        sa.Column("usual_rate", sa.Float(), nullable=True, comment="where slowed_to climbs back to"),
        sa.Column("slowed_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("raised_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False, comment="requests in a row without a usable answer"),
        sa.Column("failed_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("rests", sa.Integer(), server_default="0", nullable=False, comment="runs in a row that gave up"),
        sa.Column("rest_until", sa.BigInteger(), server_default="0", nullable=False, comment="nobody tries before"),
        sa.Column("tried_by", sa.String(length=64), nullable=True, comment="the one connection that goes on trying"),
        sa.Column("tried_until", sa.BigInteger(), server_default="0", nullable=False, comment="until when it is believed to be at it"),
        sa.ForeignKeyConstraint(["destination_id"], ["destination.id"], name="fk_pace_destination_id"),
        sa.PrimaryKeyConstraint("destination_id", name="pk_pace"),
    )


def _access_token() -> None:
    op.create_table(
        "access_token",
        sa.Column("destination_id", sa.String(length=64), nullable=False),
        sa.Column(
            "sealed",
            sa.Text(),
            nullable=True,
            comment="the token and what it was bought with, encrypted with ENGAGE_KEYS; null before the first",
        ),
        sa.Column("renewed_at", sa.BigInteger(), nullable=True),
        sa.Column("renewing_by", sa.String(length=64), nullable=True, comment="who buys a new one"),
        sa.Column("renewing_until", sa.BigInteger(), server_default="0", nullable=False, comment="until when the others wait for it"),
        sa.ForeignKeyConstraint(["destination_id"], ["destination.id"], name="fk_access_token_destination_id"),
        sa.PrimaryKeyConstraint("destination_id", name="pk_access_token"),
    )


def _version() -> None:
    op.create_table(
        "version",
        sa.Column("computation_id", sa.String(length=64), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False, comment="reserved, published, held, discarded"),
        sa.Column("evaluated_at", sa.BigInteger(), nullable=False),
        sa.Column("definition", sa.Text(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=True, comment="members at the computation's own level"),
        sa.Column("users", sa.Integer(), nullable=True, comment="users; equals size at user level"),
        sa.Column("entered", sa.Integer(), nullable=True),
        sa.Column("exited", sa.Integer(), nullable=True),
        sa.Column("updated", sa.Integer(), nullable=True, comment="of traits: members whose value is another one"),
        sa.Column("digest", sa.String(length=64), nullable=True),
        sa.Column("is_full", sa.Boolean(), nullable=True, comment="a full snapshot, or the changes since n-1 alone"),
        sa.Column("reason", sa.Text(), nullable=True, comment="why it is held"),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["computation_id"], ["computation.id"], name="fk_version_computation_id"),
        sa.PrimaryKeyConstraint("computation_id", "n", name="pk_version"),
    )
    op.create_index("ix_version_state", "version", ["state"], unique=False)


def _connection() -> None:
    op.create_table(
        "connection",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("computation_id", sa.String(length=64), nullable=False),
        sa.Column("destination_id", sa.String(length=64), nullable=False),
        sa.Column("calls", sa.JSON(), nullable=False, comment="the calls chosen, of group, identify, track"),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=24), nullable=False, comment="awaiting_mapping, active, paused, stopped, leaving, gone"),
        sa.Column("error", sa.Text(), nullable=True, comment="why it is stopped, or what the last try said"),
        sa.Column("remedy", sa.Text(), nullable=True),
        sa.Column("external_target", sa.Text(), nullable=True, comment="the external list, path or table it owns"),
        sa.Column("external_id", sa.Text(), nullable=True, comment="the vendor's id of its list"),
        sa.Column("list_seen_at", sa.BigInteger(), nullable=True, comment="when the list was last found outside"),
        sa.Column("note", sa.Text(), nullable=True, comment="what people should know though nothing is wrong with the last try"),
        sa.Column(
            "rest_until", sa.BigInteger(), server_default="0", nullable=False, comment="no sync before: its type takes changes now and then"
        ),
        sa.Column("leaves_since", sa.BigInteger(), nullable=True, comment="set: its exits are sent, then it is gone"),
        sa.Column("sent", sa.BigInteger(), server_default="0", nullable=False, comment="records acknowledged"),
        sa.Column("skipped", sa.BigInteger(), server_default="0", nullable=False, comment="members without a deliverable identifier"),
        sa.Column("skipped_of", sa.String(length=64), nullable=True, comment="the version and the rules that these were counted for"),
        sa.Column("last_sync_at", sa.BigInteger(), nullable=True),
        sa.Column("last_run_id", sa.String(length=64), nullable=True),
        sa.Column("token", sa.BigInteger(), server_default="0", nullable=False, comment="fencing token of the lease"),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("lease_clock", sa.Text(), nullable=True, comment="which machine's own clock lease_over is of"),
        sa.Column(
            "lease_over",
            sa.BigInteger(),
            nullable=True,
            comment="microseconds of that clock by which every request of the owner is over",
        ),
        sa.Column("removed_at", sa.BigInteger(), nullable=True),
        sa.Column("managed_by", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["computation_id"], ["computation.id"], name="fk_connection_computation_id"),
        sa.ForeignKeyConstraint(["destination_id"], ["destination.id"], name="fk_connection_destination_id"),
        sa.PrimaryKeyConstraint("id", name="pk_connection"),
    )
    op.create_index("ix_connection_destination_id", "connection", ["destination_id"], unique=False)
    op.create_index(
        "uq_connection_live",
        "connection",
        ["computation_id", "destination_id"],
        unique=True,
        sqlite_where=sa.text("removed_at IS NULL"),
        postgresql_where=sa.text("removed_at IS NULL"),
    )
    op.create_index(
        "uq_connection_target",
        "connection",
        ["external_target"],
        unique=True,
        sqlite_where=sa.text("removed_at IS NULL AND external_target IS NOT NULL"),
        postgresql_where=sa.text("removed_at IS NULL AND external_target IS NOT NULL"),
    )


def _generation() -> None:
    op.create_table(
        "generation",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("connection_id", sa.String(length=64), nullable=False),
        sa.Column("replica", sa.String(length=128), nullable=False),
        sa.Column("lo", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("hi", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True, comment="null: to the end"),
        sa.Column("target", sa.Integer(), nullable=False),
        sa.Column("current_when_planned", sa.Integer(), nullable=False),
        sa.Column("sends_exits", sa.Boolean(), nullable=False),
        sa.Column("resync_no", sa.Integer(), nullable=False),
        sa.Column("mapping_revisions", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False, comment="planning, open, settled, abandoned"),
        sa.Column("kind", sa.String(length=16), nullable=False, comment="backfill, resync or sync"),
        sa.Column("records", sa.BigInteger(), nullable=True),
        sa.Column("planned_at", sa.BigInteger(), nullable=False),
        sa.Column("settled_at", sa.BigInteger(), nullable=True),
        sa.Column("counts", sa.JSON(), nullable=True, comment="records by call and fate, for people"),
        sa.ForeignKeyConstraint(["connection_id"], ["connection.id"], name="fk_generation_connection_id"),
        sa.PrimaryKeyConstraint("id", name="pk_generation"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_generation_of_connection", "generation", ["connection_id", "state"], unique=False)


def _mapping() -> None:
    op.create_table(
        "mapping",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("destination_id", sa.String(length=64), nullable=False),
        sa.Column("connection_id", sa.String(length=64), nullable=True, comment="set: a preset made for this connection, goes with it"),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False, comment="FQL"),
        sa.Column("action", sa.String(length=128), nullable=False),
        sa.Column("fields", sa.JSON(), nullable=False, comment="a mapping in the mapping kit's language"),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column(
            "number", sa.Integer(), server_default="0", nullable=False, comment="its own among the destination's, for ever: part of ids"
        ),
        sa.Column("revision", sa.Integer(), server_default="1", nullable=False),
        sa.Column("removed_at", sa.BigInteger(), nullable=True),
        sa.Column("managed_by", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["connection_id"], ["connection.id"], name="fk_mapping_connection_id"),
        sa.ForeignKeyConstraint(["destination_id"], ["destination.id"], name="fk_mapping_destination_id"),
        sa.PrimaryKeyConstraint("id", name="pk_mapping"),
    )
    op.create_index("ix_mapping_connection_id", "mapping", ["connection_id"], unique=False)
    op.create_index("ix_mapping_destination_id", "mapping", ["destination_id"], unique=False)


def _replica() -> None:
    op.create_table(
        "replica",
        sa.Column("connection_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("level", sa.String(length=16), nullable=False, comment="user or account: which member set it keeps outside"),
        sa.Column("resync_no", sa.Integer(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["connection_id"], ["connection.id"], name="fk_replica_connection_id"),
        sa.PrimaryKeyConstraint("connection_id", "name", name="pk_replica"),
    )


def _sync_request() -> None:
    op.create_table(
        "sync_request",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("connection_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False, comment="backfill, resync or sync"),
        sa.Column("state", sa.String(length=16), nullable=False, comment="owed, done, failed, cancelled"),
        sa.Column("attempt", sa.Integer(), server_default="1", nullable=False),
        sa.Column("not_before", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column(
            "failures",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="attempts that failed since it last made progress: the back-off",
        ),
        sa.Column("started_at", sa.BigInteger(), nullable=True, comment="set while a run works on the attempt"),
        sa.Column("run_id", sa.String(length=64), nullable=True, comment="the run that works or last worked on it"),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("settled_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["connection_id"], ["connection.id"], name="fk_sync_request_connection_id"),
        sa.PrimaryKeyConstraint("id", name="pk_sync_request"),
    )
    op.create_index("ix_sync_request_connection_id", "sync_request", ["connection_id"], unique=False)
    op.create_index("ix_sync_request_state", "sync_request", ["state"], unique=False)


def _mapping_revision() -> None:
    op.create_table(
        "mapping_revision",
        sa.Column("mapping_id", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("action", sa.String(length=128), nullable=False),
        sa.Column("fields", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["mapping_id"], ["mapping.id"], name="fk_mapping_revision_mapping_id"),
        sa.PrimaryKeyConstraint("mapping_id", "revision", name="pk_mapping_revision"),
    )


def _suppression() -> None:
    op.create_table(
        "suppression",
        sa.Column("space_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False, comment="user_id, email or anonymous_id"),
        sa.Column("id", sa.Text(), nullable=False, comment="taken away when the profile is erased"),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["space_id"], ["space.id"], name="fk_suppression_space_id"),
        sa.PrimaryKeyConstraint("space_id", "kind", "id", name="pk_suppression"),
    )


def _messaging_subscription() -> None:
    op.create_table(
        "messaging_subscription",
        sa.Column("space_id", sa.String(length=64), nullable=False),
        sa.Column("type", sa.String(length=16), nullable=False, comment="EMAIL, SMS, WHATSAPP, ANDROID_PUSH or IOS_PUSH"),
        sa.Column("key", sa.Text(), nullable=False, comment="the address; taken away when its profile is erased"),
        sa.Column("status", sa.String(length=24), nullable=False, comment="SUBSCRIBED, UNSUBSCRIBED or DID_NOT_SUBSCRIBE"),
        sa.Column("groups", sa.JSON(), nullable=False, comment="status by the name of a group"),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["space_id"], ["space.id"], name="fk_messaging_subscription_space_id"),
        sa.PrimaryKeyConstraint("space_id", "type", "key", name="pk_messaging_subscription"),
    )


def _api_token() -> None:
    op.create_table(
        "api_token",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False, comment="SHA-256 of the token, which is kept nowhere"),
        sa.Column("role", sa.String(length=16), nullable=False, comment="reader, operator or admin"),
        sa.Column("may_see_members", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("space_id", sa.String(length=64), nullable=True, comment="set: valid in this space alone"),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("last_used_at", sa.BigInteger(), nullable=True, comment="to the hour"),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["space_id"], ["space.id"], name="fk_api_token_space_id"),
        sa.PrimaryKeyConstraint("id", name="pk_api_token"),
        sa.UniqueConstraint("digest", name="uq_api_token_digest"),
    )


def _console_session() -> None:
    op.create_table(
        "console_session",
        sa.Column("digest", sa.String(length=64), nullable=False, comment="SHA-256 of the cookie, which is kept nowhere"),
        sa.Column("token_id", sa.String(length=64), nullable=False, comment="what was logged in with; revoked, it ends the session"),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["token_id"], ["api_token.id"], name="fk_console_session_token_id"),
        sa.PrimaryKeyConstraint("digest", name="pk_console_session"),
    )

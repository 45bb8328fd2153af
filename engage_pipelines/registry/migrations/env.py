"""How alembic runs the migrations: always on the connection, and in the transaction, that `schema.upgrade` hands over."""

from alembic import context

from engage_pipelines.registry.indexes import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()

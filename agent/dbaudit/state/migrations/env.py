"""Alembic's entry: it works on the connection, and inside the transaction, that ``migrate`` gives it."""

from alembic import context

from dbaudit.state.schema import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True
)
context.run_migrations()

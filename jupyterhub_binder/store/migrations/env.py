"""Alembic's entry: runs the revisions over the connection that `upgrade` was given."""

from alembic import context

from jupyterhub_binder.store.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
with connection.begin(), context.begin_transaction():
    context.run_migrations()

"""Alembic's entry: runs the revisions on the connection and in the transaction that it is given.

Called through `postmaster.directory.migrate` only, which holds the lock and checks foreign keys.
"""

from alembic import context

from postmaster.directory.schema import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True
)
context.run_migrations()

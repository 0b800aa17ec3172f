"""Run the migrations on the connection that `coe_records.database` hands over."""

from alembic import context

from coe_records import table

connection = context.config.attributes["connection"]
# SQLite's tables are made within transactions too, though neither its driver nor Alembic begin one
# for them by themselves: a process that is killed halfway leaves nothing.
context.configure(
    connection=connection,
    target_metadata=table.metadata,
    version_table=table.VERSION_TABLE,
    transactional_ddl=True,
)
connection.exec_driver_sql("BEGIN IMMEDIATE")
context.run_migrations()
connection.commit()

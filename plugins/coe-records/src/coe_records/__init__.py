"""Keep the durable log of turns and its tables, on SQLite or Postgres."""

"""The table with which databases are tested, as a plugin would make its own."""

"""The page that an operator keeps open."""

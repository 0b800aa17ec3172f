"""Authenticate by API key: groups, roles, expiry, rotation."""

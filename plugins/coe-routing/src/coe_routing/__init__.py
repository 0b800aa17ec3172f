"""Decide where a request goes: by rules, by meaning, by recorded outcomes, by health."""

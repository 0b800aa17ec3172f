"""Whole answers from broken upstreams: retries, breakers, continuation, a last resort."""

"""Failures become tests: cases made from the record, replayed without a network."""

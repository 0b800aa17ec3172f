"""Contract suites: one per extension point and service."""

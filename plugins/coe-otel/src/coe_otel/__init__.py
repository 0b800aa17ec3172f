"""Turns as OpenTelemetry's GenAI spans and metrics."""

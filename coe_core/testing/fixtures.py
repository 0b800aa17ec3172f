"""Fixtures for plugins' tests, which pytest finds by itself once coe-core is installed."""

from __future__ import annotations

"""What the semantic conventions call our terms, by their version.

The conventions of generative AI still change; a table for each version keeps what a deployment
sends the same until its settings name another.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from attrs import frozen


@frozen
class Names:
    """The table of one version."""

    attributes: Mapping[str, str]
    metrics: Mapping[str, str]

    @classmethod
    def of(cls, version: str) -> Names:
        """Read the table of a version, `1.41` say."""
        file = files("coe_otel") / "names" / f"v{version.replace('.', '_')}.toml"
        return cls(**tomllib.loads(file.read_text(encoding="utf-8")))

    def write(self, **values: Any) -> dict[str, Any]:
        """Name what is known: a value that is None, or whose term the version has no name for, is
        left out.
        """
        return {
            self.attributes[term]: value
            for term, value in values.items()
            if value is not None and term in self.attributes
        }

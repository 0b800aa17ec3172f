"""What `coe doctor` asks about the local models."""

from __future__ import annotations

import asyncio

from attrs import frozen

from coe_core.contract import Finding
from coe_models_local.bundle import BUNDLE


@frozen
class BundleCheck:
    """Whether the bundled models' files are there and sound."""

    name: str = "local-models"

    async def check(self) -> Finding:
        """Compare every file with its sha256: half a second."""
        states = await asyncio.to_thread(
            lambda: [(model, model.state(thorough=True)) for model in BUNDLE]
        )
        text = ", ".join(f"{model.alias} {state}" for model, state in states)
        mends = [model.mend for model, state in states if state != "ready"]
        return Finding(ok=not mends, text=f"bundled models: {text}", mend=" ".join(mends))

"""What `coe doctor` asks about the local models."""

from __future__ import annotations

import asyncio
from pathlib import Path

from attrs import frozen

from coe_core.contract import Finding
from coe_core.error import MissingModel, SettingsError
from coe_models_local import gguf
from coe_models_local.bundle import BUNDLE, CHAT
from coe_models_local.folder import runtime_folder


@frozen
class FilesCheck:
    """Whether the models' files are there and sound."""

    model_path: str | None = None
    """What stands in for the bundled chat model."""
    name: str = "local-models"

    async def check(self) -> Finding:
        """Compare every file with its sha256: half a second."""
        return await asyncio.to_thread(self._look)

    def _look(self) -> Finding:
        bundled = [model for model in BUNDLE if model is not CHAT or not self.model_path]
        states = [(model, model.state(thorough=True)) for model in bundled]
        text = ", ".join(f"{model.alias} {state}" for model, state in states)
        mends = [model.mend for model, state in states if state != "ready"]
        try:
            runtime_folder()
        except SettingsError as error:
            mends.append(error.message)
        if self.model_path:
            try:
                gguf.check(Path(self.model_path).expanduser())
            except MissingModel as error:
                mends.append(error.message)
        return Finding(ok=not mends, text=f"local models: {text}", mend=" ".join(mends))

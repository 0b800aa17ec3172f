"""What `coe doctor` asks about keys."""

from __future__ import annotations

from attrs import frozen

from coe_core.access import KEYS
from coe_core.contract import Finding
from coe_core.error import SettingsError
from coe_core.service import StateStore
from coe_keys.pepper import Pepper, fingerprint
from coe_keys.ring import readable


@frozen
class KeysCheck:
    """Whether the stored keys can be checked, and their pepper is kept."""

    store: StateStore
    pepper: Pepper
    name: str = "keys"

    async def check(self) -> Finding:
        values = await self.store.list(KEYS)
        if not values:
            return Finding(ok=True, text="no API keys: only this machine is served")
        try:
            current = fingerprint(self.pepper.read())
        except SettingsError as error:
            return Finding(
                ok=False,
                text=f"no API key can be checked: {error.message}",
                mend="Restore the pepper from a backup; without it, create new keys.",
            )
        if self.pepper.exposed():
            return Finding(
                ok=False,
                text=f"others may read the pepper in {self.pepper.file}",
                mend=f"chmod 600 {self.pepper.file}",
            )
        keys = list(readable(values))
        if foreign := [key.id for key in keys if key.pepper != current]:
            return Finding(
                ok=False,
                text=f"made with another pepper, so of no use: {', '.join(foreign)}",
                mend="Restore that pepper, or `coe keys rotate` them.",
            )
        if damaged := len(values) - len(keys):
            mend = "Restore the state store from a backup, or create the keys again."
            return Finding(ok=False, text=f"damaged stored keys: {damaged}", mend=mend)
        return Finding(ok=True, text=f"API keys: {len(keys)}")

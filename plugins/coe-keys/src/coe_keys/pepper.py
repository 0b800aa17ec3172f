"""The pepper: the secret without which the stored digests of keys are of no use to a thief."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from coe_core.error import SettingsError, Unavailable
from coe_core.settings import Secret

SHORTEST = 16


@frozen
class Pepper:
    """Where the pepper is: as the settings say, or else a file in the data folder."""

    reference: Secret | None
    file: Path

    def read(self) -> bytes:
        """Read it. Raises `SettingsError` when it is not there, or too short to be one."""
        where = self.reference or Secret(f"file:{self.file}")
        text = where.reveal()
        if len(text) < SHORTEST:
            raise SettingsError(
                f"the pepper in {where.reference} has fewer than {SHORTEST} characters"
            )
        return text.encode()

    def read_or_make(self) -> bytes:
        """Read it; make the file first if nothing else is said and it is not there.

        Raises `Unavailable` when it cannot be made.
        """
        if self.reference is None and not self.file.exists():
            try:
                self._make()
            except OSError as error:
                raise Unavailable(
                    f"the pepper's file {self.file} cannot be made: {error.strerror}; "
                    "make room, or make its folder writable"
                ) from error
        return self.read()

    def exposed(self) -> bool:
        """Say whether the file is there and others than its owner may read or write it."""
        return (
            self.reference is None and self.file.exists() and bool(self.file.stat().st_mode & 0o077)
        )

    def _make(self) -> None:
        # Written aside and linked, so that nobody reads half of it and the first of two wins.
        self.file.parent.mkdir(parents=True, exist_ok=True)
        aside = self.file.with_name(f"{self.file.name}.{secrets.token_hex(4)}")
        handle = os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            with open(handle, "w", encoding="ascii") as file:  # noqa: PTH123 it is open already
                file.write(secrets.token_hex(32))
                file.flush()
                os.fsync(handle)
            with suppress(FileExistsError):
                os.link(aside, self.file)
        finally:
            aside.unlink()


def fingerprint(pepper: bytes) -> str:
    """Tell peppers apart without telling anything of them."""
    return hmac.new(pepper, b"fingerprint", hashlib.sha256).hexdigest()[:8]

"""What `coe doctor` asks about the records."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from pathlib import Path

from attrs import frozen

from coe_core.contract import Finding
from coe_records.folder import DataFolder
from coe_records.lock import locked
from coe_records.log import Log


@frozen
class RecordsCheck:
    """Whether log and database can be written, and reach equally far; `verify` looks closer."""

    data_dir: Path
    name: str = "records"

    async def check(self) -> Finding:
        return await asyncio.to_thread(self._check, DataFolder(self.data_dir))

    def _check(self, folder: DataFolder) -> Finding:
        from coe_records.audit import audit

        if not folder.database.exists() and not folder.events.exists():
            return Finding(ok=True, text="no turn has been recorded yet")
        for path in (folder.events, folder.database):
            if not os.access(path, os.R_OK | os.W_OK):
                text = f"{path} is not there, or cannot be written"
                return Finding(ok=False, text=text, mend="Make it readable and writable.")
        try:
            uneven = _uneven(folder)
            # What repair has restored stands elsewhere: a file stays as short as it was found.
            is_even = not uneven or not audit(folder).faults
        except (OSError, sqlite3.Error) as error:
            text = f"the database {folder.database} cannot be read: {error}"
            mend = "`coe records rebuild` makes it again from the log."
            return Finding(ok=False, text=text, mend=mend)
        if not is_even:
            text = f"log and database do not reach equally far: {', '.join(uneven)}"
            mend = (
                "Start the server, which projects what is missing; then `coe records verify`, and "
                "`coe records repair` if there is more to mend."
            )
            return Finding(ok=False, text=text, mend=mend)
        return Finding(ok=True, text="log and database reach equally far")


def _uneven(folder: DataFolder) -> list[str]:
    from coe_records import database
    from coe_records.projection import Projection

    log = Log(folder.events)
    connection = database.connect(folder.database, writable=False)
    try:
        with locked(folder.lock):
            marks = Projection(connection, log).marks()
            sizes = {path: log.size(path) for path in log.segments()}
    finally:
        connection.close()
    ends = {path: mark.end_bytes for path, mark in marks.items()}
    return sorted(p for p in ends.keys() | sizes if sizes.get(p, 0) != ends.get(p, 0))

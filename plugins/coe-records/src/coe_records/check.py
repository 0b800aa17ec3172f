"""What `coe doctor` asks about the records."""

from __future__ import annotations

import asyncio
import os
from contextlib import closing
from pathlib import Path

from attrs import frozen

from coe_core.contract import Finding
from coe_core.settings import Secret
from coe_records.database import raised
from coe_records.folder import DataFolder
from coe_records.lock import locked


@frozen
class RecordsCheck:
    """Whether log and database can be written, and reach equally far; `verify` looks closer."""

    data_dir: Path
    server: Secret | None = None
    name: str = "records"

    async def check(self) -> Finding:
        server = self.server.reveal() if self.server else None
        return await asyncio.to_thread(self._check, DataFolder(self.data_dir, server))

    def _check(self, folder: DataFolder) -> Finding:
        from coe_records.audit import audit

        files = [folder.events, *([] if folder.server else [folder.database])]
        if not any(path.exists() for path in files):
            return Finding(ok=True, text="no turn has been recorded yet")
        for path in files:
            if not os.access(path, os.R_OK | os.W_OK):
                text = f"{path} is not there, or cannot be written"
                return Finding(ok=False, text=text, mend="Make it readable and writable.")
        try:
            uneven = _uneven(folder)
            # What repair has restored stands elsewhere: a file stays as short as it was found.
            is_even = not uneven or not audit(folder).faults
        except raised() as error:
            text = f"the database {folder.tables.place} cannot be read: {error}"
            mend = "See to the Postgres server, and to [plugins.records] database."
            if folder.server is None:
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
    from coe_records.registry import registered

    projection = folder.projection(writable=False)
    log = projection.log
    with closing(projection.connection), locked(folder.lock):
        marks = projection.marks()
        theirs = registered(folder, projection.connection).elsewhere
        sizes = {path: log.size(path) for path in log.segments()}
    ends = {path: mark.end_bytes for path, mark in marks.items() if path not in theirs}
    return sorted(p for p in ends.keys() | sizes if sizes.get(p, 0) != ends.get(p, 0))
